"""Methods without gradients: occlusion, and the random control."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fer_core import IMAGE_SIZE
from fer_explain.attribution.methods.batch import Batch, MethodOutput
from fer_explain.config import AttributionConfig


def occlusion(batch: Batch) -> MethodOutput:
    """Cover the face with a gray square at each position: Zeiler and Fergus 2014, section 4.2.

    A pixel gets the mean drop of the output over the squares that cover it. Squares of all faces share batches.
    """
    images, squares = batch.images.detach(), _squares(batch.config).to(batch.images.device)
    outputs, total = batch.face_outputs, torch.zeros_like(images)
    pairs = torch.arange(len(images) * len(squares), device=images.device)
    finished = 0
    with torch.no_grad():
        for chunk in torch.split(pairs, batch.batch_size):
            faces, covered = chunk // len(squares), squares[chunk % len(squares)]
            drops = outputs[faces] - batch.outputs(images[faces].masked_fill(covered, batch.baseline), faces)
            total.index_add_(0, faces, drops[:, None, None, None] * covered)
            complete = (int(chunk[-1]) + 1) // len(squares)
            batch.finish(complete - finished)
            finished = complete
    return {"attributions": total / squares.sum(0)}


def _squares(config: AttributionConfig) -> Tensor:
    """Return the positions of the square as masks, bool (windows, 1, 48, 48); the last ones end at the border."""
    steps = math.isqrt(config.windows)
    starts = config.stride * torch.arange(steps)[:, None]
    pixels = torch.arange(IMAGE_SIZE)
    within = (starts <= pixels) & (pixels < starts + config.window)
    return (within[:, None, :, None] & within[None, :, None, :]).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)


def random(batch: Batch) -> MethodOutput:
    """Draw a random map: the control for all other methods."""
    drawn = [each.random((1, IMAGE_SIZE, IMAGE_SIZE), np.float32) for each in batch.generators()]
    return {"attributions": torch.from_numpy(np.stack(drawn))}

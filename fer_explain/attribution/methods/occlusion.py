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

    A pixel gets the mean drop of the output over the squares that cover it. Squares of all faces share batches, and
    all classes of a face share its squares.
    """
    images, squares = batch.images.detach(), _squares(batch.config).to(batch.images.device)
    outputs = batch.face_outputs.view(len(images), -1)
    total = torch.zeros(*outputs.shape, *images.shape[2:], device=images.device)
    pairs = torch.arange(len(images) * len(squares), device=images.device)
    finished = 0
    with torch.no_grad():
        for chunk in torch.split(pairs, batch.batch_size):
            faces, covered = chunk // len(squares), squares[chunk % len(squares)]
            changed = batch.outputs(images[faces].masked_fill(covered, batch.baseline), faces)
            drops = outputs[faces] - changed.view(len(faces), -1)
            total.index_add_(0, faces, drops[..., None, None] * covered)
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
    """Draw a random map: the control for all other methods. All classes of a face have the same one."""
    drawn = [each.random((1, IMAGE_SIZE, IMAGE_SIZE), np.float32) for each in batch.generators()]
    classes = batch.targets.view(len(drawn), -1).shape[1]
    return {"attributions": torch.from_numpy(np.stack(drawn)).expand(-1, classes, -1, -1)}

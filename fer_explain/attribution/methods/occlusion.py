"""Methods without gradients: occlusion, and the random control."""

from __future__ import annotations

import numpy as np
import torch

from fer_core import IMAGE_SIZE
from fer_explain.attribution.methods.batch import Batch, MethodOutput
from fer_explain.attribution.methods.captum_methods import Occlusion


def occlusion(batch: Batch) -> MethodOutput:
    """Cover the face with a gray square at each position: Zeiler and Fergus 2014, section 4.2."""
    side, stride = batch.config.window, batch.config.stride
    with torch.no_grad():
        attributions = Occlusion(batch.model).attribute(
            batch.images.detach(),
            sliding_window_shapes=(1, side, side),
            strides=(1, stride, stride),
            baselines=batch.baseline,
            target=batch.targets,
            perturbations_per_eval=max(1, batch.batch_size // len(batch.images)),
        )
    return {"attributions": attributions}


def random(batch: Batch) -> MethodOutput:
    """Draw a random map: the control for all other methods."""
    drawn = [each.random((1, IMAGE_SIZE, IMAGE_SIZE), np.float32) for each in batch.generators()]
    return {"attributions": torch.from_numpy(np.stack(drawn))}

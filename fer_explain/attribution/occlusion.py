"""Methods that change the face and look, or that do not look at all."""

from __future__ import annotations

import numpy as np
import torch

from fer_core import IMAGE_SIZE
from fer_explain.attribution.captum_methods import Occlusion
from fer_explain.attribution.settings import Batch, Found


def occlusion(batch: Batch) -> Found:
    """Cover the face by a gray square, place after place: Zeiler and Fergus 2014, section 4.2."""
    side, stride = batch.settings.window, batch.settings.stride
    with torch.no_grad():
        attributions = Occlusion(batch.model).attribute(
            batch.images.detach(),
            sliding_window_shapes=(1, side, side),
            strides=(1, stride, stride),
            baselines=batch.baseline,
            target=batch.targets,
            perturbations_per_eval=max(1, batch.at_once // len(batch.images)),
        )
    return {"attributions": attributions}


def random(batch: Batch) -> Found:
    """Draw a map by chance: the control that every other method must beat."""
    drawn = [chance.random((1, IMAGE_SIZE, IMAGE_SIZE), np.float32) for chance in batch.generators()]
    return {"attributions": torch.from_numpy(np.stack(drawn))}

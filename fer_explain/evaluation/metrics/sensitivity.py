"""Max-sensitivity: how much a map changes when its face changes imperceptibly.

Yeh, Hsieh, Suggala, Inouye and Ravikumar 2019, On the (In)fidelity and Sensitivity of Explanations, definition 3.1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core.terminal.progress import Advance
from fer_explain.config import FaithfulnessConfig
from fer_explain.evaluation.compared_maps import Explain

STREAM: Final = 2
"""Random stream; other random numbers of the same seed and row number come from other streams."""


def max_sensitivity(
    explain: Explain,
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    config: FaithfulnessConfig,
    *,
    advance: Advance | None = None,
) -> NDArray[np.float64]:
    """Return the largest change of a map, relative to its norm, over slightly perturbed copies of the face.

    Each copy adds uniform integer noise to every pixel, clipped to 0..255. Changes are Euclidean
    norms; as in Captum, the change of a map that is zero everywhere is not divided.

    Parameters
    ----------
    explain : callable
        Maps (model, images, targets, rows) to attribution maps.
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        Classes; also those of the perturbed copies.
    rows : ndarray of int64, shape (N,)
        Row numbers; the noise depends only on them and the seed.
    config : FaithfulnessConfig
        Settings `sensitivity_samples`, `sensitivity_radius` and `seed`. Results with different numbers of samples are
        not comparable.
    advance : callable, optional
        Called with the number of maps after each copy.

    Returns
    -------
    ndarray of float64, shape (N,)
        At least 0; 1 if the change is as large as the map.
    """
    radius = config.sensitivity_radius
    original = explain(model, images, targets, rows)
    norm = _norm(original)
    largest = np.zeros(len(images))
    generators = [np.random.default_rng([config.seed, row, STREAM]) for row in rows.tolist()]
    for _ in range(config.sensitivity_samples):
        noise = np.stack([each.integers(-radius, radius + 1, images.shape[1:]) for each in generators])
        changed = np.clip(images + noise, 0, 255).astype(np.uint8)
        change = _norm(explain(model, changed, targets, rows) - original)
        largest = np.maximum(largest, change / np.where(norm > 0, norm, 1.0))
        if advance is not None:
            advance(len(images))
    return largest


def _norm(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.square(maps, dtype=np.float64).sum(axis=(1, 2)))
    return norms

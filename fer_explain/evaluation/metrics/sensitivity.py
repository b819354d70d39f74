"""Max-sensitivity: how much a map changes when its face changes by next to nothing.

Yeh, Hsieh, Suggala, Inouye and Ravikumar 2019, On the (In)fidelity and Sensitivity of Explanations, definition 3.1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import Explain

STREAM: Final = 2
"""Of chance: what else a seed and a row number decide, such as random maps, is drawn from other streams."""


def max_sensitivity(
    explain: Explain,
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    samples: int,
    radius: int,
    seed: int = 0,
    advance: Advance | None = None,
) -> NDArray[np.float64]:
    """Take the largest change of a map, relative to its size, over some faces that look the same.

    Each sample adds noise, uniform on the whole numbers of ``-radius..radius``, to every pixel and stays within 0..255,
    so it is a face that a file could hold. Changes and sizes are Euclidean norms; as in Captum, the change of a map
    that is zero everywhere is left undivided.

    Parameters
    ----------
    explain : callable
        (model, images, targets, rows) to maps.
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        Classes; they stay the same for the changed faces.
    rows : ndarray of int64, shape (N,)
        Row numbers; the noise depends on them and the seed alone.
    samples : int
        Changed faces for each face, at least 1. The maximum grows with it: compare equal ones only.
    radius : int
        Largest change of a pixel, in gray levels, at least 1.
    seed : int
        Of the noise.
    advance : callable, optional
        Called with the number of maps made after each sample.

    Returns
    -------
    ndarray of float64, shape (N,)
        At least 0; at 1 the change is as large as the map.

    Raises
    ------
    ConfigError
        If `samples` or `radius` is outside its range.
    """
    for name, value in (("sensitivity_samples", samples), ("sensitivity_radius", radius)):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, found {value}")
    original = explain(model, images, targets, rows)
    size = _norm(original)
    largest = np.zeros(len(images))
    noises = [np.random.default_rng([seed, row, STREAM]) for row in rows.tolist()]
    for _ in range(samples):
        noise = np.stack([noise.integers(-radius, radius + 1, images.shape[1:]) for noise in noises])
        changed = np.clip(images + noise, 0, 255).astype(np.uint8)
        change = _norm(explain(model, changed, targets, rows) - original)
        largest = np.maximum(largest, change / np.where(size > 0, size, 1.0))
        if advance is not None:
            advance(len(images))
    return largest


def _norm(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.square(maps, dtype=np.float64).sum(axis=(1, 2)))
    return norms

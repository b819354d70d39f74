"""Similarity of two maps of one face: rank correlation and structural similarity."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, PIXELS
from fer_explain.evaluation.compared_maps import require_maps

WINDOW_SIGMA: Final = 1.5
"""Standard deviation of the window of `ssim`, in pixels."""
WINDOW: Final = 11
"""Width of the window, in pixels."""


def spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rank correlation of each pair of maps (Spearman 1904), with mean ranks for equal values.

    Parameters
    ----------
    first, second : ndarray of float32, shape (N, 48, 48)
        Maps.

    Returns
    -------
    ndarray of float64, shape (N,)
        -1..1; 1 if both maps are constant, 0 if one is.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    """
    require_maps(first)
    require_maps(second, first.shape)
    a, b = _centered_ranks(first), _centered_ranks(second)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    of_constant = np.where(a.any(axis=1) | b.any(axis=1), 0.0, 1.0)
    correlation: NDArray[np.float64] = np.divide((a * b).sum(axis=1), norm, out=of_constant, where=norm > 0)
    return correlation


def _centered_ranks(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the ranks of the pixels, (N, 2304), minus their mean."""
    from scipy.stats import rankdata  # takes longer to import than all else here

    ranks: NDArray[np.float64] = rankdata(maps.reshape(len(maps), -1), axis=1) - (PIXELS + 1) / 2
    return ranks


def ssim(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the structural similarity of the absolute values of each pair of maps.

    Wang, Bovik, Sheikh and Simoncelli 2004, Image Quality Assessment, equation 13, with their Gaussian window of 11x11
    pixels and constants, averaged over the positions of the window within the image. Each map is first divided
    by its maximum, because units of attributions are arbitrary.

    Parameters
    ----------
    first, second : ndarray of float32, shape (N, 48, 48)
        Maps.

    Returns
    -------
    ndarray of float64, shape (N,)
        -1..1; 1 for equal maps.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    """
    require_maps(first)
    require_maps(second, first.shape)
    x, y = _scaled(first), _scaled(second)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) - mean_x**2 + _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    mean: NDArray[np.float64] = similarity.mean(axis=(1, 2))
    return mean


def _scaled(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    strength = np.abs(maps.astype(np.float64))
    highest = strength.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float64] = np.divide(strength, highest, out=np.zeros_like(strength), where=highest > 0)
    return scaled


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (N, 48, 48) over the window at each position within the image, (N, 38, 38)."""
    offset = np.arange(IMAGE_SIZE) - np.arange(IMAGE_SIZE - WINDOW + 1)[:, None] - WINDOW // 2
    weights = np.where(np.abs(offset) <= WINDOW // 2, np.exp(-(offset**2) / (2 * WINDOW_SIGMA**2)), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    averaged: NDArray[np.float64] = weights @ values @ weights.T
    return averaged

"""Control maps: random maps with the values, the roughness and the centering of a given map, but not its features.

White noise is a weak control. Faces with fine holes and faces with coarse holes change a network's output in different
ways, and faces are centered, so any smooth bell over the center beats noise. A control must share all properties that
are unrelated to the evidence. The controls here are surrogates in the sense of Theiler, Eubank,
Longtin, Galdrikian and Farmer 1992, Testing for Nonlinearity in Time Series: The Method of Surrogate Data, section 2.4
(amplitude-adjusted Fourier transform), in two dimensions and around the map's own radial profile.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, PIXELS
from fer_explain.evaluation.compared_maps import require_maps

STREAM: Final = 4
"""Random stream; other random numbers of the same seed and row number come from other streams."""
RING_SIGMA: Final = 1.5
"""Standard deviation, in pixels, of the kernel that smooths a map's mean and spread over the distance from the center.
A wider kernel would flatten the peak of a bell, and the bell would beat its controls."""


def control_maps(attributions: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw control maps for one map.

    Each control is a Gaussian random field with the power spectrum of the map, so it is as rough or smooth; its mean
    and spread at each distance from the image's center are those of the map, so it is as centered; and it has exactly
    the map's values, ties included. The phases, and therefore the positions of its features, are random. A map that
    depends only on these properties is exchangeable with its controls, up to the estimation of spectrum and profile.

    Parameters
    ----------
    attributions : ndarray of float32, shape (48, 48)
        The map.
    count : int
        Number of controls, K.
    generator : numpy.random.Generator
        Source of the random phases.

    Returns
    -------
    ndarray of float32, shape (K, 48, 48)

    Raises
    ------
    ConfigError
        If the map is not finite or not of shape (48, 48).
    """
    require_maps(attributions[None])
    scores = _normal_scores(attributions)
    mean = _radial_mean(scores)
    spread = np.sqrt(np.maximum(_radial_mean((scores - mean) ** 2), np.finfo(np.float32).tiny))
    amplitudes = np.abs(np.fft.rfft2((scores - mean) / spread))
    noise = np.fft.rfft2(generator.standard_normal((count, IMAGE_SIZE, IMAGE_SIZE)))
    field = np.fft.irfft2(amplitudes * noise / np.abs(noise), s=(IMAGE_SIZE, IMAGE_SIZE))
    order = np.argsort((mean + spread * field).reshape(count, PIXELS), axis=1, kind="stable")
    controls = np.empty((count, PIXELS), np.float32)
    np.put_along_axis(controls, order, np.sort(attributions, axis=None)[None], axis=1)
    return controls.reshape(count, IMAGE_SIZE, IMAGE_SIZE)


def _normal_scores(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Replace values by the normal quantiles of their ranks, and equal values by the mean of their quantiles."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    stop = np.cumsum(size)
    sums = np.concatenate([[0.0], np.cumsum(_quantiles())])
    scores: NDArray[np.float64] = ((sums[stop] - sums[stop - size]) / size)[group]
    return scores.reshape(values.shape)


@cache
def _quantiles() -> NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((rank + 0.5) / PIXELS) for rank in range(PIXELS)])


@cache
def _rings() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return each pixel's distance from the center, radii one pixel apart, and the pixels' weights at each radius."""
    offset = np.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2
    distance = np.hypot(offset[:, None], offset).ravel()
    radii = np.arange(np.ceil(distance.max()) + 1)
    weights = np.exp(-((distance - radii[:, None]) ** 2) / (2 * RING_SIGMA**2))
    return distance, radii, weights / weights.sum(axis=1, keepdims=True)


def _radial_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average values (48, 48) over pixels at about the same distance from the center."""
    distance, radii, weights = _rings()
    return np.interp(distance, radii, weights @ values.ravel()).reshape(values.shape)

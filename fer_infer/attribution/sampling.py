"""Averages of random samples, drawn until the mean map is known well enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_infer.attribution.differentiable import ERRORS, SAMPLES, Arrays, Differentiable
from fer_infer.config import SamplingConfig
from fer_infer.runtime.runners import slices

FIRST_SAMPLES: Final = 8
"""Number of samples after which a map is first checked, and which are then added."""

Sample = Callable[[NDArray[np.intp]], NDArray[np.float32]]
"""Draws one further sample for each of some faces, int64 (n,), in ascending order and possibly repeated; returns maps
(n, 48, 48)."""


def smoothgrad(model: Differentiable, rows: NDArray[np.int64], config: SamplingConfig) -> Arrays:
    """Average the gradient over noisy copies, then take its absolute value: Smilkov et al. 2017, section 3.

    The noise of a face is seeded by its row number, which Captum's `NoiseTunnel` does not support. Samples are added
    until the standard error of the mean gradient is small, see `mean_of_samples`.
    """
    images = model.images
    spread = np.float32(config.noise) * (images.max(axis=(1, 2), initial=0) - images.min(axis=(1, 2), initial=255))
    generators = generators_for(rows, config.seed)

    def sample(faces: NDArray[np.intp]) -> NDArray[np.float32]:
        noise = np.stack([generators[face].standard_normal(images.shape[1:], np.float32) for face in faces.tolist()])
        return model.gradients(images[faces] + spread[faces, None, None] * noise, faces)

    found = mean_of_samples(model, sample, config)
    return {**found, "attributions": np.abs(found["attributions"])}


def generators_for(rows: NDArray[np.int64], seed: int) -> list[np.random.Generator]:
    """Return one random generator per face; it does not depend on the other faces."""
    return [np.random.default_rng((seed, row)) for row in rows.tolist()]


def mean_of_samples(model: Differentiable, sample: Sample, config: SamplingConfig) -> Arrays:
    """Average samples of each face until the relative standard error of its mean is at most `standard_error`.

    With the mean m of n samples g of a face, the squared standard error of m, summed over pixels, is

        s^2 = sum over samples of |g - m|^2 / (n (n - 1)),

    and the relative standard error is s / sqrt(|m|^2 - s^2), because |m|^2 exceeds the squared norm of the expected map
    by s^2 on average. It is infinite while |m| <= s, that is, while the mean is indistinguishable from noise, and for a
    single sample.

    Parameters
    ----------
    model : Differentiable
        Faces.
    sample : callable
        Draws samples of at most `model.batch_size` faces.
    config : SamplingConfig
        Settings.

    Returns
    -------
    dict of ndarray
        `attributions`, `samples` and `errors`, the relative standard errors.
    """
    n = len(model.images)
    total = np.zeros(model.images.shape, np.float32)
    squares, errors, samples = np.zeros(n), np.full(n, np.inf), np.zeros(n, np.int64)
    faces = np.arange(n)
    step, most = _range(config)
    while len(faces):
        every = faces.repeat(min(step, most - int(samples[faces[0]])))
        for batch in slices(len(every), model.batch_size):
            drawn = sample(every[batch])
            np.add.at(total, every[batch], drawn)
            np.add.at(squares, every[batch], np.square(drawn, dtype=np.float64).sum(axis=(1, 2)))
        samples += np.bincount(every, minlength=n)
        errors[faces] = relative_errors(total[faces], squares[faces], samples[faces])
        finished = (errors[faces] <= config.standard_error) | (samples[faces] >= most)
        model.finish(int(finished.sum()))
        faces = faces[~finished]
    mean = total / np.maximum(samples, 1).astype(np.float32)[:, None, None]
    return {"attributions": mean, SAMPLES: samples, ERRORS: errors}


def relative_errors(
    total: NDArray[np.float32], squares: NDArray[np.float64], n: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return relative standard errors from the sums of n samples and of their squared norms, see `mean_of_samples`."""
    mean_square = np.square(total / n[:, None, None], dtype=np.float64).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Rounding can make the difference of equal samples negative.
        variance = ((squares - n * mean_square) / (n * (n - 1))).clip(0)
        relative = np.sqrt(variance / (mean_square - variance).clip(0))
    return np.where(n == 1, np.inf, np.where(variance == 0, 0.0, relative))


def _range(config: SamplingConfig) -> tuple[int, int]:
    """Return the smallest and the largest number of samples per face."""
    if config.samples is not None:
        return config.samples, config.samples
    return FIRST_SAMPLES, config.max_samples

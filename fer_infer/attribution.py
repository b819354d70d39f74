"""Attribution maps by ONNX Runtime: methods that need only the gradient of `saliency.onnx`, without PyTorch.

The methods, their settings and their values are those of the same names in `fer_explain`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, ConfigError
from fer_infer.config import MapConfig
from fer_infer.saliency import SaliencyMaps, SaliencyModel

FIRST_SAMPLES: Final = 8
"""Number of samples after which an unlimited method first checks its map."""
PASSES_AT_ONCE: Final = 512
"""Number of images that pass through the model together, which bounds memory."""

SIGNED: Final = frozenset({"input-x-gradient", "integrated-gradients"})
"""Methods whose maps have a sign: positive values raise the target's logit."""


@dataclass(frozen=True, eq=False)
class AttributionMaps:
    """Predictions and attribution maps of N faces by one method.

    Attributes
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    targets : ndarray of int64, shape (N,)
        Explained class of each face.
    logits, probabilities : ndarray of float32, shape (N, classes)
        Predictions.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    deltas : ndarray of float32, shape (N,), or None
        Convergence deltas: the sum of a map minus the difference of logits that it approximates; None for a method
        without a defined sum.
    samples : ndarray of int64, shape (N,), or None
        Number of gradients per map; None for a method that needs one.
    errors : ndarray of float32, shape (N,), or None
        Relative error at which a map was finished: that of its sum, or its standard error.
    """

    attributions: NDArray[np.float32]
    targets: NDArray[np.int64]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    rows: NDArray[np.int64]
    deltas: NDArray[np.float32] | None = None
    samples: NDArray[np.int64] | None = None
    errors: NDArray[np.float32] | None = None


def attributions_of(
    model: SaliencyModel,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64] | int | None = None,
    *,
    rows: NDArray[np.int64] | None = None,
    config: MapConfig | None = None,
) -> AttributionMaps:
    """Explain faces.

    Parameters
    ----------
    model : SaliencyModel
        Model with its gradient.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,), or int, optional
        Class to explain; by default, or where it is -1, the predicted class.
    rows : ndarray of int64, shape (N,), optional
        Row numbers, which seed the random numbers of each face; by default 0 to N - 1.
    config : MapConfig, optional
        Method and settings.

    Returns
    -------
    AttributionMaps

    Raises
    ------
    ConfigError
        If the method needs a convolution that the network does not have, or an argument is not as expected.
    ModelError
        If ONNX Runtime fails.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_infer import SaliencyModel, attributions_of
    >>> from fer_infer.config import MapConfig
    >>> faces = read_faces("faces.csv").take(slice(2))
    >>> with SaliencyModel("exports/compact", device="cpu") as model:
    ...     maps = attributions_of(model, faces.images, config=MapConfig(method="integrated-gradients"))
    >>> maps.attributions.shape, bool((maps.errors <= 0.01).all())
    ((2, 48, 48), True)
    """
    config = config or MapConfig()
    rows = np.arange(len(images)) if rows is None else rows
    if rows.shape != (len(images),):
        raise ConfigError(f"expected ({len(images)},), one row number per face, found {rows.shape}", parameter="rows")
    maps = model.explain(images, targets)
    plain = AttributionMaps(maps.saliency, maps.targets, maps.logits, maps.probabilities, rows)
    match config.method:
        case "saliency":
            return replace(plain, attributions=np.abs(maps.saliency))
        case "input-x-gradient":
            return replace(plain, attributions=maps.saliency * images)
        case "grad-cam":
            if maps.grad_cam is None:
                raise ConfigError("Grad-CAM needs a convolution; the network has none", parameter="method")
            return replace(plain, attributions=maps.grad_cam)
        case "integrated-gradients":
            return replace(plain, **integrated_gradients(model, images, maps, config))
        case _:
            return replace(plain, **smoothgrad(model, images, maps, rows, config))


def integrated_gradients(
    model: SaliencyModel, images: NDArray[np.uint8], maps: SaliencyMaps, config: MapConfig
) -> dict[str, NDArray[Any]]:
    """Integrate the gradient along the straight path from the baseline: Sundararajan, Taly and Yan 2017, equation 1.

    The integral is a Gauss-Legendre sum. The exact values sum to the difference between the logits of face and baseline
    (completeness, ibid., proposition 1). A face is finished when its sum is within `tolerance` of this difference; the
    others are integrated anew with twice the nodes. `maps` are those of `SaliencyModel.explain` for the same faces.
    """
    n = len(images)
    baseline = np.float32(model.card.standardization["mean"] if config.baseline is None else config.baseline)
    differences = images - baseline
    blank = np.full((1, IMAGE_SIZE, IMAGE_SIZE), baseline, np.float32)
    at_baseline = model.explain(np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8), offsets=blank).logits[0]
    expected = _chosen(maps.logits, maps.targets).astype(np.float64) - at_baseline[maps.targets]
    attributions = np.empty(images.shape, np.float32)
    deltas, errors, samples = np.empty(n), np.empty(n), np.zeros(n, np.int64)
    faces, (nodes, most) = np.arange(n), sample_range(config)
    while len(faces):
        integrals = _integrals(model, images, differences, maps.targets, faces, nodes)
        attributions[faces] = integrals * differences[faces]
        deltas[faces] = attributions[faces].sum(axis=(1, 2), dtype=np.float64) - expected[faces]
        with np.errstate(divide="ignore", invalid="ignore"):
            errors[faces] = np.where(deltas[faces] == 0, 0.0, np.abs(deltas[faces] / expected[faces]))
        samples[faces] = nodes
        faces = faces[errors[faces] > config.tolerance] if nodes < most else faces[:0]
        nodes = min(2 * nodes, most)
    return {
        "attributions": attributions,
        "deltas": deltas.astype(np.float32),
        "samples": samples,
        "errors": errors.astype(np.float32),
    }


def smoothgrad(
    model: SaliencyModel,
    images: NDArray[np.uint8],
    maps: SaliencyMaps,
    rows: NDArray[np.int64],
    config: MapConfig,
) -> dict[str, NDArray[Any]]:
    """Average the gradient over noisy copies, then take its absolute value: Smilkov et al. 2017, section 3.

    Samples of a face are added until the relative standard error of its mean gradient is at most `standard_error`, see
    `relative_errors`. `maps` are those of `SaliencyModel.explain` for the same faces.
    """
    n = len(images)
    spread = np.float32(config.noise) * (
        np.ptp(images.reshape(n, images.shape[1] * images.shape[2]), axis=1) if n else np.zeros(0)
    )
    generators = [np.random.default_rng((config.seed, row)) for row in rows.tolist()]
    total = np.zeros(images.shape, np.float32)
    squares, errors, samples = np.zeros(n), np.full(n, np.inf), np.zeros(n, np.int64)
    faces, (step, most) = np.arange(n), sample_range(config)
    while len(faces):
        count = min(step, most - int(samples[faces[0]]))
        every = faces.repeat(count)
        for start in range(0, len(every), PASSES_AT_ONCE):
            chunk = every[start : start + PASSES_AT_ONCE]
            noise = np.stack(
                [generators[face].standard_normal(images.shape[1:], np.float32) for face in chunk.tolist()]
            )
            offsets = spread[chunk, None, None].astype(np.float32) * noise
            found = model.explain(images[chunk], maps.targets[chunk], offsets=offsets).saliency
            np.add.at(total, chunk, found)
            np.add.at(squares, chunk, np.square(found, dtype=np.float64).sum(axis=(1, 2)))
        samples[faces] += count
        errors[faces] = relative_errors(total[faces], squares[faces], samples[faces])
        faces = faces[(errors[faces] > config.standard_error) & (samples[faces] < most)]
    mean = np.abs(total / samples[:, None, None]) if n else total
    return {"attributions": mean.astype(np.float32), "samples": samples, "errors": errors.astype(np.float32)}


def sample_range(config: MapConfig) -> tuple[int, int]:
    """Return the smallest and the largest number of samples per face."""
    if config.samples is not None:
        return config.samples, config.samples
    return min(FIRST_SAMPLES, config.max_samples), config.max_samples


def gauss_legendre(nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights on 0..1, float64 (nodes,), exact for polynomials of degree up to 2 nodes - 1."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return (1 + places) / 2, weights / 2


def relative_errors(
    total: NDArray[np.float32], squares: NDArray[np.float64], n: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the relative standard errors of mean maps from the sums of n samples and of their squared norms.

    With the mean m of n samples g, the squared standard error of m, summed over pixels, is

        s^2 = sum over samples of |g - m|^2 / (n (n - 1)),

    and the relative standard error is s / sqrt(|m|^2 - s^2), because |m|^2 exceeds the squared norm of the expected map
    by s^2 on average. It is infinite while |m| <= s, that is, while the mean is indistinguishable from noise, and for a
    single sample.
    """
    mean_square = np.square(total / n[:, None, None], dtype=np.float64).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Rounding can make the difference of equal samples negative.
        variance = np.clip((squares - n * mean_square) / (n * (n - 1)), 0, None)
        relative = np.sqrt(variance / np.clip(mean_square - variance, 0, None))
    return np.where(n == 1, np.inf, np.where(variance == 0, 0.0, relative))


def _chosen(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float32]:
    chosen: NDArray[np.float32] = np.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return chosen


def _integrals(
    model: SaliencyModel,
    images: NDArray[np.uint8],
    differences: NDArray[np.float32],
    targets: NDArray[np.int64],
    faces: NDArray[np.intp],
    nodes: int,
) -> NDArray[np.float32]:
    """Return the mean gradient, (n, 48, 48), of some faces along the path, by Gauss-Legendre sums."""
    places, weights = (each.astype(np.float32)[:, None, None] for each in gauss_legendre(nodes))
    total = np.zeros(images.shape, np.float32)
    every, node = faces.repeat(nodes), np.tile(np.arange(nodes), len(faces))
    for start in range(0, len(every), PASSES_AT_ONCE):
        chunk, at = every[start : start + PASSES_AT_ONCE], node[start : start + PASSES_AT_ONCE]
        offsets = (places[at] - 1) * differences[chunk]
        found = model.explain(images[chunk], targets[chunk], offsets=offsets).saliency
        np.add.at(total, chunk, weights[at] * found)
    summed: NDArray[np.float32] = total[faces]
    return summed

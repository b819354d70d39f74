"""Deletion and insertion: how the probability of a class falls and rises as a map's best pixels go and come.

Petsiuk, Das and Saenko 2018, RISE, section 4.3. What takes the place of a deleted pixel is the mean gray of its face,
and insertion begins with a blurred face: as there, a constant makes sharp edges that count as evidence, which hurts
insertion most, while blurring would leave deletion too much to go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, PIXELS, ConfigError, ModelError
from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import require_maps
from fer_explain.layers.structure import evaluation_mode
from fer_train.prediction import predict_logits, softmax

STREAM: Final = 3
"""Of chance: what else a seed and a row number decide, such as random maps, is drawn from other streams."""


@dataclass(frozen=True, eq=False)
class Curves:
    """The probability of each face's class along the way.

    Attributes
    ----------
    shares : ndarray of float64, shape (steps + 1,)
        Share of the pixels deleted or inserted, from 0 to 1.
    deletion, insertion : ndarray of float32, shape (N, steps + 1)
        Probability of the class, 0..1.
    """

    shares: NDArray[np.float64]
    deletion: NDArray[np.float32]
    insertion: NDArray[np.float32]

    @property
    def deletion_auc(self) -> NDArray[np.float64]:
        """Area under the deletion curve, float64 (N,), 0..1: low where a map finds what the class rests on."""
        return _area(self.deletion, self.shares)

    @property
    def gap(self) -> NDArray[np.float64]:
        """Insertion minus deletion AUC, float64 (N,), -1..1: high where a map is faithful by both."""
        return self.insertion_auc - self.deletion_auc

    @property
    def insertion_auc(self) -> NDArray[np.float64]:
        """Area under the insertion curve, float64 (N,), 0..1: high where a map finds what suffices for the class."""
        return _area(self.insertion, self.shares)


def pixel_ranks(attributions: NDArray[np.float32], rows: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.int16]:
    """Rank the pixels of each map from its highest value to its lowest.

    Equal values are taken in an order drawn from `seed` and the row number: in reading order, a map that says nothing
    would pass for one that begins at the forehead, and thus for better or worse than noise.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Signed where the method has signs: what speaks against the class comes last.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    seed : int
        Of the order of equal values.

    Returns
    -------
    ndarray of int16, shape (N, 2304)
        Position of each pixel, in reading order, 0 the highest value.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    """
    require_maps(attributions)
    ranks = np.empty((len(attributions), PIXELS), np.int16)
    for face, (values, row) in enumerate(zip(attributions.reshape(-1, PIXELS), rows.tolist(), strict=True)):
        shuffled = np.random.default_rng([seed, row, STREAM]).permutation(PIXELS)
        order = shuffled[np.argsort(-values[shuffled], kind="stable")]
        ranks[face, order] = np.arange(PIXELS)
    return ranks


def even_shares(steps: int) -> NDArray[np.float64]:
    """Return shares of the pixels from 0 to 1 in equal steps, float64 (steps + 1,); ConfigError outside 1..2304."""
    if not 1 <= steps <= PIXELS:
        raise ConfigError(f"steps: expected 1..{PIXELS}, found {steps}")
    shares: NDArray[np.float64] = np.linspace(0, 1, steps + 1)
    return shares


def trace_curves(
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    ranks: Sequence[NDArray[np.int16]],
    *,
    shares: NDArray[np.float64],
    blur_sigma: float,
    batch_size: int,
    temperature: float = 1.0,
    advance: Advance | None = None,
) -> tuple[Curves, ...]:
    """Pass faces through a network while their pixels are deleted, and inserted, in the order of each of M maps.

    Where the ways begin and end, at the whole face, its mean gray and the blurred face, is passed once for all maps.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); run in evaluation mode, left in its own.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose probability is followed.
    ranks : sequence of ndarray of int16, shape (N, 2304)
        M of them, as `pixel_ranks` returns them.
    shares : ndarray of float64, shape (steps + 1,)
        Shares of the pixels that are deleted or inserted, from 0 to 1, such as `even_shares` returns.
    blur_sigma : float
        Of the blurred face that insertion begins with, in pixels.
    batch_size : int
        Images a forward pass; it changes speed and memory, not the result.
    temperature : float
        By which the scorer divides logits before the softmax.
    advance : callable, optional
        Called with the number of images after each face: 3, and 2 (steps - 1) for each map.

    Returns
    -------
    tuple of Curves
        Of each map.

    Raises
    ------
    ConfigError
        If the shares do not increase from 0 to 1 by at least a pixel.
    ModelError
        If a probability is not finite.
    """
    changed = np.rint(shares * PIXELS).astype(np.int64)
    if len(changed) < 2 or changed[0] != 0 or changed[-1] != PIXELS or (np.diff(changed) < 1).any():
        raise ConfigError(f"shares: expected increasing values from 0 to 1, found {shares.tolist()}")
    deletion, insertion = (np.empty((len(ranks), len(images), len(changed)), np.float32) for _ in range(2))
    pixels, blurred = (faces.reshape(-1, PIXELS) for faces in (images.astype(np.float32), blur(images, blur_sigma)))
    with evaluation_mode(model):
        for i, (face, smooth) in enumerate(zip(pixels, blurred, strict=True)):
            gray = np.full_like(face, face.mean())
            taken = np.stack([rank[i] for rank in ranks])[:, None] < changed[1:-1, None]  # (M, steps - 1, 2304)
            between = np.stack([np.where(taken, gray, face), np.where(taken, face, smooth)])
            altered = np.concatenate([np.stack([face, gray, smooth]), between.reshape(-1, PIXELS)])
            logits = predict_logits(model, altered.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), batch_size=batch_size)
            of_class = softmax(logits, temperature)[:, targets[i]]
            whole, nothing, start = of_class[:3]
            inner = of_class[3:].reshape(between.shape[:3])
            deletion[:, i, 0], deletion[:, i, 1:-1], deletion[:, i, -1] = whole, inner[0], nothing
            insertion[:, i, 0], insertion[:, i, 1:-1], insertion[:, i, -1] = start, inner[1], whole
            if advance is not None:
                advance(len(altered))
    if not (np.isfinite(deletion).all() and np.isfinite(insertion).all()):
        raise ModelError("deletion and insertion: found probabilities that are not finite; are the weights?")
    return tuple(Curves(changed / PIXELS, *ways) for ways in zip(deletion, insertion, strict=True))


def _area(curves: NDArray[np.float32], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (N,) under curves (N, steps + 1) by the trapezoidal rule."""
    areas: NDArray[np.float64] = (curves[:, 1:] / 2 + curves[:, :-1] / 2) @ np.diff(shares)
    return areas


def blur(images: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """Blur faces by a Gaussian of `sigma` pixels, float32 (N, 48, 48); at the border its weights still sum to 1."""
    places = np.arange(IMAGE_SIZE)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    blurred: NDArray[np.float32] = weights @ images.astype(np.float32) @ weights.T
    return blurred

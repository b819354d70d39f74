"""Deletion and insertion: how a class's probability changes as a map's highest pixels are deleted or inserted.

Petsiuk, Das and Saenko 2018, RISE, section 4.3. As there, deleted pixels are replaced by a constant, the mean gray of
the face, and insertion starts from a blurred face: a constant creates sharp edges that count as evidence, which affects
insertion most, while a blurred face contains too much evidence for deletion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, PIXELS, ConfigError, ModelError
from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import require_maps
from fer_explain.evaluation.metrics.altered_images import Alter, altered_logits
from fer_train.prediction import softmax

STREAM: Final = 3
"""Random stream; other random numbers of the same seed and row number come from other streams."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Probability of a face's class during deletion and insertion, along T curves.

    Attributes
    ----------
    shares : ndarray of float64, shape (steps + 1,)
        Fraction of the pixels deleted or inserted, from 0 to 1.
    deletion, insertion : ndarray of float32, shape (T, steps + 1)
        Probability of the class, 0..1.
    """

    shares: NDArray[np.float64]
    deletion: NDArray[np.float32]
    insertion: NDArray[np.float32]

    @property
    def deletion_auc(self) -> NDArray[np.float64]:
        """Area under the deletion curve, float64 (T,), 0..1: low if a map finds the evidence for the class."""
        return _area(self.deletion, self.shares)

    @property
    def gap(self) -> NDArray[np.float64]:
        """Insertion minus deletion AUC, float64 (T,), -1..1: high if a map is faithful by both."""
        return self.insertion_auc - self.deletion_auc

    @property
    def insertion_auc(self) -> NDArray[np.float64]:
        """Area under the insertion curve, float64 (T,), 0..1: high if a map finds sufficient evidence."""
        return _area(self.insertion, self.shares)

    def take(self, index: slice) -> Curves:
        """Return some of the curves."""
        return Curves(self.shares, self.deletion[index], self.insertion[index])


@dataclass(frozen=True, eq=False)
class CurveSettings:
    """Settings of deletion and insertion curves.

    Parameters
    ----------
    shares : ndarray of float64, shape (steps + 1,)
        Fractions of the pixels that are deleted or inserted, from 0 to 1, e.g. `even_shares`.
    blur_sigma : float
        Standard deviation, in pixels, of the blur of the face that insertion starts from.
    batch_size : int
        Images per forward pass; it affects speed and memory, not the result.
    temperature : float
        Divisor of the logits before the softmax.

    Raises
    ------
    ConfigError
        If the fractions do not increase from 0 to 1 by at least a pixel.
    """

    shares: NDArray[np.float64]
    blur_sigma: float
    batch_size: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        counts = self.counts
        if len(counts) < 2 or counts[0] != 0 or counts[-1] != PIXELS or (np.diff(counts) < 1).any():
            found = self.shares.tolist()
            raise ConfigError(f"expected increasing values from 0 to 1, found {found}", parameter="shares")

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of changed pixels at each point of the curves, int64 (steps + 1,)."""
        return np.rint(self.shares * PIXELS).astype(np.int64)


def pixel_ranks(attributions: NDArray[np.float32], rows: NDArray[np.int64], *, seed: int = 0) -> NDArray[np.int16]:
    """Rank the pixels of each map from its highest value to its lowest.

    Equal values are ordered at random, seeded by `seed` and the row number: in reading order, a constant map would
    start at the forehead and could be better or worse than noise.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Signed for signed methods: evidence against the class comes last.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    seed : int
        Random seed of the order of equal values.

    Returns
    -------
    ndarray of int16, shape (N, 2304)
        Rank of each pixel, in reading order; 0 is the highest value.

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
    """Return fractions of the pixels from 0 to 1 in equal steps, float64 (steps + 1,); ConfigError outside 1..2304."""
    if not 1 <= steps <= PIXELS:
        raise ConfigError(f"expected 1 to {PIXELS:,}, found {steps}", parameter="steps")
    shares: NDArray[np.float64] = np.linspace(0, 1, steps + 1)
    return shares


class CurveTracer:
    """Scores faces while their pixels are deleted, and inserted, in the order of maps.

    The endpoints of the curves, the face, its mean gray and the blurred face, are scored once, when the tracer is made.
    The images between them fill whole batches, no matter to which faces and maps they belong.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its mode is
        restored.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose probability is recorded.
    settings : CurveSettings
        Settings of the curves.
    advance : callable, optional
        Called with the number of images after each batch: 3 per face, and then 2 (steps - 1) per curve.
    """

    def __init__(
        self,
        model: nn.Module,
        images: NDArray[np.uint8],
        targets: NDArray[np.int64],
        settings: CurveSettings,
        *,
        advance: Advance | None = None,
    ) -> None:
        self._model = model
        self._targets = targets
        self._settings = settings
        self._advance = advance
        faces = images.reshape(-1, PIXELS).astype(np.float32)
        grays = np.broadcast_to(faces.mean(axis=1, keepdims=True), faces.shape)
        self._kinds = np.stack([faces, grays, blur(images, settings.blur_sigma).reshape(-1, PIXELS)])
        flat = self._kinds.reshape(-1, PIXELS)
        endpoints = self._score(lambda chunk: _as_images(flat[chunk]), np.tile(targets, 3))
        self._endpoints = endpoints.reshape(3, -1)

    def trace(self, faces: NDArray[np.intp], ranks: NDArray[np.int16]) -> Curves:
        """Trace T curves of deletion and of insertion.

        Parameters
        ----------
        faces : ndarray of int, shape (T,)
            Position of the face of each curve.
        ranks : ndarray of int16, shape (T, 2304)
            Order of the pixels, as `pixel_ranks` returns it.

        Returns
        -------
        Curves
            T curves.

        Raises
        ------
        ModelError
            If a probability is not finite.
        """
        steps = len(self._settings.counts) - 2
        curve, inserts, step = (each.ravel() for each in np.indices((len(faces), 2, steps)))
        between = self._probabilities(faces[curve], ranks, curve, inserts, 1 + step).reshape(len(faces), 2, steps)
        return self._curves(faces, between)

    def compare(
        self, faces: NDArray[np.intp], ranks: NDArray[np.int16], gaps: NDArray[np.float64], margin: float
    ) -> NDArray[np.int64]:
        """Compare insertion minus deletion of T maps with given values, with as few images as decide it.

        Probabilities are between 0 and 1, so those that are not computed yet bound the area. The images of a map are
        scored in descending order of their weight in the area, until the bounds exclude the given value.

        Parameters
        ----------
        faces, ranks
            T maps, as in `trace`.
        gaps : ndarray of float64, shape (T,)
            Values to compare with.
        margin : float
            Difference up to which values count as equal.

        Returns
        -------
        ndarray of int64, shape (T,)
            1 if the given value is higher than that of the map, -1 if it is lower, else 0.
        """
        shares = self._settings.counts / PIXELS
        weights = (shares[2:] - shares[:-2]) / 2  # of the trapezoidal rule
        unknown = self._curves(faces, np.zeros((len(faces), 2, len(weights)), np.float32)).gap
        low, high = unknown - weights.sum(), unknown + weights.sum()
        pending = np.arange(len(faces))
        for step in np.argsort(-weights, kind="stable"):
            for inserts in (1, 0):
                some = np.full(len(pending), inserts), np.full(len(pending), 1 + step)
                found = weights[step] * self._probabilities(faces[pending], ranks, pending, *some)
                low[pending] += found if inserts else weights[step] - found
                high[pending] += found - weights[step] if inserts else -found
                decided = (gaps > high + margin) | (gaps < low - margin)
                pending = pending[~decided[pending]]
        signs: NDArray[np.int64] = (gaps > high + margin).astype(np.int64) - (gaps < low - margin)
        return signs

    def _curves(self, faces: NDArray[np.intp], between: NDArray[np.float32]) -> Curves:
        """Return T curves from the probabilities between their endpoints, (T, 2, steps - 1): deletion, insertion."""
        of_face, of_gray, of_blurred = self._endpoints[:, faces, None]
        deletion = np.concatenate([of_face, between[:, 0], of_gray], axis=1)
        insertion = np.concatenate([of_blurred, between[:, 1], of_face], axis=1)
        return Curves(self._settings.counts / PIXELS, deletion, insertion)

    def _probabilities(
        self,
        faces: NDArray[np.intp],
        ranks: NDArray[np.int16],
        maps: NDArray[np.intp],
        inserts: NDArray[np.intp],
        steps: NDArray[np.intp],
    ) -> NDArray[np.float32]:
        """Return the probabilities (n,) of images: a face after some step of a map, of insertion if not of deletion."""
        counts = self._settings.counts

        def alter(chunk: NDArray[np.intp]) -> NDArray[np.float32]:
            face, gray, blurred = self._kinds[:, faces[chunk]]
            start, end = np.where(inserts[chunk, None], (blurred, face), (face, gray))
            return _as_images(np.where(ranks[maps[chunk]] < counts[steps[chunk], None], end, start))

        return self._score(alter, self._targets[faces])

    def _score(self, alter: Alter, targets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the probabilities of targets (n,) for n images."""
        settings, n = self._settings, len(targets)
        if not n:
            return np.empty(0, np.float32)
        logits = altered_logits(self._model, n, alter, batch_size=settings.batch_size, advance=self._advance)
        found: NDArray[np.float32] = softmax(logits, settings.temperature)[np.arange(n), targets]
        if not np.isfinite(found).all():
            raise ModelError("deletion and insertion: probabilities contain NaN or Inf; check the model's weights")
        return found


def _as_images(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _area(curves: NDArray[np.float32], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (T,) under curves (T, steps + 1) by the trapezoidal rule."""
    areas: NDArray[np.float64] = (curves[:, 1:] / 2 + curves[:, :-1] / 2) @ np.diff(shares)
    return areas


def blur(images: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """Blur faces by a Gaussian of `sigma` pixels, float32 (N, 48, 48); its weights sum to 1 also at the border."""
    pixels = np.arange(IMAGE_SIZE)
    weights = np.exp(-((pixels[:, None] - pixels) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    blurred: NDArray[np.float32] = weights @ images.astype(np.float32) @ weights.T
    return blurred

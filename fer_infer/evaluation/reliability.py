"""Calibration: accuracy by confidence and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS: Final = 15
"""Number of bins of equal width over 0..1, as in Guo et al. 2017."""


@dataclass(frozen=True)
class Bin:
    """Faces whose confidence (largest probability) is above `low` and at most `high`.

    Attributes
    ----------
    low, high : float
        Limits of the bin.
    n : int
        Number of faces.
    confidence, accuracy : float or None
        Mean confidence, and fraction of correct predictions; None without faces.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None

    @property
    def gap(self) -> float:
        """Absolute difference of confidence and accuracy; 0 without faces."""
        return 0.0 if self.confidence is None or self.accuracy is None else abs(self.accuracy - self.confidence)


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> tuple[Bin, ...]:
    """Divide faces into bins by confidence.

    Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 2.

    Parameters
    ----------
    labels : array of int, shape (N,)
        True classes.
    probabilities : array of float, shape (N, classes)
        Each row sums to 1.
    bins : int
        Number of bins of equal width.

    Returns
    -------
    tuple of Bin
        Bins by increasing confidence.
    """
    given = np.asarray(probabilities, np.float64)
    confidence, correct = given.max(axis=1), given.argmax(axis=1) == np.asarray(labels)
    edges = np.linspace(0, 1, bins + 1)
    # Inner edges only: rounding may leave a confidence slightly above 1, which belongs to the last bin.
    which = np.digitize(confidence, edges[1:-1], right=True)
    return tuple(
        _bin(low, high, confidence[which == number], correct[which == number])
        for number, (low, high) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    )


def _bin(low: float, high: float, confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Bin:
    if not len(confidence):
        return Bin(low, high, 0, None, None)
    return Bin(low, high, len(confidence), float(confidence.mean()), float(correct.mean()))


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Return the mean of |accuracy - confidence| over bins, weighted by faces, 0..1 (Guo et al. 2017, eq. 3)."""
    return sum(each.n * each.gap for each in bins) / sum(each.n for each in bins)

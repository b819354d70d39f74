"""Smooth the probabilities of each face over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FORGOTTEN: Final = 20
"""Time constants after which an observation counts for nothing in float64."""


@dataclass
class _Sum:
    weighted: NDArray[np.float64]
    weight: float
    time_s: float


class Smoother:
    """Averages the probabilities of a face over an exponential window.

    The smoothed probabilities at time t are ``sum(w_i p_i) / sum(w_i)`` over all observations until t, with the weights
    ``w_i = exp(-(t - t_i) / smooth_s)``. They do not depend on the frame rate, except for its noise, and add up to 1.

    Parameters
    ----------
    smooth_s : float
        Time constant in seconds; 0 returns the probabilities unchanged.

    Examples
    --------
    >>> from fer_infer.photos.smoothing import Smoother
    >>> smoother = Smoother(0.5)
    >>> smoother.add(1, 0.0, np.array([1.0, 0.0])).tolist()
    [1.0, 0.0]
    >>> smoother.add(1, 0.5, np.array([0.0, 1.0])).round(3).tolist()
    [0.269, 0.731]
    """

    def __init__(self, smooth_s: float) -> None:
        self._smooth_s = smooth_s
        self._sums: dict[int, _Sum] = {}

    def add(self, face: int, time_s: float, probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
        """Add an observation; return the smoothed probabilities at its time.

        Parameters
        ----------
        face : int
            Id of the face.
        time_s : float
            Time in seconds, not before that of its last observation.
        probabilities : ndarray, shape (classes,)
            Probabilities.
        """
        current = probabilities.astype(np.float64)
        if not self._smooth_s:
            return current
        self._forget(time_s)
        known = self._sums.get(face)
        if known is None:
            self._sums[face] = _Sum(current, 1.0, time_s)
            return current
        decay = math.exp(-(time_s - known.time_s) / self._smooth_s)
        known.weighted = known.weighted * decay + current
        known.weight = known.weight * decay + 1
        known.time_s = time_s
        smoothed: NDArray[np.float64] = known.weighted / known.weight
        return smoothed

    def _forget(self, time_s: float) -> None:
        kept = {face: known for face, known in self._sums.items() if time_s - known.time_s < FORGOTTEN * self._smooth_s}
        self._sums = kept

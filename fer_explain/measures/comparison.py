"""Methods compared score by score: with each other, and with maps that know nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_explain.measures.estimates import Answer, Estimate, estimate, rank_intervals
from fer_explain.measures.maps import CONTROLS

Better = Literal["higher", "lower"] | None
"""Which values of a score are the better ones; None where neither is."""


@dataclass(frozen=True)
class Gain:
    """How much better a method is than a control.

    Attributes
    ----------
    value : Estimate
        Of the difference, face by face, signed so that above 0 is better, whichever way the score runs.
    better : str
        Whether the interval lies above 0: yes, no if it lies below, undecided if it holds 0.
    """

    value: Estimate
    better: Answer


@dataclass(frozen=True)
class MethodScore:
    """One score of one method over all faces.

    Attributes
    ----------
    method, score : str
        Names.
    value : Estimate
        Of the mean over faces.
    gains : mapping of str to Gain
        Over each control; empty for a control itself and for a score that is neither good nor bad.
    rank : tuple of int or None
        By the score that ranks, 1 the best, with its 95 % interval; None for other scores.
    """

    method: str
    score: str
    value: Estimate
    gains: Mapping[str, Gain]
    rank: tuple[int, int, int] | None

    def __str__(self) -> str:
        low, high = self.value.low, self.value.high
        line = f"{self.method:<22} {self.score} {self.value.mean:.3f} ({low:.3f} to {high:.3f})"
        for control, gain in self.gains.items():
            line += f", better than {control}: {gain.better}"
        return line

    def table_row(self) -> dict[str, object]:
        """Return the figures under flat names, None where there are none."""
        row: dict[str, object] = {"method": self.method, "score": self.score, **asdict(self.value)}
        row |= dict(zip(("rank", "rank_low", "rank_high"), self.rank or (None, None, None), strict=True))
        for control in CONTROLS:
            gain = self.gains.get(control)
            row[f"gain_over_{control}"] = gain and gain.value.mean
            row[f"gain_over_{control}_low"] = gain and gain.value.low
            row[f"gain_over_{control}_high"] = gain and gain.value.high
            row[f"better_than_{control}"] = gain and gain.better
        return row


def compare_methods(
    methods: Sequence[str],
    scores: Mapping[str, NDArray[np.float64]],
    better: Mapping[str, Better],
    ranked_by: str,
    *,
    seed: int = 0,
) -> list[MethodScore]:
    """Estimate every score of every method over the faces, and hold it to the controls'.

    Parameters
    ----------
    methods : sequence of str
        M names, the controls among them.
    scores : mapping of str to ndarray of float64, shape (M, N)
        Of every face, N at least 2; NaN where a face was left out.
    better : mapping of str to str or None
        Which values of each score are the better ones.
    ranked_by : str
        The score that ranks; higher must be better.
    seed : int
        Of the resamples. They are the same for all methods, so that what is compared is paired.

    Returns
    -------
    list of MethodScore
        Method by method from the first rank to the last, and score by score.

    Raises
    ------
    ConfigError
        If there are fewer than two faces, or a control is missing.
    """
    missing = [control for control in CONTROLS if control not in methods]
    if missing:
        raise ConfigError(f"methods: expected the controls {', '.join(CONTROLS)} among them, found no {missing[0]}")
    ranks = dict(zip(methods, rank_intervals(scores[ranked_by], seed=seed), strict=True))
    controls = {control: list(methods).index(control) for control in CONTROLS}
    compared = []
    for place, method in sorted(enumerate(methods), key=lambda entry: ranks[entry[1]][0]):
        for score, values in scores.items():
            own = values[place]
            held_to = {} if method in CONTROLS or better[score] is None else controls
            sign = 1 if better[score] == "higher" else -1
            gains = {control: _gain(sign * (own - values[other]), seed) for control, other in held_to.items()}
            rank = ranks[method] if score == ranked_by else None
            compared.append(MethodScore(method, score, estimate(own[np.isfinite(own)], seed=seed), gains, rank))
    return compared


def _gain(differences: NDArray[np.float64], seed: int) -> Gain:
    value = estimate(differences[np.isfinite(differences)], seed=seed)
    return Gain(value, value.exceeds(0.0))

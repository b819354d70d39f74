"""Compare methods with each other, with matched controls and with the control ``center``, score by score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_explain.evaluation.intervals import LEAST_FACES, Estimate, estimate, rank_intervals
from fer_explain.evaluation.method_names import CENTER, CONTROLS

Better = Literal["higher", "lower"] | None
"""Which values of a score are better; None if neither is."""
State = Literal["better", "no different", "worse", "too few faces"]
"""Result of a comparison over faces."""

MATCHED_CONTROLS: Final = "controls"
"""Key of the gain over matched controls."""


@dataclass(frozen=True)
class Gain:
    """Difference between a method and what it is compared with.

    Attributes
    ----------
    value : Estimate
        Mean of the paired differences over faces, with a sign such that positive is better for every score.
    state : str
        ``better`` if the interval lies above 0, ``worse`` if it lies below, ``no different`` if it contains 0;
        ``too few faces`` with fewer than `LEAST_FACES`.
    """

    value: Estimate
    state: State

    @classmethod
    def of(cls, differences: NDArray[np.float64], *, seed: int = 0) -> Gain:
        """Estimate a gain from one difference per face, shape (N,), N at least 2; NaN is ignored."""
        value = estimate(differences[np.isfinite(differences)], seed=seed)
        states: dict[str, State] = {"yes": "better", "no": "worse", "undecided": "no different"}
        return cls(value, "too few faces" if value.n < LEAST_FACES else states[value.exceeds(0.0)])


@dataclass(frozen=True)
class MethodScore:
    """One score of one method over all faces.

    Attributes
    ----------
    method, score : str
        Names of the method and the score.
    value : Estimate
        Mean over faces.
    controls : Estimate or None
        Mean over faces of the mean over each map's matched controls; None if they are not compared.
    gains : mapping of str to Gain
        Gains over the matched ``controls`` and, unless the method is a control itself, over ``center``; empty for a
        score without a better direction, and for ``center``, whose matched controls are copies of it.
    rank : tuple of int or None
        Rank by the ranking score, 1 the best, with its 95% interval; None for other scores.
    """

    method: str
    score: str
    value: Estimate
    controls: Estimate | None
    gains: Mapping[str, Gain]
    rank: tuple[int, int, int] | None

    def __str__(self) -> str:
        low, high = self.value.low, self.value.high
        line = f"{self.method:<22} {self.score} {self.value.mean:.3f} ({low:.3f} to {high:.3f})"
        gain = self.gains.get(MATCHED_CONTROLS)
        if gain is not None:
            line += f", controls {self._text_of(gain)}"
        if self.method in CONTROLS:
            line += " (control)" if gain is None else " (control, expected to be no different)"
        return line

    def _text_of(self, gain: Gain) -> str:
        mean = "" if self.controls is None else f"{self.controls.mean:.3f}: "
        return f"{mean}{gain.state}, by {gain.value.mean:+.3f} ({gain.value.low:+.3f} to {gain.value.high:+.3f})"

    def table_row(self) -> dict[str, object]:
        """Return the results as one flat row; None where there is no value."""
        row: dict[str, object] = {"method": self.method, "is_control": self.method in CONTROLS, "score": self.score}
        row |= asdict(self.value)
        row |= dict(zip(("rank", "rank_low", "rank_high"), self.rank or (None, None, None), strict=True))
        row["controls_mean"] = self.controls and self.controls.mean
        for other in (MATCHED_CONTROLS, CENTER):
            gain = self.gains.get(other)
            row[f"gain_over_{other}"] = gain and gain.value.mean
            row[f"gain_over_{other}_low"] = gain and gain.value.low
            row[f"gain_over_{other}_high"] = gain and gain.value.high
            row[f"than_{other}"] = gain and gain.state
        return row


def compare_methods(
    methods: Sequence[str],
    scores: Mapping[str, NDArray[np.float64]],
    controls: Mapping[str, NDArray[np.float64]],
    better: Mapping[str, Better],
    ranked_by: str,
    *,
    seed: int = 0,
) -> list[MethodScore]:
    """Estimate each score of each method over the faces, and compare it with controls.

    Parameters
    ----------
    methods : sequence of str
        M names, the controls ``random`` and ``center`` among them.
    scores : mapping of str to ndarray of float64, shape (M, N)
        Scores of each face, N at least 2; NaN for faces that were left out.
    controls : mapping of str to ndarray of float64, shape (M, N)
        By score, the mean over each map's matched controls (`fer_explain.evaluation.controls`), for each score with a
        better direction.
    better : mapping of str to str or None
        Which values of each score are better.
    ranked_by : str
        Score to rank by; higher must be better.
    seed : int
        Random seed of the resamples. They are the same for all methods, so comparisons are paired.

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
        expected = f"the controls {', '.join(CONTROLS)} among them"
        raise ConfigError(f"expected {expected}, found no {missing[0]}", parameter="methods")
    ranks = dict(zip(methods, rank_intervals(scores[ranked_by], seed=seed), strict=True))
    center = list(methods).index(CENTER)
    compared = []
    for place, method in sorted(enumerate(methods), key=lambda entry: ranks[entry[1]][0]):
        for score, values in scores.items():
            own, matched, gains = values[place], None, {}
            # The center equals its own radial profile, so its controls are copies of it.
            if better[score] is not None and method != CENTER:
                sign = 1 if better[score] == "higher" else -1
                matched = _finite(controls[score][place], seed)
                gains[MATCHED_CONTROLS] = Gain.of(sign * (own - controls[score][place]), seed=seed)
                if method not in CONTROLS:
                    gains[CENTER] = Gain.of(sign * (own - values[center]), seed=seed)
            rank = ranks[method] if score == ranked_by else None
            compared.append(MethodScore(method, score, _finite(own, seed), matched, gains, rank))
    return compared


def _finite(values: NDArray[np.float64], seed: int) -> Estimate:
    return estimate(values[np.isfinite(values)], seed=seed)

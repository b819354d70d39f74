"""Methods compared score by score: with each other, with matched controls, and with the middle of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_explain.evaluation.compared_maps import CENTRE, CONTROLS
from fer_explain.evaluation.intervals import LEAST_FACES, Estimate, estimate, rank_intervals

Better = Literal["higher", "lower"] | None
"""Which values of a score are the better ones; None where neither is."""
State = Literal["better", "no different", "worse", "too few faces"]
"""Result of a comparison over faces."""

MATCHED_CONTROLS: Final = "controls"
"""Name under which a gain over matched controls is kept."""


@dataclass(frozen=True)
class Gain:
    """How much better a method is than what it is compared with.

    Attributes
    ----------
    value : Estimate
        Mean of the difference, face by face, signed so that above 0 is better, whichever way the score runs.
    state : str
        ``better`` if the interval lies above 0, ``worse`` if it lies below, ``no different`` if it contains 0;
        ``too few faces`` below `LEAST_FACES`.
    """

    value: Estimate
    state: State

    @classmethod
    def of(cls, differences: NDArray[np.float64], *, seed: int = 0) -> Gain:
        """Estimate a gain from one difference per face, shape (N,), N at least 2; NaN is left out."""
        value = estimate(differences[np.isfinite(differences)], seed=seed)
        states: dict[str, State] = {"yes": "better", "no": "worse", "undecided": "no different"}
        return cls(value, "too few faces" if value.n < LEAST_FACES else states[value.exceeds(0.0)])


@dataclass(frozen=True)
class MethodScore:
    """One score of one method over all faces.

    Attributes
    ----------
    method, score : str
        Names.
    value : Estimate
        Mean over faces.
    controls : Estimate or None
        Mean over faces of the mean over each map's matched controls; None where there is no gain over them.
    gains : mapping of str to Gain
        Over the matched ``controls``, and, for a method that is not a control itself, over ``centre``; empty for a
        score that is neither good nor bad, and for ``centre``, of which matched controls are copies.
    rank : tuple of int or None
        By the score that ranks, 1 the best, with its 95% interval; None for other scores.
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
            line += f", controls {self._said_of(gain)}"
        if self.method in CONTROLS:
            line += " (control)" if gain is None else " (control, expected to be no different)"
        return line

    def _said_of(self, gain: Gain) -> str:
        mean = "" if self.controls is None else f"{self.controls.mean:.3f}: "
        return f"{mean}{gain.state}, by {gain.value.mean:+.3f} ({gain.value.low:+.3f} to {gain.value.high:+.3f})"

    def table_row(self) -> dict[str, object]:
        """Return the figures under flat names, None where there are none."""
        row: dict[str, object] = {"method": self.method, "is_control": self.method in CONTROLS, "score": self.score}
        row |= asdict(self.value)
        row |= dict(zip(("rank", "rank_low", "rank_high"), self.rank or (None, None, None), strict=True))
        row["controls_mean"] = self.controls and self.controls.mean
        for other in (MATCHED_CONTROLS, CENTRE):
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
    """Estimate every score of every method over the faces, and compare it with controls.

    Parameters
    ----------
    methods : sequence of str
        M names, the controls ``random`` and ``centre`` among them.
    scores : mapping of str to ndarray of float64, shape (M, N)
        Scores of every face, N at least 2; NaN where a face was left out.
    controls : mapping of str to ndarray of float64, shape (M, N)
        By score, the mean score of each map's matched controls (`fer_explain.evaluation.controls`), for every score of
        which `better` says which values are the better ones.
    better : mapping of str to str or None
        Which values of each score are the better ones.
    ranked_by : str
        The score that ranks; higher must be better.
    seed : int
        Random seed of the resamples. They are the same for all methods, so that the comparisons are paired.

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
    centre = list(methods).index(CENTRE)
    compared = []
    for place, method in sorted(enumerate(methods), key=lambda entry: ranks[entry[1]][0]):
        for score, values in scores.items():
            own, matched, gains = values[place], None, {}
            # The centre is its own radial profile, so its controls are copies of it.
            if better[score] is not None and method != CENTRE:
                sign = 1 if better[score] == "higher" else -1
                matched = _finite(controls[score][place], seed)
                gains[MATCHED_CONTROLS] = Gain.of(sign * (own - controls[score][place]), seed=seed)
                if method not in CONTROLS:
                    gains[CENTRE] = Gain.of(sign * (own - values[centre]), seed=seed)
            rank = ranks[method] if score == ranked_by else None
            compared.append(MethodScore(method, score, _finite(own, seed), matched, gains, rank))
    return compared


def _finite(values: NDArray[np.float64], seed: int) -> Estimate:
    return estimate(values[np.isfinite(values)], seed=seed)

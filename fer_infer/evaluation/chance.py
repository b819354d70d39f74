"""Test whether a model is better than guessing from the class frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL: Final = 0.01
"""Significance level, which two tests share (Bonferroni)."""


@dataclass(frozen=True)
class Chance:
    """Chance level on labeled faces, and whether a model exceeds it.

    Attributes
    ----------
    majority : str
        Most frequent class.
    accuracy : float
        Accuracy of always predicting it, which is its share of the faces.
    nll : float
        Negative log likelihood of predicting the class frequencies, in nats, which is their entropy.
    p_accuracy : float
        p-value of the model's accuracy against `accuracy` (exact one-sided binomial test).
    p_nll : float
        p-value of the model's negative log likelihood against `nll` (one-sided paired z-test).
    beaten : bool
        Whether one of the two p-values is below `LEVEL` / 2.
    """

    majority: str
    accuracy: float
    nll: float
    p_accuracy: float
    p_nll: float
    beaten: bool

    def to_text(self) -> str:
        """Return a line for a model that does not exceed chance."""
        best = min(self.p_accuracy, self.p_nll)
        how = "no better than chance" if best > 0.1 else f"not significantly better than chance (p = {best:.2g})"
        return f"{how}: always predicting {self.majority} has an accuracy of {self.accuracy:.2%}"


def class_frequencies_nll(labels: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Return -ln of each class's share of the faces, float64 (classes,); 0 for a class without faces."""
    counts = np.bincount(np.asarray(labels, np.int64), minlength=classes)
    nll: NDArray[np.float64] = np.log(counts.sum() / np.maximum(counts, 1)) * (counts > 0)
    return nll


def compare_with_chance(
    counts: ArrayLike, correct: int, excess_mean: float, excess_std: float, class_names: Sequence[str]
) -> Chance | None:
    """Compare a model's predictions with chance.

    Parameters
    ----------
    counts : array of int, shape (C,)
        Number of faces per class.
    correct : int
        Number of correct predictions.
    excess_mean, excess_std : float
        Mean and standard deviation over faces of the model's negative log likelihood minus that of the class
        frequencies, in nats.
    class_names : sequence of str
        Names of the C classes.

    Returns
    -------
    Chance or None
        None if fewer than two classes occur.
    """
    from scipy.special import betainc

    faces = np.asarray(counts, np.int64)
    n = int(faces.sum())
    if np.count_nonzero(faces) < 2:
        return None
    share = float(faces.max() / n)
    # P(X >= k) of a binomial distribution is a regularized incomplete beta function (Abramowitz and Stegun 26.5.24).
    p_accuracy = float(betainc(correct, n - correct + 1, share)) if correct else 1.0
    z = excess_mean / max(excess_std / math.sqrt(n), np.finfo(float).tiny)
    p_nll = 0.5 * math.erfc(-z / math.sqrt(2)) if math.isfinite(z) else 1.0
    positive = faces[faces > 0] / n
    return Chance(
        majority=class_names[int(faces.argmax())],
        accuracy=share,
        nll=float(-(positive * np.log(positive)).sum()),
        p_accuracy=p_accuracy,
        p_nll=p_nll,
        beaten=min(p_accuracy, p_nll) < LEVEL / 2,
    )


def chance_note(scores: Mapping[str, Any]) -> str:
    """Return a line if the scores in a model card do not exceed chance, else an empty text."""
    for split, score in scores.items():
        chance = score.get("chance") if isinstance(score, Mapping) else None
        if isinstance(chance, Mapping) and chance.get("beaten") is False:
            return f"{Chance(**chance).to_text()}, this model {score['accuracy']:.2%} of {score['n']:,} {split} faces"
    return ""

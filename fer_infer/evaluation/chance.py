"""Whether a model has learned anything: its predictions against guesses that know only the class frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL: Final = 0.01
"""Probability with which a model that has learned nothing counts as better than chance. Two tests share it."""


@dataclass(frozen=True)
class Chance:
    """What can be reached on labelled faces without looking at them, and whether a model does better.

    Attributes
    ----------
    majority : str
        The most frequent class.
    accuracy : float
        Accuracy of always predicting it: its share of the faces.
    nll : float
        Negative log likelihood of the class frequencies themselves, in nats: their entropy.
    p_accuracy : float
        Probability that guesses as good as `accuracy` are right at least as often as the model (exact binomial test).
    p_nll : float
        Probability of an improvement in negative log likelihood as large as the model's if it had none, by the normal
        approximation of the mean of the paired differences.
    beaten : bool
        Whether one of the two probabilities is below `LEVEL` / 2.
    """

    majority: str
    accuracy: float
    nll: float
    p_accuracy: float
    p_nll: float
    beaten: bool

    def to_text(self) -> str:
        """Return the finding as the line that a command prints where chance is not beaten."""
        best = min(self.p_accuracy, self.p_nll)
        how = "no better than chance" if best > 0.1 else f"not significantly better than chance (p = {best:.2g})"
        return f"{how}: always predicting {self.majority} has an accuracy of {self.accuracy:.2%}"


def class_frequencies_nll(labels: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Return -ln of each class's share of the faces, float64 (classes,); 0 for a class that none belongs to."""
    counts = np.bincount(np.asarray(labels, np.int64), minlength=classes)
    nll: NDArray[np.float64] = np.log(counts.sum() / np.maximum(counts, 1)) * (counts > 0)
    return nll


def compare_with_chance(
    counts: ArrayLike, correct: int, excess_mean: float, excess_std: float, class_names: Sequence[str]
) -> Chance | None:
    """Test a model's predictions against chance.

    Parameters
    ----------
    counts : array of int, shape (C,)
        Faces of each class.
    correct : int
        Faces that the model predicts right.
    excess_mean, excess_std : float
        Mean and standard deviation over faces of the model's negative log likelihood minus that of the class
        frequencies, in nats.
    class_names : sequence of str
        C names.

    Returns
    -------
    Chance or None
        None where fewer than two classes occur: then nothing can be learned or guessed wrong.
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
    """Return what a model card's scores say about chance, as a line; empty where the model does better."""
    for split, score in scores.items():
        chance = score.get("chance") if isinstance(score, Mapping) else None
        if isinstance(chance, Mapping) and chance.get("beaten") is False:
            return f"{Chance(**chance).to_text()}, this model {score['accuracy']:.2%} of {score['n']:,} {split} faces"
    return ""

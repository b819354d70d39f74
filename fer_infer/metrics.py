"""How well predictions agree with labels, with the interval that the number of faces allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson_interval(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the score interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212. Unlike the usual p ± z·sqrt(p(1-p)/n) it stays within 0..1 and keeps
    its coverage for small n and for p near 0 or 1.

    Parameters
    ----------
    correct : int
        Successes, 0..n.
    n : int
        Trials, at least 1.
    z : float
        Quantile of the standard normal distribution; the default gives 95 %.

    Returns
    -------
    low, high : float
        Within 0..1.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"expected 0 <= correct <= n and n >= 1, found correct={correct}, n={n}")
    p = correct / n
    denominator = 1 + z * z / n
    center = (p + z * z / (2 * n)) / denominator
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / denominator
    # At p = 0 and p = 1 an end is 0 or 1 exactly, up to a rounding that must not show.
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class ClassScore:
    """One class.

    Attributes
    ----------
    name : str
        Of the class.
    precision : float
        Share of the faces predicted as this class that are of it; 0 where none was.
    recall : float
        Share of the faces of this class that were predicted as it; 0 where there is none.
    f1 : float
        Harmonic mean of the two.
    support : int
        Faces of this class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Confusion:
    """Faces of one class predicted as one other: their `count` and their `share` of the true class."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes taken for each other, either way: their `count` and their `share` of the faces of both classes."""

    pair: str
    count: int
    share: float


@dataclass(frozen=True)
class Evaluation:
    """What predictions are worth.

    Attributes
    ----------
    n : int
        Faces.
    accuracy : float
        Share of them predicted right; the largest probability counts, the first where two are equal.
    wilson_95 : tuple of float
        95 % interval of the accuracy, for faces like these; see `wilson_interval`.
    macro_f1 : float
        Mean of F1 over all classes; one without any face counts as 0.
    log_loss : float
        Mean of -ln of the probability given to the true class, in nats.
    classes : tuple of ClassScore
        In the order of the labels.
    confusion : ndarray of int64, shape (C, C)
        Faces by true class (row) and predicted class (column).
    most_confused : tuple of Confusion
        Every kind of mistake that was made, the most frequent first.
    most_confused_pairs : tuple of ConfusedPair
        The same without regard to the direction.
    """

    n: int
    accuracy: float
    wilson_95: tuple[float, float]
    macro_f1: float
    log_loss: float
    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    most_confused: tuple[Confusion, ...]
    most_confused_pairs: tuple[ConfusedPair, ...]

    def to_text(self) -> str:
        """Return the figures as the lines that a command prints."""
        low, high = self.wilson_95
        pairs = (f"{pair.pair} ({pair.count:,} faces, {pair.share:.1%})" for pair in self.most_confused_pairs[:3])
        return "\n".join(
            [
                f"accuracy {self.accuracy:.2%} of {self.n:,} faces, 95% interval {low:.2%} to {high:.2%}",
                f"macro F1 {self.macro_f1:.4f}, log loss {self.log_loss:.4f}",
                *(
                    f"  {score.name:<8}  precision {score.precision:6.1%}  recall {score.recall:6.1%}"
                    f"  F1 {score.f1:.3f}  faces {score.support:>6,}"
                    for score in self.classes
                ),
                f"most confused: {', '.join(pairs) or 'none'}",
            ]
        )


def evaluate_predictions(labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str]) -> Evaluation:
    """Compare predictions with labels.

    Parameters
    ----------
    labels : array of int, shape (N,)
        True classes, 0..C-1; N is at least 1.
    probabilities : array of float, shape (N, C)
        Of each class, from whatever computed them; each row sums to 1.
    class_names : sequence of str
        C names, in the order of the columns.

    Raises
    ------
    ValueError
        If shapes, label numbers or probabilities are not as said.
    """
    from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

    true, given = _checked(labels, probabilities, len(class_names))
    every = np.arange(len(class_names))
    predicted = given.argmax(axis=1)
    confusion = confusion_matrix(true, predicted, labels=every).astype(np.int64)
    by_class = precision_recall_fscore_support(true, predicted, labels=every, zero_division=0)
    correct = int(np.trace(confusion))
    return Evaluation(
        n=len(true),
        accuracy=correct / len(true),
        wilson_95=wilson_interval(correct, len(true)),
        macro_f1=float(by_class[2].mean()),
        log_loss=float(log_loss(true, given, labels=every)),
        classes=tuple(
            ClassScore(name, float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(class_names, *by_class, strict=True)
        ),
        confusion=confusion,
        most_confused=_directed(confusion, class_names),
        most_confused_pairs=_undirected(confusion, class_names),
    )


def _checked(
    labels: ArrayLike, probabilities: ArrayLike, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and probabilities in types in which no rounding shows, or raise ValueError."""
    true, given = np.asarray(labels), np.asarray(probabilities, np.float64)
    if true.ndim != 1 or not len(true) or not np.issubdtype(true.dtype, np.integer):
        raise ValueError(f"labels: expected one or more integers, shape (N,), found {true.dtype} {true.shape}")
    if given.shape != (len(true), classes):
        raise ValueError(f"probabilities: expected shape ({len(true)}, {classes}), found {given.shape}")
    if true.min() < 0 or true.max() >= classes:
        raise ValueError(f"labels: expected 0..{classes - 1}, found {true.min()}..{true.max()}")
    sums = given.sum(axis=1, keepdims=True)
    # Written so that NaN fails as well; a row of float32 or bfloat16 numbers sums to 1 only about.
    if not (given.min() >= 0 and np.abs(sums - 1).max() < 0.01):
        raise ValueError("probabilities: expected numbers in 0..1 that sum to 1 in each row")
    return true.astype(np.int64), given / sums


def _directed(confusion: NDArray[np.int64], names: Sequence[str]) -> tuple[Confusion, ...]:
    support = confusion.sum(axis=1)
    mistakes = [
        Confusion(names[i], names[j], int(confusion[i, j]), float(confusion[i, j] / support[i]))
        for i, j in permutations(range(len(names)), 2)
        if confusion[i, j]
    ]
    return tuple(sorted(mistakes, key=lambda mistake: -mistake.count))


def _undirected(confusion: NDArray[np.int64], names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    support, either = confusion.sum(axis=1), confusion + confusion.T
    pairs = [
        ConfusedPair(f"{names[i]} and {names[j]}", int(either[i, j]), float(either[i, j] / (support[i] + support[j])))
        for i, j in combinations(range(len(names)), 2)
        if either[i, j]
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.count))

"""Metrics of predictions against labels, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_infer.evaluation.chance import Chance, class_frequencies_nll, compare_with_chance
from fer_infer.evaluation.class_scores import TABLE, ClassScore, to_frame, to_html
from fer_infer.evaluation.confusions import ConfusedPair, Confusion, confused_pairs, confusions
from fer_infer.evaluation.reliability import Bin, expected_calibration_error, reliability

LEAST_PROBABILITY: Final = float(np.finfo(np.float32).tiny)
"""Lower limit of the true class's probability in the negative log likelihood; it limits a loss to 87.3 nats."""


def wilson_interval(correct: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212. Unlike p ± z·sqrt(p(1-p)/n), it stays within 0..1 and keeps its coverage
    for small n and for p near 0 or 1.

    Parameters
    ----------
    correct : int
        Number of successes, 0..n.
    n : int
        Number of trials, at least 1.
    z : float
        Quantile of the standard normal distribution; the default gives 95%.

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
    # At p = 0 and p = 1 a limit is exactly 0 or 1; rounding errors would make it 3e-17.
    return center - half if correct else 0.0, center + half if correct < n else 1.0


@dataclass(frozen=True)
class Unseen:
    """Accuracy on the `n` faces whose pixels do not occur in Training."""

    n: int
    accuracy: float
    wilson_95: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of predictions against labels.

    Attributes
    ----------
    n : int
        Number of faces.
    accuracy : float
        Fraction of correct predictions; the prediction is the class of the largest probability, the first one if
        several are equal.
    wilson_95 : tuple of float
        95% interval of the accuracy, see `wilson_interval`.
    macro_f1 : float
        Mean F1 over all classes; a class without faces counts as 0.
    nll : float
        Negative log likelihood: mean of -ln(probability of the true class), in nats.
    ece : float
        Expected calibration error, 0..1; see `fer_infer.evaluation.reliability`.
    in_training : int or None
        Number of faces whose pixels also occur in Training; None if the Training faces are not known.
    unseen : Unseen or None
        Accuracy without those faces; None if the Training faces are not known or no other face is left.
    chance : Chance or None
        Test whether the model is better than guessing from the class frequencies; None if only one class occurs.
    classes : tuple of ClassScore
        Metrics per class, in the order of the labels.
    confusion : ndarray of int64, shape (C, C)
        Number of faces by true class (row) and predicted class (column).
    most_confused : tuple of Confusion
        All kinds of mistakes, the most frequent first.
    most_confused_pairs : tuple of ConfusedPair
        All pairs of confused classes in either direction, the most frequent first.
    reliability : tuple of Bin
        Accuracy by confidence.
    """

    n: int
    accuracy: float
    wilson_95: tuple[float, float]
    macro_f1: float
    nll: float
    ece: float
    in_training: int | None
    unseen: Unseen | None
    chance: Chance | None
    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    most_confused: tuple[Confusion, ...]
    most_confused_pairs: tuple[ConfusedPair, ...]
    reliability: tuple[Bin, ...]

    def to_pandas(self, table: str = "classes") -> Any:
        """Return a table as a pandas DataFrame.

        Parameters
        ----------
        table : {"classes", "confusion"}
            `classes`: precision, recall with its interval, F1 and support per class. `confusion`: the confusion
            matrix, true classes as rows and predicted classes as columns.

        Examples
        --------
        >>> from fer_infer import evaluate
        >>> found = evaluate("faces.csv", "exports/compact", "evaluation", split="PublicTest")
        >>> found.to_pandas().index.tolist()[:3]
        ['angry', 'disgust', 'fear']
        >>> int(found.to_pandas("confusion").to_numpy().sum()) == found.n
        True
        """
        TABLE.require("table", table)
        return to_frame(self.classes, self.confusion if table == "confusion" else None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary_lines()[0]})"

    def _repr_html_(self) -> str:
        return to_html(self.summary_lines(), self.classes)

    def to_text(self) -> str:
        """Return the figures as the lines that a command prints."""
        return "\n".join([*self.summary_lines(), *self.class_lines()])

    def summary_lines(self) -> list[str]:
        """Return the metrics over all faces as lines, each accuracy with its n and interval."""
        lines = [_accuracy_line(self.accuracy, f"{self.n:,} faces", self.wilson_95)]
        if self.chance is not None and not self.chance.beaten:
            lines.append(self.chance.to_text())
        if self.unseen is not None:
            unseen = f"the {self.unseen.n:,} whose pixels do not occur in Training"
            lines.append(_accuracy_line(self.unseen.accuracy, unseen, self.unseen.wilson_95))
        elif self.in_training is not None:
            lines.append("the pixels of every face occur in Training")
        calibration = f"negative log likelihood {self.nll:.4f}, expected calibration error {self.ece:.4f}"
        return [*lines, f"macro F1 {self.macro_f1:.4f}, {calibration}"]

    def class_lines(self) -> list[str]:
        """Return the metrics per class and the most confused classes as lines."""
        pairs = (f"{pair.pair} ({pair.count:,} faces, {pair.share:.1%})" for pair in self.most_confused_pairs[:3])
        return [*map(_class_line, self.classes), f"most confused: {', '.join(pairs) or 'none'}"]


def _accuracy_line(accuracy: float, of: str, interval: tuple[float, float]) -> str:
    return f"accuracy {accuracy:.2%} of {of}, 95% interval {interval[0]:.2%} to {interval[1]:.2%}"


def _class_line(score: ClassScore) -> str:
    interval = "" if score.recall_wilson_95 is None else "{:.1%} to {:.1%}".format(*score.recall_wilson_95)
    return (
        f"  {score.name:<8}  precision {score.precision:6.1%}  recall {score.recall:6.1%}  {interval:<16}"
        f"  F1 {score.f1:.3f}  faces {score.support:>6,}"
    )


def evaluate_predictions(
    labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str], *, in_training: ArrayLike | None = None
) -> Evaluation:
    """Compare predictions with labels.

    Parameters
    ----------
    labels : array of int, shape (N,)
        True classes, 0..C-1; N is at least 1.
    probabilities : array of float, shape (N, C)
        Probabilities of the classes; each row sums to 1.
    class_names : sequence of str
        C names, in the order of the columns.
    in_training : array of bool, shape (N,), optional
        Whether the pixels of a face also occur in Training; None if that is not known.

    Raises
    ------
    ValueError
        If shapes, labels or probabilities are outside their range.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    true, given = _checked(labels, probabilities, len(class_names))
    every = np.arange(len(class_names))
    predicted = given.argmax(axis=1)
    confusion = confusion_matrix(true, predicted, labels=every).astype(np.int64)
    by_class = precision_recall_fscore_support(true, predicted, labels=every, zero_division=0)
    correct = int(np.trace(confusion))
    seen = None if in_training is None else np.asarray(in_training, bool)
    bins = reliability(true, given)
    losses = -np.log(np.maximum(given[np.arange(len(true)), true], LEAST_PROBABILITY))
    excess = losses - class_frequencies_nll(true, len(class_names))[true]
    return Evaluation(
        n=len(true),
        accuracy=correct / len(true),
        wilson_95=wilson_interval(correct, len(true)),
        macro_f1=float(by_class[2].mean()),
        nll=float(losses.mean()),
        ece=expected_calibration_error(bins),
        in_training=None if seen is None else int(seen.sum()),
        unseen=None if seen is None else _unseen(predicted == true, seen),
        chance=compare_with_chance(confusion.sum(axis=1), correct, excess.mean(), excess.std(), class_names),
        classes=tuple(
            ClassScore(name, float(precision), float(recall), float(f1), int(support), _interval(right, support))
            for name, precision, recall, f1, support, right in zip(
                class_names, *by_class, confusion.diagonal(), strict=True
            )
        ),
        confusion=confusion,
        most_confused=confusions(confusion, class_names),
        most_confused_pairs=confused_pairs(confusion, class_names),
        reliability=bins,
    )


def _interval(correct: int, n: int) -> tuple[float, float] | None:
    return wilson_interval(int(correct), int(n)) if n else None


def _unseen(correct: NDArray[np.bool_], seen: NDArray[np.bool_]) -> Unseen | None:
    right = correct[~seen]
    if not len(right):
        return None
    return Unseen(len(right), float(right.mean()), wilson_interval(int(right.sum()), len(right)))


def _checked(
    labels: ArrayLike, probabilities: ArrayLike, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels as int64 and probabilities as float64, or raise ValueError."""
    true, given = np.asarray(labels), np.asarray(probabilities, np.float64)
    if true.ndim != 1 or not len(true) or not np.issubdtype(true.dtype, np.integer):
        raise ValueError(f"labels: expected one or more integers, shape (N,), found {true.dtype} {true.shape}")
    if given.shape != (len(true), classes):
        raise ValueError(f"probabilities: expected shape ({len(true)}, {classes}), found {given.shape}")
    if true.min() < 0 or true.max() >= classes:
        raise ValueError(f"labels: expected 0..{classes - 1}, found {true.min()}..{true.max()}")
    sums = given.sum(axis=1, keepdims=True)
    # Written so that NaN fails too; rows of float32 or bfloat16 numbers sum to 1 only approximately.
    if not (given.min() >= 0 and np.abs(sums - 1).max() < 0.01):
        raise ValueError("probabilities: expected numbers in 0..1 that sum to 1 in each row")
    return true.astype(np.int64), given / sums

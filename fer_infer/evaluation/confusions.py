"""Which classes a model confuses, from its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """Faces of one class predicted as another: their `count`, and their `share` of the true class."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes confused in either direction: number of faces, and their `share` of the faces of both classes."""

    pair: str
    count: int
    share: float


def confusions(confusion: NDArray[np.int64], names: Sequence[str]) -> tuple[Confusion, ...]:
    """Return all kinds of mistakes in a confusion matrix, the most frequent first; rows are true classes."""
    support = confusion.sum(axis=1)
    mistakes = [
        Confusion(names[i], names[j], int(confusion[i, j]), float(confusion[i, j] / support[i]))
        for i, j in permutations(range(len(names)), 2)
        if confusion[i, j]
    ]
    return tuple(sorted(mistakes, key=lambda mistake: -mistake.count))


def confused_pairs(confusion: NDArray[np.int64], names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    """Return all pairs of confused classes in a confusion matrix, the most frequent first."""
    support, either = confusion.sum(axis=1), confusion + confusion.T
    pairs = [
        ConfusedPair(f"{names[i]} and {names[j]}", int(either[i, j]), float(either[i, j] / (support[i] + support[j])))
        for i, j in combinations(range(len(names)), 2)
        if either[i, j]
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.count))

"""Which faces a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, Faces
from fer_core.faces import positions_of
from fer_explain.report.label_errors import likely_label_errors

DEFAULT_FACES: Final = 12
DEFAULT_MISTAKES: Final = 6
PAIRS: Final = 2
"""Pairs of classes whose confusion is shown in faces, two faces each way."""
EACH_WAY: Final = 2
CELL_FACES: Final = 8
"""Faces shown for a cell of the confusion matrix."""
SUSPECTS: Final = 24
"""Likely label errors shown."""

Cell = tuple[int, int]
"""A class by label, and one by prediction."""


@dataclass(frozen=True)
class Selection:
    """Positions in a `Faces`, not row numbers.

    Attributes
    ----------
    chosen : tuple of int
        The faces asked for, or some of each class.
    mistakes : tuple of int
        The most confident mistakes, the most confident first.
    confused : mapping of Cell to tuple of int
        Of the classes confused most, faces that stand neither in `chosen` nor in `mistakes`, either way after the
        other.
    cells : mapping of Cell to tuple of int
        Faces of each cell of the confusion matrix, those predicted with the highest probability first.
    suspects : tuple of (int, int)
        Faces whose labels are likely wrong, the likeliest first, and the class that each is counted as.
    suspected : int
        How many such faces there are in all.
    """

    chosen: tuple[int, ...]
    mistakes: tuple[int, ...]
    confused: Mapping[Cell, tuple[int, ...]]
    cells: Mapping[Cell, tuple[int, ...]]
    suspects: tuple[tuple[int, int], ...]
    suspected: int

    @property
    def shown(self) -> tuple[int, ...]:
        """Every face that is explained, once."""
        confused = [place for places in self.confused.values() for place in places]
        return tuple(dict.fromkeys([*self.chosen, *self.mistakes, *confused]))


def select_faces(
    faces: Faces, probabilities: NDArray[np.float32], rows: Sequence[int] | None, worst: int | None
) -> Selection:
    """Choose the faces of a report.

    Parameters
    ----------
    faces : Faces
        At least one.
    probabilities : ndarray of float32, shape (N, classes)
        Of `faces`.
    rows : sequence of int, optional
        Row numbers to show.
    worst : int, optional
        How many of the most confident mistakes to show. Without `rows` and `worst`: 12 faces spread over the
        classes and, if there are labels, 6 mistakes.

    Returns
    -------
    Selection

    Raises
    ------
    DataError
        If there is no such row, or mistakes are asked for and the faces have no labels.
    ConfigError
        If `worst` is below 1.
    """
    if worst is not None and worst < 1:
        raise ConfigError(f"worst: expected at least 1, found {worst}")
    if rows is not None:
        chosen = positions_of(faces, rows)
    else:
        chosen = spread(faces, probabilities, DEFAULT_FACES) if worst is None else ()
    if worst is not None:
        faces.require_labels()
    elif rows is None:
        worst = DEFAULT_MISTAKES
    if faces.labels is None:
        return Selection(chosen, (), {}, {}, (), 0)
    cells = confusion_cells(faces.labels, probabilities)
    mistakes = confident_mistakes(faces, probabilities, worst or 0)
    suspects, counted_as = likely_label_errors(faces.labels, probabilities)
    return Selection(
        chosen,
        mistakes,
        confused_faces(cells, {*chosen, *mistakes}),
        {cell: places[:CELL_FACES] for cell, places in cells.items()},
        tuple(zip(suspects[:SUSPECTS].tolist(), counted_as[:SUSPECTS].tolist(), strict=True)),
        len(suspects),
    )


def spread(faces: Faces, probabilities: NDArray[np.float32], n: int) -> tuple[int, ...]:
    """Choose `n` faces, in order, as many of each class as possible: of the label, else of the prediction."""
    classes = probabilities.argmax(axis=1) if faces.labels is None else faces.labels
    queues = [np.flatnonzero(classes == number).tolist() for number in range(probabilities.shape[1])]
    turns = [place for turn in range(n) for queue in queues for place in queue[turn : turn + 1]]
    return tuple(sorted(turns[:n]))


def confident_mistakes(faces: Faces, probabilities: NDArray[np.float32], n: int) -> tuple[int, ...]:
    """Return the `n` wrongly predicted faces with the highest probability of the predicted class, highest first."""
    if faces.labels is None or n == 0:
        return ()
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != faces.labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return tuple(wrong[order[:n]].tolist())


def confusion_cells(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[Cell, tuple[int, ...]]:
    """Return the faces of each cell of the confusion matrix that has any, the most confidently predicted first."""
    cells: dict[Cell, list[int]] = {}
    predicted = probabilities.argmax(axis=1)
    for place in np.argsort(-probabilities.max(axis=1), kind="stable").tolist():
        cells.setdefault((int(labels[place]), int(predicted[place])), []).append(place)
    return {cell: tuple(places) for cell, places in sorted(cells.items())}


def confused_faces(cells: Mapping[Cell, tuple[int, ...]], elsewhere: set[int]) -> dict[Cell, tuple[int, ...]]:
    """Choose faces of the pairs of classes confused most, leaving out those that are shown elsewhere."""
    either: dict[Cell, int] = {}
    for (label, predicted), places in cells.items():
        if label != predicted:
            pair = (min(label, predicted), max(label, predicted))
            either[pair] = either.get(pair, 0) + len(places)
    most = sorted(either, key=lambda pair: (-either[pair], pair))[:PAIRS]
    ways = [way for low, high in most for way in ((low, high), (high, low))]
    return {way: tuple(p for p in cells.get(way, ()) if p not in elsewhere)[:EACH_WAY] for way in ways}

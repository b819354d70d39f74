"""Selection of the faces that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.faces import positions_of
from fer_explain.report.label_errors import likely_label_errors

DEFAULT_FACES: Final = 12
DEFAULT_MISTAKES: Final = 6
CONFUSED_PAIRS: Final = 2
"""Pairs of classes whose confusions are shown."""
FACES_PER_CONFUSION: Final = 2
"""Faces shown per confused pair and direction."""
FACES_PER_CELL: Final = 8
"""Faces shown for a cell of the confusion matrix."""
MAX_LABEL_ERRORS: Final = 24
"""Likely label errors shown."""

Cell = tuple[int, int]
"""Label and predicted class."""


@dataclass(frozen=True)
class Selection:
    """Selected faces, as positions in a `Faces`.

    Attributes
    ----------
    chosen : tuple of int
        The requested faces, or some of each class.
    mistakes : tuple of int
        The most confident mistakes, in descending order of confidence.
    confused : mapping of Cell to tuple of int
        Faces of the most confused pairs of classes, in both directions, without those in `chosen` and `mistakes`.
    cells : mapping of Cell to tuple of int
        Faces of each cell of the confusion matrix, in descending order of confidence.
    label_errors : tuple of (int, int)
        Faces whose label is likely wrong, the most likely first, and the class that each is counted as.
    n_label_errors : int
        Number of all such faces.
    """

    chosen: tuple[int, ...]
    mistakes: tuple[int, ...]
    confused: Mapping[Cell, tuple[int, ...]]
    cells: Mapping[Cell, tuple[int, ...]]
    label_errors: tuple[tuple[int, int], ...]
    n_label_errors: int

    @property
    def shown(self) -> tuple[int, ...]:
        """All explained faces, each once."""
        confused = [position for positions in self.confused.values() for position in positions]
        return tuple(dict.fromkeys([*self.chosen, *self.mistakes, *confused]))


def select_faces(
    faces: Faces, probabilities: NDArray[np.float32], rows: Sequence[int] | None, worst: int | None
) -> Selection:
    """Select the faces of a report.

    Parameters
    ----------
    faces : Faces
        At least one face.
    probabilities : ndarray of float32, shape (N, classes)
        Predicted probabilities.
    rows : sequence of int, optional
        Row numbers to show.
    worst : int, optional
        Number of the most confident mistakes to show, at least 1. Without `rows` and `worst`: 12 faces of all classes
        and, with labels, 6 mistakes.

    Returns
    -------
    Selection

    Raises
    ------
    DataError
        If there is no such row, or mistakes are requested for faces without labels.
    """
    if rows is not None:
        chosen = positions_of(faces, rows)
    else:
        chosen = spread_over_classes(faces, probabilities, DEFAULT_FACES) if worst is None else ()
    if worst is not None:
        faces.require_labels()
    elif rows is None:
        worst = DEFAULT_MISTAKES
    if faces.labels is None:
        return Selection(chosen, (), {}, {}, (), 0)
    cells = confusion_cells(faces.labels, probabilities)
    mistakes = confident_mistakes(faces, probabilities, worst or 0)
    errors, counted_as = likely_label_errors(faces.labels, probabilities)
    return Selection(
        chosen,
        mistakes,
        confused_faces(cells, {*chosen, *mistakes}),
        {cell: positions[:FACES_PER_CELL] for cell, positions in cells.items()},
        tuple(zip(errors[:MAX_LABEL_ERRORS].tolist(), counted_as[:MAX_LABEL_ERRORS].tolist(), strict=True)),
        len(errors),
    )


def spread_over_classes(faces: Faces, probabilities: NDArray[np.float32], n: int) -> tuple[int, ...]:
    """Select `n` faces, in order, balanced over the labels or, without labels, over the predicted classes."""
    classes = probabilities.argmax(axis=1) if faces.labels is None else faces.labels
    queues = [np.flatnonzero(classes == number).tolist() for number in range(probabilities.shape[1])]
    balanced = [position for turn in range(n) for queue in queues for position in queue[turn : turn + 1]]
    return tuple(sorted(balanced[:n]))


def confident_mistakes(faces: Faces, probabilities: NDArray[np.float32], n: int) -> tuple[int, ...]:
    """Return the `n` wrong predictions with the highest probability, in descending order."""
    if faces.labels is None or n == 0:
        return ()
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != faces.labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return tuple(wrong[order[:n]].tolist())


def confusion_cells(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[Cell, tuple[int, ...]]:
    """Return the faces of each nonempty cell of the confusion matrix, in descending order of confidence."""
    cells: dict[Cell, list[int]] = {}
    predicted = probabilities.argmax(axis=1)
    for position in np.argsort(-probabilities.max(axis=1), kind="stable").tolist():
        cells.setdefault((int(labels[position]), int(predicted[position])), []).append(position)
    return {cell: tuple(positions) for cell, positions in sorted(cells.items())}


def confused_faces(cells: Mapping[Cell, tuple[int, ...]], excluded: set[int]) -> dict[Cell, tuple[int, ...]]:
    """Select faces of the most confused pairs of classes, in both directions, without the excluded ones."""
    confusions: dict[Cell, int] = {}
    for (label, predicted), positions in cells.items():
        if label != predicted:
            pair = (min(label, predicted), max(label, predicted))
            confusions[pair] = confusions.get(pair, 0) + len(positions)
    pairs = sorted(confusions, key=lambda pair: (-confusions[pair], pair))[:CONFUSED_PAIRS]
    both = [cell for low, high in pairs for cell in ((low, high), (high, low))]
    return {cell: tuple(p for p in cells.get(cell, ()) if p not in excluded)[:FACES_PER_CONFUSION] for cell in both}

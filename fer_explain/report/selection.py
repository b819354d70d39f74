"""Which faces a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, Faces
from fer_explain.rows import positions_of

DEFAULT_FACES: Final = 12
DEFAULT_MISTAKES: Final = 6


@dataclass(frozen=True)
class Selection:
    """Positions in a `Faces`, not row numbers.

    Attributes
    ----------
    chosen : tuple of int
        The faces asked for, or some of each class.
    mistakes : tuple of int
        The most confident mistakes, the most confident first.
    """

    chosen: tuple[int, ...]
    mistakes: tuple[int, ...]

    @property
    def shown(self) -> tuple[int, ...]:
        """Every face of either, once."""
        return tuple(dict.fromkeys(self.chosen + self.mistakes))


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
    elif rows is None and faces.labels is not None:
        worst = DEFAULT_MISTAKES
    return Selection(chosen, confident_mistakes(faces, probabilities, worst or 0))


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

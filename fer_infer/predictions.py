"""Predictions and rejected rows as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataError, Faces, OutputError
from fer_core.output import staged

COLUMNS: Final = ("id-label", "probabilities", "logits")
"""What a prediction file may hold; `id` and `label` come first in each."""

FLOAT_FORMAT: Final = "%.9g"
"""Nine significant digits tell any two float32 numbers apart (IEEE 754-2019, section 5.12.2)."""


class PredictionWriter:
    """Writes one line a face: `id,label`, and with `probabilities` or `logits` one column a class.

    Parameters
    ----------
    file : file object
        Opened for text with ``newline=""``.
    columns : {"id-label", "probabilities", "logits"}
        What to write.
    class_names : sequence of str
        Names of the classes, in the order of the model's columns; the header of their columns.
    """

    def __init__(self, file: TextIO, columns: str, class_names: Sequence[str]) -> None:
        if columns not in COLUMNS:
            raise ConfigError(f"columns: expected one of {', '.join(COLUMNS)}, found {columns!r}")
        # The csv module quotes an id that holds a comma, a quote or a line end, and nothing else.
        self._lines = csv.writer(file, lineterminator="\n")
        self._columns = columns
        self._lines.writerow(["id", "label", *([] if columns == "id-label" else class_names)])

    def write(
        self,
        faces: Faces,
        labels: NDArray[np.int64],
        logits: NDArray[np.float32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Write one batch; `labels` are class numbers (N,), the other two arrays (N, classes)."""
        ids, numbers = face_ids(faces), labels.tolist()
        if self._columns == "id-label":
            self._lines.writerows(zip(ids, numbers, strict=True))
            return
        values = (probabilities if self._columns == "probabilities" else logits).tolist()
        self._lines.writerows(
            [identity, number, *(FLOAT_FORMAT % value for value in row)]
            for identity, number, row in zip(ids, numbers, values, strict=True)
        )


def face_ids(faces: Faces) -> list[Any]:
    """Return the ids as written in the source, or 0-based positions among all its rows where it has none.

    A CSV's first face is row 2. Counting its rows, and not the faces that were kept, gives a face the same id
    whether or not rows before it were skipped.
    """
    if faces.ids is not None:
        return list(faces.ids.tolist())
    return list((faces.rows - 2).tolist())


class RejectWriter:
    """Lists the rows that were left out in `OUTPUT.rejects.csv`, which exists only where there are any.

    Use it as a context: after an error the file is not left behind, and at the end a file of an earlier run is
    replaced or removed, so that it never stands beside predictions that it does not belong to.

    Parameters
    ----------
    output : Path
        The prediction file.
    force : bool
        Replace or remove what is there; otherwise it is an error.

    Attributes
    ----------
    path : Path
        Of the file that is written where there are rejects.
    n : int
        Rows listed so far.
    """

    def __init__(self, output: Path, *, force: bool) -> None:
        self.path = output.with_name(f"{output.name}.rejects.csv")
        self.n = 0
        self._force = force
        self._stack = ExitStack()
        self._lines: Any = None

    def __enter__(self) -> RejectWriter:
        if self.path.exists() and not self._force:
            raise OutputError(f"{self.path}: exists already; --force replaces it")
        return self

    def write(self, rejected: Sequence[DataError]) -> None:
        """List rows; their `message` says what was expected and what was found."""
        if rejected and self._lines is None:
            stage = self._stack.enter_context(staged(self.path, force=self._force))
            file = self._stack.enter_context(stage.open("w", encoding="utf-8", newline=""))
            self._lines = csv.writer(file, lineterminator="\n")
            self._lines.writerow(["file", "row", "column", "message"])
        for error in rejected:
            self._lines.writerow([error.source, error.row, error.column, error.message])
            self.n += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if error[0] is None and self.n == 0:
            self.path.unlink(missing_ok=True)

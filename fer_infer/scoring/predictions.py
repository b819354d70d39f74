"""Predictions as CSV or Parquet, and rejected rows as CSV."""

from __future__ import annotations

import csv
import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataError, Faces, OutputError
from fer_core.extras import needed_from
from fer_core.io.csv_output import CSV_ENDINGS, open_csv
from fer_core.io.rejects import HEADER, reject_cells
from fer_core.staging import staged

COLUMNS: Final = ("id-label", "probabilities", "logits")
"""What a prediction file may hold; `id` and `label` come first in each."""
ENDINGS: Final = (*CSV_ENDINGS, ".parquet")
"""Endings of the names of prediction files."""
NAME_BYTES: Final = 255
"""Longest name of a file on nearly all file systems."""
REJECTS: Final = ".rejects.csv"
"""Follows the name of a prediction file in that of the list of the rows left out."""

FLOAT_FORMAT: Final = "%.9g"
"""Nine significant digits identify every float32 number (IEEE 754-2019, section 5.12.2)."""


class PredictionWriter(ABC):
    """Writes one row a face: `id,label`, and with `probabilities` or `logits` one column a class.

    Use it as a context, at whose end the file is complete.

    Parameters
    ----------
    path : Path
        The file to write.
    columns : {"id-label", "probabilities", "logits"}
        What to write.
    class_names : sequence of str
        Names of the classes, in the order of the model's columns; the names of their columns.
    with_source : bool
        Begin each row with `source`, where predictions of several files are to be told apart.
    name : str or Path
        Name of the finished file, where `path` is not: `.gz` or `.zst` at its end says how a CSV is packed.

    Attributes
    ----------
    header : list of str
        The names of all columns.
    """

    def __init__(
        self,
        path: Path,
        columns: str,
        class_names: Sequence[str],
        *,
        with_source: bool = False,
        name: str | Path = "",
    ) -> None:
        if columns not in COLUMNS:
            raise ConfigError(f"columns: expected one of {', '.join(COLUMNS)}, found {columns!r}")
        self._columns = columns
        self._with_source = with_source
        self.header = [*["source"] * with_source, "id", "label", *([] if columns == "id-label" else class_names)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    @abstractmethod
    def write(
        self,
        faces: Faces,
        labels: NDArray[np.int64],
        logits: NDArray[np.float32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Write one batch; `labels` are class numbers (N,), the other two arrays (N, classes)."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of the file, which will never be complete."""

    def _values(self, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return what stands in the columns of the classes, where there are any."""
        return {"logits": logits, "probabilities": probabilities}.get(self._columns)


class CsvPredictionWriter(PredictionWriter):
    """Writes predictions as CSV; parameters as for `PredictionWriter`."""

    def __init__(
        self,
        path: Path,
        columns: str,
        class_names: Sequence[str],
        *,
        with_source: bool = False,
        name: str | Path = "",
    ) -> None:
        super().__init__(path, columns, class_names, with_source=with_source, name=name)
        self._file = open_csv(path, name, errors="backslashreplace")
        # The csv module quotes an id that holds a comma, a quote or a line end, and nothing else. It writes into a
        # list, for the numbers that follow an id need no quotes and are many.
        self._lines: list[str] = []
        self._cells = csv.writer(SimpleNamespace(write=self._lines.append), lineterminator="\n")
        self._cells.writerow(self.header)
        self._flush()

    def write(
        self,
        faces: Faces,
        labels: NDArray[np.int64],
        logits: NDArray[np.float32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Write one batch; arguments as for `PredictionWriter.write`."""
        columns: list[Iterable[Any]] = [[faces.source] * len(faces)] * self._with_source
        columns += [face_ids(faces), labels.tolist()]
        values = self._values(logits, probabilities)
        self._cells.writerows(zip(*columns, strict=True))
        if values is not None:
            rows = zip(self._lines, decimal_rows(values), strict=True)
            self._lines[:] = [f"{line[:-1]}{numbers}\n" for line, numbers in rows]
        self._flush()

    def _flush(self) -> None:
        self._file.writelines(self._lines)
        self._lines.clear()

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file, which will never be complete."""
        with suppress(OSError):
            self._file.close()


def decimal_rows(values: NDArray[np.float32]) -> list[str]:
    """Write each row of a table as text.

    Parameters
    ----------
    values : ndarray of float32, shape (N, C)
        Any values, including infinities and NaN.

    Returns
    -------
    list of str
        N rows of C values, each by `FLOAT_FORMAT` and with a comma before it.
    """
    row = f",{FLOAT_FORMAT}" * values.shape[1]
    return [row % tuple(cells) for cells in values.tolist()]


def prediction_writer(output: str | Path) -> type[PredictionWriter]:
    """Return what writes `output`: Parquet where its name ends in `.parquet`, CSV elsewhere.

    Raises
    ------
    FerError
        If Parquet is asked for and `pyarrow` is not installed.
    """
    if Path(output).suffix.lower() != ".parquet":
        return CsvPredictionWriter
    with needed_from("parquet"):
        from fer_infer.scoring.parquet_writer import ParquetPredictionWriter
    return ParquetPredictionWriter


def face_ids(faces: Faces) -> list[Any]:
    """Return the ids as written in the source, or 0-based positions among all its rows where it has none.

    Counting the rows, and not the faces that were kept, gives a face the same id whether or not rows before it were
    skipped.
    """
    if faces.ids is not None:
        return list(faces.ids.tolist())
    return list(faces.row_positions().tolist())


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
    needed : bool
        Whether rows may be left out; without it, no list is ever made.

    Attributes
    ----------
    path : Path
        Of the file that is written where there are rejects.
    n : int
        Rows listed so far.
    """

    def __init__(self, output: Path, *, force: bool, needed: bool = True) -> None:
        self.path = output.with_name(f"{output.name}{REJECTS}")
        self.n = 0
        self._output = output
        self._force = force
        self._needed = needed
        self._stack = ExitStack()
        self._lines: Any = None
        self._stale = False

    def __enter__(self) -> RejectWriter:
        try:
            self.path.lstat()
            self._stale = True
        except FileNotFoundError:
            self._stale = False
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error
            if self._needed:
                expected = f"expected a name of at most {NAME_BYTES - len(REJECTS)} bytes"
                why = f"so that the list of rejected rows can be named OUTPUT{REJECTS}"
                raise OutputError(f"{self._output}: {expected}, {why}") from error
        if self._stale and not self._force:
            raise OutputError(f"{self.path}: exists already; --force replaces it")
        return self

    def write(self, rejected: Sequence[DataError]) -> None:
        """List rows; their `message` says what was expected and what was found."""
        if rejected and self._lines is None:
            stage = self._stack.enter_context(staged(self.path, force=self._force))
            file = self._stack.enter_context(stage.open("w", encoding="utf-8", errors="backslashreplace", newline=""))
            self._lines = csv.writer(file, lineterminator="\n")
            self._lines.writerow(HEADER)
        for error in rejected:
            self._lines.writerow(reject_cells(error))
            self.n += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if error[0] is None and self.n == 0 and self._stale:
            self.path.unlink(missing_ok=True)

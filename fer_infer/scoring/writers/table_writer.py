"""Write a table row by row, as CSV or Parquet: predictions for photos and films."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

from fer_core.extras import needed_from
from fer_core.io.csv_output import open_csv

Kind = Literal["text", "integer", "position", "time", "number", "pixels"]
Row = Sequence[str | int | float | bytes | None]

FORMATS: Final[Mapping[Kind, str]] = {
    "text": "%s",
    "integer": "%d",
    "position": "%.2f",
    "time": "%.6f",
    "number": "%.9g",
    "pixels": "%s",
}
"""How the values of a column are written in a CSV; nine digits represent every float32 exactly."""

ROW_GROUP_ROWS: Final = 1 << 14


class Column(NamedTuple):
    """A column: its name, and the kind of its values. A position is in pixels, a time in seconds.

    Pixels are bytes, written in a CSV as numbers separated by spaces, as in FER2013.
    """

    name: str
    kind: Kind


class TableWriter(Protocol):
    """Writes rows; a context manager, which completes the file at its end, or leaves it incomplete after an error."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Complete or abandon the file."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows; a value that is None is an empty cell, or null in Parquet."""


def open_table(path: Path, columns: Sequence[Column], *, name: str | Path, about: Mapping[str, str]) -> TableWriter:
    """Open a table for writing.

    Parameters
    ----------
    path : Path
        File to create, usually yielded by `fer_core.outputs.staging.staged`.
    columns : sequence of Column
        Columns.
    name : str or Path
        Final name of the file: `.parquet` selects Parquet, `.csv.gz` and `.csv.zst` the compression of a CSV.
    about : mapping of str to str
        How the table was made; stored in the metadata of a Parquet file.

    Raises
    ------
    FerError
        If Parquet is requested and `pyarrow` is not installed.
    """
    if Path(name).suffix.lower() != ".parquet":
        return _CsvTable(path, columns, name)
    with needed_from("parquet"):
        return _ParquetTable(path, columns, about)


class _CsvTable:
    def __init__(self, path: Path, columns: Sequence[Column], name: str | Path) -> None:
        self._formats = [FORMATS[column.kind] for column in columns]
        self._file = open_csv(path, name, errors="backslashreplace")
        self._lines = csv.writer(self._file, lineterminator="\n")
        self._lines.writerow(column.name for column in columns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._file.close()
        else:
            with suppress(OSError):
                self._file.close()

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            cells = zip(self._formats, row, strict=True)
            self._lines.writerow(_cell(pattern, value) for pattern, value in cells)


def _cell(pattern: str, value: str | int | float | bytes | None) -> str:
    if isinstance(value, bytes):
        return " ".join(map(str, value))
    return "" if value is None else pattern % value


class _ParquetTable:
    def __init__(self, path: Path, columns: Sequence[Column], about: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            "text": pa.string(),
            "integer": pa.int64(),
            "position": pa.float64(),
            "time": pa.float64(),
            "number": pa.float32(),
        }
        types["pixels"] = pa.binary()
        fields = [(column.name, types[column.kind]) for column in columns]
        self._schema = pa.schema(fields, metadata=dict(about))
        self._batch: Any = pa.record_batch
        self._array: Any = pa.array
        self._rows: list[Row] = []
        self._file = open(path, "wb")  # noqa: SIM115 - closed at the end of the context
        self._parquet = pq.ParquetWriter(self._file, self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            self._parquet.close()
            self._file.close()
            return
        self._parquet.is_open = False  # or the footer would be written when it is garbage-collected
        with suppress(OSError):
            self._file.close()

    def write(self, rows: Sequence[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [self._array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
            self._parquet.write_batch(self._batch(arrays, schema=self._schema))
            self._rows = []

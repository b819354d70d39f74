"""Column layout of a CSV, and a slow parser of single rows that explains malformed ones."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError, shorten
from fer_core.fer2013 import LABEL_EXPECTED, PIXELS, SPLIT_EXPECTED, label_of, split_of
from fer_core.io.columns import ID_EXPECTED, ROLES, assign_roles, id_of, pixel_columns
from fer_core.io.csv import lines as csv_lines
from fer_core.io.csv.lines import MAX_LINE_BYTES
from fer_core.io.csv.pixel_text import decode_face, explain, explain_value

T = TypeVar("T")

UTF8_BOM: Final = b"\xef\xbb\xbf"

OTHER_SEPARATORS: Final = (";", "\t", "|")
"""Separators in files that are named CSV but are not comma-separated."""


@dataclass(frozen=True)
class Dialect:
    """The layout of a file.

    Attributes
    ----------
    names : tuple of str
        Names of the columns. Where there is one column per pixel, these together are one of them.
    pixels, label, split, id : int or None
        Position of each column in `names`; None if the file has none or it is not read.
    pixel_names : tuple of str
        Names of the 2,304 columns in a file with one column per pixel; empty in other files.
    """

    names: tuple[str, ...]
    pixels: int
    label: int | None = None
    split: int | None = None
    id: int | None = None
    pixel_names: tuple[str, ...] = ()

    @classmethod
    def from_header(
        cls,
        line: bytes,
        source: str,
        *,
        row: int = 1,
        roles: Collection[str] = ROLES,
        columns: Mapping[str, str] | None = None,
    ) -> Dialect:
        """Recognize a header line (without its line end); raise DataError if it has no column of pixels.

        Parameters
        ----------
        line : bytes
            The header.
        source : str
            Name of the file in errors.
        row : int
            Row number of the header in errors.
        roles, columns
            As in `fer_core.iter_faces`.
        """
        expected = "expected a header with a column 'pixels' or 'feature'"
        if line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(source, f"{expected}, in UTF-8; found UTF-16", row=row)
        if b"\r" in line:
            raise DataError(source, "expected lines that end in LF or CRLF, found only CR", row=row)
        try:
            names = [name.strip(" ") for name in split_cells(line.removeprefix(UTF8_BOM))]
        except ValueError as error:
            raise DataError(source, f"{expected}; found {error}", row=row) from None
        pixel_names: tuple[str, ...] = ()
        if "pixels" not in (columns or {}) and (run := pixel_columns(names, source, row=row)):
            pixel_names = tuple(names[run.start : run.stop])
            joined = f"{pixel_names[0]}..{pixel_names[-1]}"
            names[run.start : run.stop] = [joined]
            columns = {**(columns or {}), "pixels": joined}
        separators = [] if len(names) > 1 or columns else [mark for mark in OTHER_SEPARATORS if mark in names[0]]
        if separators:
            message = f"expected columns separated by commas, found {separators[0]!r} in {shorten(names[0])}"
            raise DataError(source, message, row=row)
        places = assign_roles(names, source, row=row, roles=roles, columns=columns)
        read = {role: place for role, place in places.items() if role == "pixels" or role in roles}
        return cls(tuple(names), pixel_names=pixel_names, **read)

    @property
    def separator(self) -> bytes:
        """Byte between two pixels."""
        return b"," if self.pixel_names else b" "

    @property
    def read(self) -> set[int]:
        """Positions in `names` of the columns that are read."""
        return {place for place in (self.pixels, self.label, self.split, self.id) if place is not None}

    def kinds(self) -> NDArray[np.int64]:
        """Return the kind of each column, as defined in `fer_core.io.csv.lines`."""
        kinds = np.full(len(self.names), csv_lines.OTHER_CELL, np.int64)
        for kind, place in (
            (csv_lines.PIXEL_CELL, self.pixels),
            (csv_lines.LABEL_CELL, self.label),
            (csv_lines.SPLIT_CELL, self.split),
            (csv_lines.ID_CELL, self.id),
        ):
            if place is not None:
                kinds[place] = kind
        return kinds


def split_cells(line: bytes) -> list[str]:
    """Split a line at its commas, except in quotes; raise ValueError with the problem if that is not possible."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"a byte that is not UTF-8 at position {error.start}") from None
    if "\r" in text:  # the csv module would drop some of them
        raise ValueError("a CR within a line")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"bad quotes ({error})") from None


def is_blank(line: bytes) -> bool:
    """Return whether a line is blank: only spaces, tabs and its line end. Such lines are skipped."""
    return not line.strip(b" \t\r")


class Cells(NamedTuple):
    """Cells of a row other than the pixels; -1 or empty if the file has no such column."""

    label: int
    split: str
    id: str


def _cells_of(line: bytes, row: int, n: int, source: str) -> list[str]:
    expected = "expected 1 cell" if n == 1 else f"expected {n} cells"
    if len(line) >= MAX_LINE_BYTES:
        raise DataError(source, f"expected at most {MAX_LINE_BYTES} bytes, found more", row=row)
    try:
        cells = split_cells(line.rstrip(b"\r"))
    except ValueError as error:
        raise DataError(source, f"{expected}, found {error}", row=row) from None
    if len(cells) != n:
        raise DataError(source, f"{expected}, found {len(cells)}", row=row)
    return cells


def parse_row(line: bytes, row: int, dialect: Dialect, source: str, pixels: NDArray[np.uint8]) -> Cells:
    """Parse one line; raise DataError with row, column, and expected and found values."""
    cells = _cells_of(line, row, len(dialect.names) + max(len(dialect.pixel_names) - 1, 0), source)
    values = cells[dialect.pixels : dialect.pixels + len(dialect.pixel_names)]
    if dialect.pixel_names:
        cells[dialect.pixels : dialect.pixels + PIXELS] = [",".join(values)]
    text = cells[dialect.pixels].encode()
    if not decode_face(text, pixels):
        for name, value in zip(dialect.pixel_names, values, strict=True):
            if (message := explain_value(value.encode())) is not None:
                raise DataError(source, message, row=row, column=name)
        raise DataError(source, explain(text), row=row, column=dialect.names[dialect.pixels])

    def meaning(place: int | None, of: Callable[[str], T | None], expected: str, default: T) -> T:
        if place is None:
            return default
        value = of(cells[place])
        if value is None:
            found = shorten(cells[place].strip(" "))
            raise DataError(source, f"{expected}, found {found}", row=row, column=dialect.names[place])
        return value

    label = meaning(dialect.label, label_of, LABEL_EXPECTED, -1)
    identity = meaning(dialect.id, id_of, ID_EXPECTED, "")
    return Cells(label, meaning(dialect.split, split_of, SPLIT_EXPECTED, ""), identity)

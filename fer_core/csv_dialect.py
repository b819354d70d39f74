"""A CSV's header, and its rows by the letter: what stands in which column, and what is wrong with a row that is."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core import csv_kernel as kernel
from fer_core.columns import COLUMNS, ID_EXPECTED, LABEL_EXPECTED, MAX_ID_LENGTH, USAGE_EXPECTED
from fer_core.csv_kernel import MAX_LINE_BYTES
from fer_core.errors import DataError
from fer_core.expressions import EXPRESSIONS, USAGES
from fer_core.pixel_text import decode_face, explain

UTF8_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Dialect:
    """Where a file's header puts what.

    Attributes
    ----------
    names : tuple of str
        The header's cells without the spaces around them.
    pixels, label, usage, id : int or None
        Position of each column; None where the file has none.
    """

    names: tuple[str, ...]
    pixels: int
    label: int | None = None
    usage: int | None = None
    id: int | None = None

    @classmethod
    def from_header(cls, line: bytes, source: str) -> Dialect:
        """Recognize a header line (without its line end); raise DataError where it is none of ours."""
        expected = "expected a header with a column 'pixels' or 'feature', else only 'emotion', 'label', 'usage', 'id'"
        if line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(source, f"{expected}, in UTF-8; found UTF-16", row=1)
        if b"\r" in line:
            raise DataError(source, "expected lines that end in LF or CRLF, found CR alone", row=1)
        try:
            names = tuple(name.strip(" ") for name in split_cells(line.removeprefix(UTF8_BOM)))
        except ValueError as error:
            raise DataError(source, f"{expected}; found {error}", row=1) from None
        places: dict[str, int] = {}
        for place, name in enumerate(names):
            role = COLUMNS.get(name.lower())
            if role is None:
                raise DataError(source, f"{expected}; found {_shown(name)}", row=1)
            if role in places:
                raise DataError(
                    source, f"expected one column of {role}, found {names[places[role]]!r} and {name!r}", row=1
                )
            places[role] = place
        if "pixels" not in places:
            raise DataError(source, f"{expected}; found {', '.join(map(_shown, names))}", row=1)
        return cls(names, **places)

    def kinds(self) -> NDArray[np.int64]:
        """Return what each column holds, as `fer_core.csv_kernel.decode_lines` takes it."""
        kinds = np.empty(len(self.names), np.int64)
        for kind, place in (
            (kernel.PIXEL_CELL, self.pixels),
            (kernel.LABEL_CELL, self.label),
            (kernel.USAGE_CELL, self.usage),
            (kernel.ID_CELL, self.id),
        ):
            if place is not None:
                kinds[place] = kind
        return kinds


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")


def split_cells(line: bytes) -> list[str]:
    """Split one line at its commas, honouring quotes; raise ValueError with what was found where it cannot be."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"a byte that is not UTF-8 at position {error.start}") from None
    if "\r" in text:  # which the csv module would drop here and there
        raise ValueError("a CR that ends no line")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"bad quotes ({error})") from None


class Cells(NamedTuple):
    """What a row holds beside its pixels; empty where its file has no such column."""

    label: int
    usage: str
    id: str


def parse_row(line: bytes, row: int, dialect: Dialect, source: str, pixels: NDArray[np.uint8]) -> Cells:
    """Read one line slowly and by the letter; raise DataError with the row, what was expected and what was found."""
    names = dialect.names
    expected = f"expected {len(names)} cell{'s' * (len(names) > 1)}"
    if len(line) >= MAX_LINE_BYTES:
        raise DataError(source, f"expected at most {MAX_LINE_BYTES} bytes, found more", row=row)
    line = line.removesuffix(b"\r")
    try:
        cells = split_cells(line)
    except ValueError as error:
        raise DataError(source, f"{expected}, found {error}", row=row) from None
    if len(cells) != len(names) or not line:
        found = len(cells) if line else "an empty line"
        raise DataError(source, f"{expected}, found {found}", row=row)

    def wrong(place: int, message: str) -> DataError:
        return DataError(source, message, row=row, column=names[place])

    text = cells[dialect.pixels].encode()
    if not decode_face(text, pixels):
        raise wrong(dialect.pixels, explain(text))
    label, usage, identity = -1, "", ""
    if dialect.label is not None:
        cell = cells[dialect.label].strip(" ")
        if len(cell) != 1 or cell not in "0123456789"[: len(EXPRESSIONS)]:
            raise wrong(dialect.label, f"{LABEL_EXPECTED}, found {_shown(cell)}")
        label = int(cell)
    if dialect.id is not None:
        identity = cells[dialect.id].strip(" ")
        if not 0 < len(identity) <= MAX_ID_LENGTH or min(identity) < " ":
            raise wrong(dialect.id, f"{ID_EXPECTED}, found {_shown(identity)}")
    if dialect.usage is not None:
        usage = cells[dialect.usage].strip(" ")
        if usage not in USAGES:
            raise wrong(dialect.usage, f"{USAGE_EXPECTED}, found {_shown(usage)}")
    return Cells(label, usage, identity)

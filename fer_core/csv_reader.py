"""Faces from CSV: every layout that FER2013 has been handed around in, streamed, each wrong row named."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from fer_core.csv_kernel import decode_face, explain
from fer_core.errors import DataError
from fer_core.expressions import EXPRESSIONS, IMAGE_SIZE, PIXELS, USAGES
from fer_core.faces import Faces
from fer_core.streams import open_stream

COLUMNS: Final = {
    "pixels": "pixels",
    "feature": "pixels",
    "emotion": "label",
    "label": "label",
    "usage": "usage",
    "id": "id",
}
"""Column names, lower case, and what they hold."""

MAX_LINE_BYTES: Final = 1 << 17
"""A longer line is refused before it fills the memory; a face takes at most 9,216 bytes, and `csv` no longer cell."""

MAX_ID_LENGTH: Final = 256
"""A longer id is refused: NumPy keeps each id of a batch in the space of its longest one."""

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
        expected = "expected a header with a column 'pixels' or 'feature', and of 'emotion', 'label', 'usage', 'id'"
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


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield each line without its LF or CRLF; None for one that is longer than MAX_LINE_BYTES with it."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line.removesuffix(b"\r\n").removesuffix(b"\n")
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES)
        yield None


@dataclass
class _Batch:
    """Rows on their way to becoming a `Faces`."""

    source: str
    dialect: Dialect
    capacity: int
    images: np.ndarray = field(init=False)
    rows: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    usage: list[str] = field(default_factory=list)
    rejected: list[DataError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images = np.empty((self.capacity, PIXELS), np.uint8)

    def full(self) -> bool:
        return max(len(self.rows), len(self.rejected)) >= self.capacity

    def add(self, line: bytes | None, row: int, usage: str | None) -> None:
        """Validate one line in full and keep its face, unless it belongs to another split than `usage`."""
        names, dialect = self.dialect.names, self.dialect
        expected = f"expected {len(names)} cell{'s' * (len(names) > 1)}"
        if line is None:
            raise DataError(self.source, f"expected at most {MAX_LINE_BYTES} bytes, found more", row=row)
        try:
            cells = split_cells(line)
        except ValueError as error:
            raise DataError(self.source, f"{expected}, found {error}", row=row) from None
        if len(cells) != len(names) or not line:
            found = len(cells) if line else "an empty line"
            raise DataError(self.source, f"{expected}, found {found}", row=row)

        def wrong(place: int, message: str) -> DataError:
            return DataError(self.source, message, row=row, column=names[place])

        text = cells[dialect.pixels].encode()
        if not decode_face(text, self.images[len(self.rows)]):
            raise wrong(dialect.pixels, explain(text))
        label, identity, split = -1, "", ""
        if dialect.label is not None:
            cell = cells[dialect.label].strip(" ")
            if len(cell) != 1 or cell not in "0123456789"[: len(EXPRESSIONS)]:
                raise wrong(dialect.label, f"expected a label in 0..{len(EXPRESSIONS) - 1}, found {_shown(cell)}")
            label = int(cell)
        if dialect.id is not None:
            identity = cells[dialect.id].strip(" ")
            if not 0 < len(identity) <= MAX_ID_LENGTH or min(identity) < " ":
                wanted = f"expected an id of 1 to {MAX_ID_LENGTH} characters, none a control character"
                raise wrong(dialect.id, f"{wanted}, found {_shown(identity)}")
        if dialect.usage is not None:
            split = cells[dialect.usage].strip(" ")
            if split not in USAGES:
                raise wrong(dialect.usage, f"expected one of {', '.join(USAGES)}, found {_shown(split)}")
            if usage is not None and split != usage:
                return
        self.rows.append(row)
        self.labels.append(label)
        self.usage.append(split)
        self.ids.append(identity)

    def faces(self) -> Faces:
        """Freeze what was gathered; the images are handed over, so the batch ends here."""
        return Faces(
            images=self.images[: len(self.rows)].reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
            rows=np.array(self.rows, np.int64),
            labels=None if self.dialect.label is None else np.array(self.labels, np.int64),
            ids=None if self.dialect.id is None else np.array(self.ids, np.str_),
            usage=None if self.dialect.usage is None else np.array(self.usage, np.str_),
            source=self.source,
            rejected=tuple(self.rejected),
        )


def iter_csv(path: str | Path, *, batch_rows: int, usage: str | None, on_error: str) -> Iterator[Faces]:
    """Stream a CSV as batches; see `fer_core.iter_faces`, which this serves."""
    source = str(path)
    with open_stream(path) as stream:
        lines = _lines(stream)
        header = next(lines, b"")
        if header is None:
            message = f"expected a header that ends in LF or CRLF, found a line of over {MAX_LINE_BYTES} bytes"
            raise DataError(source, message, row=1)
        if not header.removeprefix(UTF8_BOM).strip():
            raise DataError(source, "expected a header, found an empty file or line", row=1)
        dialect = Dialect.from_header(header, source)
        if usage is not None and dialect.usage is None:
            raise DataError(source, f"has no Usage column, so its {usage} rows cannot be told")
        batch, sent = _Batch(source, dialect, batch_rows), False
        for row, line in enumerate(lines, start=2):
            try:
                batch.add(line, row, usage)
            except DataError as error:
                if on_error == "fail":
                    raise
                batch.rejected.append(error)
            if batch.full():
                yield batch.faces()
                batch, sent = _Batch(source, dialect, batch_rows), True
        if batch.rows or batch.rejected or not sent:
            yield batch.faces()

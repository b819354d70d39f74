"""Faces from CSV: every layout that FER2013 has been handed around in, streamed, each wrong row named.

The stream is cut into blocks of whole lines. A block is decoded by `fer_core.csv_kernel`, several at a time in threads;
rows that the kernel does not take, because they are wrong or quoted in an unusual way, go through `parse_row`,
which accepts or explains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core import csv_kernel as kernel
from fer_core.columns import ROLES
from fer_core.csv_dialect import UTF8_BOM, Dialect, parse_row
from fer_core.csv_kernel import MAX_LINE_BYTES
from fer_core.errors import DataError
from fer_core.expressions import IMAGE_SIZE, PIXELS, USAGES
from fer_core.faces import Faces, concatenate, no_usage_column
from fer_core.reader import PARQUET_MAGIC
from fer_core.streams import open_stream

_USAGES: Final = np.array(USAGES)

LEAST_LINES: Final = 256
"""Lines for which a table has room at the least; of lines that are shorter than a face, a block may fill several."""

BLOCK_BYTES: Final = 1 << 20
"""Text that is decoded at once: it stays in a core's cache, and the cost of a call is spread over some 120 faces."""


class _Block(NamedTuple):
    """Whole lines, in `text[begin:size]`; the last byte is LF, and behind it is room for the kernel."""

    text: bytearray
    begin: int
    size: int


class _BlockReader:
    """Cuts a stream into blocks; a block that was read is given back, and its memory filled again."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._rest = b""
        self._free: list[bytearray] = []
        self._ended = False

    def give_back(self, block: _Block) -> None:
        self._free.append(block.text)

    def read(self) -> _Block | None:
        """Return the next lines, as many as are at hand and at least one; None at the end of the stream.

        A line that is longer than a block is read past, and its first MAX_LINE_BYTES stand for it.
        """
        text = self._free.pop() if self._free else bytearray(BLOCK_BYTES + kernel.PADDING)
        size, searched = len(self._rest), 0
        text[:size] = self._rest
        while (end := text.rfind(b"\n", searched, size) + 1) == 0:
            searched = size
            if self._ended and size == 0:
                return None
            if self._ended:
                # a CR that ends the file is no line end: doubled, it will not be taken for one
                ending = b"\r\n" if text[size - 1 : size] == b"\r" else b"\n"
                end = size + len(ending)
                text[size:end] = ending
                size = end
                break
            if size == BLOCK_BYTES:
                self._rest = self._rest_after_line()
                text[MAX_LINE_BYTES] = ord("\n")
                return _Block(text, 0, MAX_LINE_BYTES + 1)
            got = self._stream.readinto1(memoryview(text)[size:BLOCK_BYTES])
            self._ended = got == 0
            size += got
        self._rest = bytes(text[end:size])
        return _Block(text, 0, end)

    def _rest_after_line(self) -> bytes:
        while piece := self._stream.read1(BLOCK_BYTES // 2):
            _before, newline, after = piece.partition(b"\n")
            if newline:
                return after
        self._ended = True
        return b""


class _Decoded(NamedTuple):
    """What the kernel made of some lines."""

    table: NDArray[np.int64]
    images: NDArray[np.uint8]
    ids: NDArray[np.str_]


def _decode(block: _Block, kinds: NDArray[np.int64]) -> list[_Decoded]:
    """Decode a block; the interpreter is free meanwhile."""
    text = np.frombuffer(block.text, np.uint8)
    position, parts = block.begin, []
    while position < block.size:
        capacity = max((block.size - position) // kernel.SHORTEST + 1, LEAST_LINES)
        table = np.zeros((capacity, kernel.TABLE_COLUMNS), np.int64)
        images = np.empty((capacity, PIXELS), np.uint8)
        lines, position = kernel.decode_lines(text, position, block.size, kinds, table, images)
        table = table[:lines]
        width = int((table[:, kernel.ID_END] - table[:, kernel.ID_START]).max())
        ids = np.zeros((lines, max(width, 1)), np.uint32)
        kernel.copy_ids(text, table, ids)
        parts.append(_Decoded(table, images[:lines], ids.view(f"U{ids.shape[1]}").reshape(-1)))
    return parts


def _in_order(blocks: _BlockReader, first: _Block, kinds: NDArray[np.int64], threads: int) -> Iterator[tuple[Any, Any]]:
    """Yield each block and what was decoded of it; with several threads, so many blocks are read ahead."""
    block: _Block | None = first
    if threads == 1:
        while block is not None:
            yield block, _decode(block, kinds)
            blocks.give_back(block)
            block = blocks.read()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting = deque([(first, pool.submit(_decode, first, kinds))])
        while waiting:
            while len(waiting) <= threads and (block := blocks.read()) is not None:
                waiting.append((block, pool.submit(_decode, block, kinds)))
            block, future = waiting.popleft()
            yield block, future.result()
            blocks.give_back(block)


@dataclass(frozen=True)
class _Assembler:
    """Makes faces of what was decoded, and sends what was not through the slow path."""

    source: str
    dialect: Dialect
    usage: str | None
    on_error: str

    def faces(self, block: _Block, part: _Decoded, row: int) -> Faces:
        """Return the faces of some lines, the first of which is `row`."""
        table, images, ids = part
        good = table[:, kernel.GOOD].astype(bool)
        labels, usages = table[:, kernel.LABEL], _USAGES[table[:, kernel.USAGE]]
        rejected = []
        for i in np.flatnonzero(~good).tolist():
            line = bytes(block.text[table[i, kernel.START] : table[i, kernel.END]])
            try:
                cells = parse_row(line, row + i, self.dialect, self.source, images[i])
            except DataError as error:
                if self.on_error == "fail":
                    raise
                rejected.append(error)
                continue
            good[i], labels[i], usages[i] = True, cells.label, cells.usage
            if len(cells.id) > ids.itemsize // 4:
                ids = ids.astype(f"U{len(cells.id)}")
            ids[i] = cells.id
        if self.usage is not None:
            good &= usages == self.usage
        dialect = self.dialect
        rows = np.arange(row, row + len(table), dtype=np.int64)
        if not good.all():  # or images would be copied for nothing
            images, rows, labels, ids, usages = (column[good] for column in (images, rows, labels, ids, usages))
        return Faces(
            images=images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
            rows=rows,
            labels=None if dialect.label is None else labels,
            ids=None if dialect.id is None else ids,
            usage=None if dialect.usage is None else usages,
            source=self.source,
            rejected=tuple(rejected),
        )


def _regroup(parts: Iterator[Faces], batch_rows: int) -> Iterator[Faces]:
    """Yield batches of `batch_rows` faces, or of fewer where as many rows were rejected, and the rest at the end."""
    waiting: list[Faces] = []
    rows = rejects = 0
    for part in parts:
        while True:
            head, tail = _split(part, batch_rows - rows, batch_rows - rejects)
            waiting.append(head)
            rows, rejects = rows + len(head), rejects + len(head.rejected)
            if max(rows, rejects) == batch_rows:
                yield concatenate(waiting)
                waiting, rows, rejects = [], 0, 0
            if tail is None:
                break
            part = tail
    if waiting and (rows or rejects):
        yield concatenate(waiting)


def _split(part: Faces, rows: int, rejects: int) -> tuple[Faces, Faces | None]:
    """Cut a batch before the row that would be one face or one rejected row too many."""
    if len(part) <= rows and len(part.rejected) <= rejects:
        return part, None
    cuts = [*part.rows[rows : rows + 1].tolist(), *(error.row for error in part.rejected[rejects : rejects + 1])]
    cut = min(row for row in cuts if row is not None)
    place = int(np.searchsorted(part.rows, cut))
    before = tuple(error for error in part.rejected if error.row is not None and error.row < cut)
    head = replace(part.take(slice(place)), rejected=before)
    return head, replace(part.take(slice(place, None)), rejected=part.rejected[len(before) :])


def iter_csv(
    path: str | Path,
    *,
    batch_rows: int,
    usage: str | None,
    on_error: str,
    threads: int = 1,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Faces]:
    """Stream a CSV as batches; see `fer_core.iter_faces`, which this serves."""
    source = str(path)
    with open_stream(path) as stream:
        blocks = _BlockReader(stream)
        first = blocks.read()
        if first is not None and bytes(first.text[: len(PARQUET_MAGIC)]) == PARQUET_MAGIC:
            raise DataError(source, "expected a CSV, found Parquet, which is read from a plain file only")
        header = b"" if first is None else bytes(first.text[: first.text.index(b"\n")])
        if len(header) >= MAX_LINE_BYTES:
            message = f"expected a header that ends in LF or CRLF, found a line of over {MAX_LINE_BYTES} bytes"
            raise DataError(source, message, row=1)
        begin, header = len(header) + 1, header.removesuffix(b"\r")
        if first is None or not header.removeprefix(UTF8_BOM).strip():
            raise DataError(source, "expected a header, found an empty file or line", row=1)
        dialect = Dialect.from_header(header, source)
        if usage is not None and dialect.usage is None:
            raise no_usage_column(source, usage)
        assembler = _Assembler(source, dialect, usage, on_error)

        def parts() -> Iterator[Faces]:
            row = 2
            for block, decoded in _in_order(blocks, first._replace(begin=begin), dialect.kinds(), threads):
                for part in decoded:
                    yield assembler.faces(block, part, row)
                    row += len(part.table)

        sent = False
        for batch in _regroup(parts(), batch_rows):
            yield batch
            sent = True
        if not sent:
            none = _Decoded(
                np.zeros((0, kernel.TABLE_COLUMNS), np.int64), np.empty((0, PIXELS), np.uint8), np.array([], "U1")
            )
            yield assembler.faces(first, none, 2)

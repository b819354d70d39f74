"""Stream faces from CSV, in every layout in which FER2013 is distributed, with an error for each invalid row.

The stream is cut into blocks of complete lines, which `fer_core.io.csv.decoder` decodes, several at a time in threads.
Rows that the decoder does not accept, because they are invalid or have an unusual form, are parsed by `parse_row`,
which accepts them or explains the error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.faces import Faces, concatenate, no_split_column
from fer_core.fer2013 import IMAGE_SIZE, PIXELS
from fer_core.io.columns import ROLES, warn_of_columns_left_out
from fer_core.io.compression import open_stream, plain_size
from fer_core.io.csv import cells as csv_cells
from fer_core.io.csv import decoder as csv_decoder
from fer_core.io.csv.blocks import Block, BlockReader
from fer_core.io.csv.lines import END, GOOD, MAX_LINE_BYTES, SHORTEST, START, TABLE_COLUMNS
from fer_core.io.csv.rows import UTF8_BOM, Dialect, is_blank, parse_row
from fer_core.io.file_types import PARQUET_MAGIC
from fer_core.io.read_ahead import workers

LEAST_LINES: Final = 256
"""Minimum number of rows of a table; lines that are shorter than a face may need several tables per block."""


class _Decoded(NamedTuple):
    """Decoded lines: bounds, a mask of valid lines, and columns, None for those that are not read."""

    table: NDArray[np.int64]
    good: NDArray[np.bool_]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    splits: NDArray[np.str_] | None
    ids: NDArray[np.str_] | None


def _decode(block: Block, dialect: Dialect) -> list[_Decoded]:
    """Decode a block."""
    position, parts = block.begin, []
    while position < block.size:
        capacity = max((block.size - position) // SHORTEST + 1, LEAST_LINES)
        table = np.zeros((capacity, TABLE_COLUMNS), np.int64)
        images = np.empty((capacity, PIXELS), np.uint8)
        lines, position = csv_decoder.decode_lines(
            block.text, position, block.size, dialect.kinds(), table, images, dialect.separator
        )
        parts.append(_with_cells(block.text, dialect, table[:lines], images[:lines]))
    return parts


def _with_cells(text: bytearray, dialect: Dialect, table: NDArray[np.int64], images: NDArray[np.uint8]) -> _Decoded:
    """Read the cells other than the pixels in decoded lines."""
    good = table[:, GOOD].astype(np.bool_)
    columns: list[NDArray[Any] | None] = []
    cells = table if good.all() else np.where(good[:, None], table, 0)  # bounds in other lines are undefined
    for place, read in (
        (dialect.label, csv_cells.read_labels),
        (dialect.split, csv_cells.read_splits),
        (dialect.id, csv_cells.read_ids),
    ):
        if place is None:
            columns.append(None)
            continue
        values, fits = read(text, cells)
        columns.append(values)
        good &= fits
    return _Decoded(table, good, images, *columns)


def _in_order(
    blocks: BlockReader, first: Block, dialect: Dialect, threads: int
) -> Iterator[tuple[Block, list[_Decoded]]]:
    """Yield each block and its decoded lines; with several threads, as many blocks are read ahead."""
    block: Block | None = first
    if threads == 1:
        while block is not None:
            yield block, _decode(block, dialect)
            blocks.give_back(block)
            block = blocks.read()
        return
    with workers(threads, "decode") as pool:
        waiting = deque([(first, pool.submit(_decode, first, dialect))])
        while waiting:
            while len(waiting) <= threads and (block := blocks.read()) is not None:
                waiting.append((block, pool.submit(_decode, block, dialect)))
            block, future = waiting.popleft()
            yield block, future.result()
            blocks.give_back(block)


@dataclass
class _Assembler:
    """Builds faces from decoded lines, and parses the other lines one by one."""

    source: str
    dialect: Dialect
    split: str | None
    on_error: str
    first_row: int
    blank_lines: int = 0

    def faces(self, block: Block, part: _Decoded, row: int) -> Faces:
        """Return the faces of decoded lines, the first of which is `row`."""
        table, good, images, labels, splits, ids = part
        rejected = []
        blank = []
        for i in np.flatnonzero(~good).tolist():
            line = bytes(block.text[table[i, START] : table[i, END]])
            if is_blank(line):
                blank.append(i)
                continue
            try:
                cells = parse_row(line, row + i, self.dialect, self.source, images[i])
            except DataError as error:
                if self.on_error == "fail":
                    raise
                rejected.append(error)
                continue
            good[i] = True
            if labels is not None:
                labels[i] = cells.label
            if splits is not None:
                splits[i] = cells.split
            if ids is not None:
                if len(cells.id) > ids.itemsize // 4:
                    ids = ids.astype(f"U{len(cells.id)}")
                ids[i] = cells.id
        rows = np.arange(row, row + len(table), dtype=np.int64)
        faces = Faces(
            images=images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
            rows=rows,
            labels=labels,
            ids=ids,
            splits=splits,
            source=self.source,
            first_row=self.first_row,
            positions=self._positions(rows, blank),
            rejected=tuple(rejected),
        )
        if self.split is not None and splits is not None:
            good &= splits == self.split
        return faces if good.all() else faces.take(good)  # avoids a copy of the images

    def _positions(self, rows: NDArray[np.int64], blank: list[int]) -> NDArray[np.int64] | None:
        """Return positions that exclude blank lines; None while there was none. `blank` are indices of blank lines."""
        if not blank and not self.blank_lines:
            return None
        before = self.blank_lines + np.searchsorted(blank, np.arange(len(rows)), "right")
        self.blank_lines += len(blank)
        return rows - self.first_row - before


def _regroup(parts: Iterator[Faces], batch_rows: int) -> Iterator[Faces]:
    """Yield batches of `batch_rows` faces, or fewer if `batch_rows` rows were rejected, and the rest at the end."""
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
    """Split a batch before the first face or rejected row that exceeds the limits."""
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
    split: str | None,
    on_error: str,
    threads: int = 1,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Faces]:
    """Stream a CSV in batches; see `fer_core.iter_faces`."""
    source = str(path)
    with open_stream(path) as stream:
        blocks = BlockReader(stream, plain_size(stream))
        first, dialect, first_row = _begin(blocks, source, split, roles, columns)
        warn_of_columns_left_out(dialect.names, source, dialect.read, columns=columns)
        assembler = _Assembler(source, dialect, split, on_error, first_row)

        def parts() -> Iterator[Faces]:
            row = assembler.first_row
            for block, decoded in _in_order(blocks, first, dialect, threads):
                for part in decoded:
                    yield assembler.faces(block, part, row)
                    row += len(part.table)

        sent = False
        for batch in _regroup(parts(), batch_rows):
            yield batch
            sent = True
        if not sent:
            nothing = np.zeros((0, TABLE_COLUMNS), np.int64), np.empty((0, PIXELS), np.uint8)
            yield assembler.faces(first, _with_cells(first.text, dialect, *nothing), assembler.first_row)


def check_csv(
    path: str | Path, *, split: str | None, roles: Collection[str], columns: Mapping[str, str] | None
) -> None:
    """Raise the DataError that `iter_csv` would raise for the header of a file."""
    with open_stream(path) as stream:
        _begin(BlockReader(stream, None), str(path), split, roles, columns)


def _begin(
    blocks: BlockReader, source: str, split: str | None, roles: Collection[str], columns: Mapping[str, str] | None
) -> tuple[Block, Dialect, int]:
    """Read the first block; return it without the header, the dialect, and the next row number."""
    first = blocks.read()
    if first is not None and bytes(first.text[: len(PARQUET_MAGIC)]) == PARQUET_MAGIC:
        raise DataError(source, "expected a CSV, found Parquet, which is read from a plain file only")
    header, row, first = _header(first, blocks, source)
    wanted = roles if split is None else {*roles, "split"}
    dialect = Dialect.from_header(header, source, row=row, roles=wanted, columns=columns)
    if split is not None and dialect.split is None:
        raise no_split_column(source, split)
    return first, dialect, row + 1


def _header(block: Block | None, blocks: BlockReader, source: str) -> tuple[bytes, int, Block]:
    """Return the first line that is not blank, without its line end, its row number, and the lines after it."""
    row = 0
    while block is not None:
        begin = block.begin
        while begin < block.size:
            end = block.text.index(b"\n", begin)
            header = bytes(block.text[begin:end])
            row, begin = row + 1, end + 1
            if len(header) >= MAX_LINE_BYTES:
                message = f"expected a header that ends in LF or CRLF, found a line of over {MAX_LINE_BYTES} bytes"
                raise DataError(source, message, row=row)
            if not is_blank(header.removeprefix(UTF8_BOM)):
                return header.rstrip(b"\r"), row, block._replace(begin=begin)
        blocks.give_back(block)
        block = blocks.read()  # a pipe can send blank lines before the header
    raise DataError(source, "expected a header, found an empty file", row=1)

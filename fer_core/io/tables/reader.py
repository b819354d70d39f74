"""Stream faces from Parquet and Arrow files, with an error for each invalid row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fer_core.errors import DataError, first_line
from fer_core.faces import Faces, no_split_column
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.columns import ROLES, warn_of_columns_left_out
from fer_core.io.compression import open_seekable, table_type
from fer_core.io.crop import Crop, no_images
from fer_core.io.file_types import ARROW_STREAM, PARQUET
from fer_core.io.tables.cells import (
    Cells,
    decode_ids,
    decode_labels,
    decode_pixel_columns,
    decode_pixels,
    decode_splits,
    plain,
)
from fer_core.io.tables.layout import Layout
from fer_core.io.tables.shards import Shard, find_shards

READ_BUFFER_BYTES: Final = 1 << 20
"""Size of the read buffer per column; by default, a whole row group is read, which may be the whole file."""

PHOTO_ROWS: Final = 256
"""Rows read at once if faces are cut from their images, which can be large photos."""

Decoder = Callable[[pa.Array], Cells]
"""Decodes a column."""

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""End-of-stream marker of an Arrow IPC stream, which a stream that is cut between two batches lacks."""


class _Table(NamedTuple):
    """An open file: its schema, its number of rows if known in advance, and a function that yields its batches."""

    schema: pa.Schema
    rows: int | None
    batches: Callable[[int, list[str] | None], Iterator[pa.RecordBatch]]


def iter_table(  # noqa: PLR0913 - parameters of a reader
    path: str | Path,
    *,
    batch_rows: int,
    split: str | None,
    on_error: str,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    named: set[str] | None = None,
    crop: Crop | None = None,
    threads: int = 1,
) -> Iterator[Faces]:
    """Stream a Parquet or Arrow file in batches; see `fer_core.iter_faces`. The first row is row 1.

    An Arrow file is read by record batches, so the largest of them must fit into memory. `named` is as in
    `warn_of_columns_left_out`.
    """
    source = str(path)
    decode = partial(decode_pixels, crop=crop, threads=threads)
    if crop is not None:
        batch_rows = min(batch_rows, PHOTO_ROWS)
    with _open_table(path) as table:
        layout = _layout(table, source, split, roles, columns, crop)
        warn_of_columns_left_out(layout.names, source, layout.read, columns=columns, named=named)
        row, sent = 1, False
        for batch in table.batches(batch_rows, layout.to_read()):
            faces = _faces(batch, layout, row, source, decode, split=split, on_error=on_error)
            row += batch.num_rows
            if len(faces) or faces.rejected:
                yield faces
                sent = True
        if not sent:
            nothing = pa.RecordBatch.from_pylist([], schema=table.schema)
            yield _faces(nothing, layout, row, source, decode, split=split, on_error=on_error)


def check_table(
    path: str | Path,
    *,
    split: str | None,
    roles: Collection[str],
    columns: Mapping[str, str] | None,
    crop: Crop | None = None,
) -> None:
    """Raise the DataError that `iter_table` would raise for the columns of a file."""
    with _open_table(path) as table:
        _layout(table, str(path), split, roles, columns, crop)


def has_images(path: str | Path, *, columns: Mapping[str, str] | None = None) -> bool:
    """Return whether a file, or the first file of a folder, has images as Hugging Face stores them."""
    path = find_shards(Path(path))[0].file if Path(path).is_dir() else path
    with _open_table(path) as table:
        return Layout.of(table.schema, str(path), (), columns).has_images


def _layout(
    table: _Table,
    source: str,
    split: str | None,
    roles: Collection[str],
    columns: Mapping[str, str] | None,
    crop: Crop | None,
) -> Layout:
    needed = roles if split is None else {*roles, "split"}
    layout = Layout.of(table.schema, source, needed, columns)
    if split is not None and "split" not in layout.places:
        raise no_split_column(source, split)
    if crop is not None and not layout.can_have_images:
        raise no_images(source, crop)
    return layout


def iter_shards(
    path: str | Path,
    *,
    batch_rows: int,
    split: str | None,
    on_error: str,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
    threads: int = 1,
) -> Iterator[Faces]:
    """Stream a folder of Parquet or Arrow files in batches; see `fer_core.iter_faces`.

    Rows are numbered across all files, in the order of their names; errors name a file and a row in it. Files of other
    splits than `split` are not read.
    """
    source, offset = str(path), 0
    shards = find_shards(Path(path))
    first: Faces | None = None
    named: set[str] = set()
    for shard in shards:
        if None not in (split, shard.split) and shard.split != split:
            offset += _count_rows(shard.file)
            continue
        within = None if shard.split is not None else split
        options: dict[str, Any] = {"split": within, "on_error": on_error, "roles": roles, "columns": columns}
        options |= {"crop": crop, "threads": threads}
        for faces in iter_table(shard.file, batch_rows=batch_rows, named=named, **options):
            faces = _of_shard(faces, shard, source, offset)
            first = first or faces
            _require_alike(faces, first, shard)
            yield faces
        offset += _count_rows(shard.file)
    if first is None:  # all files belong to other splits
        for faces in iter_table(
            shards[0].file, batch_rows=1, split=None, on_error="skip", roles=roles, columns=columns, crop=crop
        ):
            yield replace(_of_shard(faces, shards[0], source, 0).take(slice(0)), rejected=())
            return


def _of_shard(faces: Faces, shard: Shard, source: str, offset: int) -> Faces:
    """Renumber the faces of a file within the folder, and set the split of the file if its rows state none."""
    split = faces.splits
    if split is None and shard.split is not None:
        split = np.full(len(faces), shard.split)
    return replace(faces, rows=faces.rows + offset, splits=split, source=source)


def _require_alike(faces: Faces, first: Faces, shard: Shard) -> None:
    for name in ("labels", "ids", "splits"):
        if (getattr(faces, name) is None) != (getattr(first, name) is None):
            missing = "no" if getattr(faces, name) is None else "a"
            message = f"has {missing} column of {name}, unlike the files before it in the folder"
            raise DataError(str(shard.file), message)


def _count_rows(path: Path) -> int:
    with _open_table(path) as table:
        return table.rows if table.rows is not None else sum(len(batch) for batch in table.batches(1 << 30, None))


@contextmanager
def _open_table(path: str | Path) -> Iterator[_Table]:
    source, kind = str(path), table_type(path)
    name = "Parquet" if kind == PARQUET else "Arrow"
    try:
        with open_seekable(path) as file:
            if kind == PARQUET:
                with pq.ParquetFile(file, buffer_size=READ_BUFFER_BYTES, page_checksum_verification=True) as parquet:
                    yield _parquet(parquet)
            else:
                with pa.memory_map(file) if isinstance(file, str) else pa.PythonFile(file, "r") as opened:
                    yield _arrow_stream(opened, file, source) if kind == ARROW_STREAM else _arrow_file(opened)
    except OSError as error:
        raise DataError(source, f"cannot be read: {error.strerror or first_line(error)}") from None
    except UnicodeDecodeError as error:  # in a column name, or in text that Arrow does not check
        raise DataError(source, f"cannot be read as {name}: text is not UTF-8 ({error.reason})") from None
    except pa.ArrowException as error:
        raise DataError(source, f"cannot be read as {name}: {first_line(error)}") from None


def _parquet(file: Any) -> _Table:
    def batches(batch_rows: int, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        yield from file.iter_batches(min(batch_rows, max(file.metadata.num_rows, 1)), columns=columns)

    return _Table(file.schema_arrow, file.metadata.num_rows, batches)


def _arrow_file(opened: Any) -> _Table:
    reader = pa.ipc.open_file(opened)
    whole = (reader.get_batch(number) for number in range(reader.num_record_batches))
    return _Table(reader.schema, None, lambda rows, columns: _sliced(whole, rows, columns))


def _arrow_stream(opened: Any, file: str | IO[bytes], source: str) -> _Table:
    opened.seek(max(opened.size() - len(END_OF_STREAM), 0))
    if opened.read(len(END_OF_STREAM)) != END_OF_STREAM:
        raise DataError(source, "the Arrow IPC stream is truncated: it has no end-of-stream marker")
    opened.seek(0)
    reader = pa.ipc.open_stream(opened)
    return _Table(reader.schema, None, lambda rows, columns: _sliced(reader, rows, columns))


def _sliced(batches: Any, batch_rows: int, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    """Cut record batches to `batch_rows`, and check their offsets, which Arrow does not."""
    for batch in batches:
        batch = batch if columns is None else batch.select(columns)
        batch.validate(full=True)
        for start in range(0, batch.num_rows, batch_rows):
            yield batch.slice(start, batch_rows)


def _faces(
    batch: pa.RecordBatch,
    layout: Layout,
    row: int,
    source: str,
    decode_pixels: Decoder,
    *,
    split: str | None,
    on_error: str,
) -> Faces:
    """Validate a batch, whose first row is `row`, and return its valid faces, only those of `split` if given."""
    cells = {role: _decode(batch, layout, role, decode_pixels) for role in layout.places}
    keep = np.logical_and.reduce([column.good for column in cells.values()])
    rejected = []
    for i in np.flatnonzero(~keep).tolist():
        role = next(role for role, column in cells.items() if not column.good[i])
        name = layout.names[layout.places[role] + cells[role].place(i)]
        rejected.append(DataError(source, cells[role].wrong(i), row=row + i, column=name))
        if on_error == "fail":
            raise rejected[0]
    if split is not None:
        keep &= cells["split"].values == split

    def kept(role: str) -> Any:
        return cells[role].values[keep] if role in cells else None

    return Faces(
        images=kept("pixels").reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
        rows=row + np.flatnonzero(keep),
        labels=kept("label"),
        ids=kept("id"),
        splits=kept("split"),
        source=source,
        first_row=1,
        rejected=tuple(rejected),
    )


def _decode(batch: pa.RecordBatch, layout: Layout, role: str, decode_pixels: Decoder) -> Cells:
    if role == "pixels" and layout.wide is not None:
        return decode_pixel_columns([plain(layout.column(batch, place)) for place in layout.wide], batch.num_rows)
    column = plain(layout.column(batch, layout.places[role]))
    if role == "label":
        return decode_labels(column, layout.class_names)
    return {"pixels": decode_pixels, "split": decode_splits, "id": decode_ids}[role](column)

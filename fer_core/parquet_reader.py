"""Faces from Parquet: pixels as bytes, as a list of integers or as text, streamed, each wrong row named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import types

from fer_core import csv_decoder, csv_lines
from fer_core.columns import COLUMNS, ID_EXPECTED, LABEL_EXPECTED, MAX_ID_LENGTH, ROLES, USAGE_EXPECTED
from fer_core.errors import DataError
from fer_core.expressions import EXPRESSIONS, IMAGE_SIZE, PIXELS, USAGES
from fer_core.faces import Faces, no_usage_column
from fer_core.pixel_text import EXPECTED, decode_face, explain

READ_BUFFER_BYTES: Final = 1 << 20
"""How much of a column is in memory packed; without a bound it is the whole row group, and that may be the file."""


class _Cells(NamedTuple):
    """A column of one batch, decoded.

    `good` tells the rows that hold what they should; `values` of the others are undefined, and `wrong` says of one of
    them what was expected and what was found.
    """

    values: NDArray[Any]
    good: NDArray[np.bool_]
    wrong: Callable[[int], str]


def iter_parquet(
    path: str | Path,
    *,
    batch_rows: int,
    usage: str | None,
    on_error: str,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Faces]:
    """Stream a Parquet file as batches; see `fer_core.iter_faces`, which this serves. The first row is row 1."""
    source = str(path)
    try:
        with pq.ParquetFile(source, buffer_size=READ_BUFFER_BYTES, page_checksum_verification=True) as file:
            columns = recognize(file.schema_arrow, source)
            if usage is not None and "usage" not in columns:
                raise no_usage_column(source, usage)
            row, sent = 1, False
            for batch in file.iter_batches(min(batch_rows, max(file.metadata.num_rows, 1))):
                faces = _faces(batch, columns, row, source, usage=usage, on_error=on_error)
                row += batch.num_rows
                if len(faces) or faces.rejected:
                    yield faces
                    sent = True
            if not sent:
                nothing = pa.RecordBatch.from_pylist([], schema=file.schema_arrow)
                yield _faces(nothing, columns, row, source, usage=usage, on_error=on_error)
    except OSError as error:
        raise DataError(source, f"cannot be read: {error.strerror or _first_line(error)}") from None
    except pa.ArrowException as error:
        raise DataError(source, f"cannot be read as Parquet: {_first_line(error)}") from None


def recognize(schema: pa.Schema, source: str) -> dict[str, str]:
    """Return the name of the column in each role, in the order in which they are checked.

    Raises
    ------
    DataError
        If a column is none of `COLUMNS` or of a type that cannot hold its role, if two have one role, or if none
        holds pixels.
    """
    expected = "expected a column 'pixels' or 'feature', else only 'emotion', 'label', 'usage', 'id'"
    found: dict[str, str] = {}
    for name in schema.names:
        role = COLUMNS.get(name.strip(" ").lower())
        if role is None:
            raise DataError(source, f"{expected}; found {name[:40]!r}")
        if role in found:
            raise DataError(source, f"expected one column of {role}, found {found[role]!r} and {name!r}")
        found[role] = name
    if "pixels" not in found:
        raise DataError(source, f"{expected}; found {', '.join(map(repr, schema.names)) or 'none'}")
    for role, name in found.items():
        kind = schema.field(name).type
        holds, wanted = _TYPES[role]
        if not holds(kind.value_type if types.is_dictionary(kind) else kind):
            raise DataError(source, f"expected {wanted}, found {kind}", column=name)
    return {role: found[role] for role in _DECODERS if role in found}


def _faces(
    batch: pa.RecordBatch, columns: dict[str, str], row: int, source: str, *, usage: str | None, on_error: str
) -> Faces:
    """Validate one batch, whose first row is `row`, and return its good faces, of `usage` alone where it is given."""
    cells = {role: _DECODERS[role](_plain(batch.column(name))) for role, name in columns.items()}
    keep = np.logical_and.reduce([column.good for column in cells.values()])
    rejected = []
    for i in np.flatnonzero(~keep).tolist():
        role = next(role for role, column in cells.items() if not column.good[i])
        rejected.append(DataError(source, cells[role].wrong(i), row=row + i, column=columns[role]))
        if on_error == "fail":
            raise rejected[0]
    if usage is not None:
        keep &= cells["usage"].values == usage

    def kept(role: str) -> Any:
        return cells[role].values[keep] if role in cells else None

    return Faces(
        images=kept("pixels").reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
        rows=row + np.flatnonzero(keep),
        labels=kept("label"),
        ids=kept("id"),
        usage=kept("usage"),
        source=source,
        first_row=1,
        rejected=tuple(rejected),
    )


def _plain(column: pa.Array) -> pa.Array:
    """Return a column without dictionary, text and bytes with offsets of 64 bits."""
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if _is_bytes(column.type) else column


def _pixels(column: pa.Array) -> _Cells:
    if _is_list(column.type):
        return _pixels_of_lists(column)
    if _is_text(column.type):
        return _pixels_of_text(column)
    return _pixels_of_bytes(column)


def _pixels_of_bytes(column: pa.Array) -> _Cells:
    good = _mask(pc.equal(pc.binary_length(column), PIXELS))
    offsets, data = _buffers(column.filter(pa.array(good)))
    images = np.empty((len(column), PIXELS), np.uint8)
    images[good] = data[offsets[0] : offsets[-1]].reshape(-1, PIXELS)

    def wrong(i: int) -> str:
        return f"expected {PIXELS} bytes, found {len(column[i].as_py()) if column[i].is_valid else 'null'}"

    return _Cells(images, good, wrong)


def _pixels_of_lists(column: pa.Array) -> _Cells:
    good = _mask(pc.equal(pc.list_value_length(column), PIXELS))
    flat = column.filter(pa.array(good)).flatten()
    values = flat.fill_null(0).to_numpy().reshape(-1, PIXELS)
    fits = np.ones(len(values), np.bool_)
    if values.dtype != np.uint8:
        fits = (values.min(axis=1) >= 0) & (values.max(axis=1) <= 255)
    if flat.null_count:
        fits &= _mask(flat.is_valid()).reshape(-1, PIXELS).all(axis=1)
    images = np.empty((len(column), PIXELS), np.uint8)
    images[good] = values.astype(np.uint8)
    good[good] = fits

    def wrong(i: int) -> str:
        found = column[i].as_py()
        if found is None or len(found) != PIXELS:
            return f"{EXPECTED}, found {'null' if found is None else len(found)}"
        place = next(n for n, value in enumerate(found) if value is None or not 0 <= value <= 255)
        return f"{EXPECTED}, found {'null' if found[place] is None else found[place]} as value {place + 1}"

    return _Cells(images, good, wrong)


def _pixels_of_text(column: pa.Array) -> _Cells:
    column = column.cast(pa.large_binary())
    # The decoder takes lines of CSV, so what it would take for the end of one, or for quotes, is kept from it.
    plain = _mask(pc.invert(pc.match_substring_regex(column, '["\\r\\n]')))
    good, images = np.zeros_like(plain), np.empty((len(column), PIXELS), np.uint8)
    if plain.any():
        good[plain], images[plain] = _decode_lines(column.filter(pa.array(plain)))
    for i in np.flatnonzero(_mask(column.is_valid()) & ~good).tolist():
        good[i] = decode_face(column[i].as_py(), images[i])

    def wrong(i: int) -> str:
        text = column[i].as_py()
        return f"{EXPECTED}, found null" if text is None else explain(text)

    return _Cells(images, good, wrong)


def _decode_lines(cells: pa.Array) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Decode cells as lines of a CSV of one column; return which are faces in the plain form, and the images."""
    n = len(cells)
    lines = pc.binary_join(pa.ListArray.from_arrays([0, n], cells), pa.scalar(b"\n", cells.type))[0].as_buffer()
    text = bytearray().join((lines, b"\n" * (1 + csv_lines.PADDING)))
    table = np.zeros((n, csv_lines.TABLE_COLUMNS), np.int64)
    images = np.empty((n, PIXELS), np.uint8)
    csv_decoder.decode_lines(text, 0, len(lines) + 1, np.array([csv_lines.PIXEL_CELL]), table, images)
    return table[:, csv_lines.GOOD] == 1, images


def _labels(column: pa.Array) -> _Cells:
    values = column.fill_null(0).to_numpy()
    good = _mask(column.is_valid()) & (values >= 0) & (values < len(EXPRESSIONS))
    return _Cells(values.astype(np.int64), good, lambda i: f"{LABEL_EXPECTED}, found {_shown(column[i])}")


def _usages(column: pa.Array) -> _Cells:
    text = _text(column)
    good = _mask(pc.is_in(text, value_set=pa.array(USAGES, text.type)))
    return _Cells(_strings(text), good, lambda i: f"{USAGE_EXPECTED}, found {_shown(text[i])}")


def _ids(column: pa.Array) -> _Cells:
    text = _text(column.cast(pa.large_string()))
    length = pc.utf8_length(text)
    fits = pc.and_(pc.greater(length, 0), pc.less_equal(length, MAX_ID_LENGTH))
    good = _mask(pc.and_not(fits, pc.match_substring_regex(text, r"[\x00-\x1f]")))
    return _Cells(_strings(text), good, lambda i: f"{ID_EXPECTED}, found {_shown(text[i])}")


def _text(column: pa.Array) -> pa.Array:
    """Return text without the spaces around it, as in CSV; raise ArrowInvalid where it is not UTF-8."""
    column.validate(full=True)
    return pc.utf8_trim(column, " ")


def _strings(text: pa.Array) -> NDArray[np.str_]:
    # An id over the limit is refused, and must not widen the array for all others either.
    return np.array(pc.utf8_slice_codeunits(text.fill_null(""), 0, MAX_ID_LENGTH).to_pylist(), np.str_)


def _shown(cell: pa.Scalar) -> str:
    value = cell.as_py()
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    return "null" if value is None else str(value)


def _mask(column: pa.Array) -> NDArray[np.bool_]:
    """Return a column of truths as an array of its own, in which null is false."""
    return np.array(column.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _buffers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return where each cell of large binary or text begins, and the last one ends, and the bytes."""
    if not len(column):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return places, np.frombuffer(data or b"", np.uint8)


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    plain = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    return bool(plain or types.is_fixed_size_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _holds_pixels(kind: pa.DataType) -> bool:
    return types.is_integer(kind.value_type) if _is_list(kind) else _is_text(kind) or _is_bytes(kind)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


_TYPES: Final[dict[str, tuple[Callable[[pa.DataType], bool], str]]] = {
    "pixels": (_holds_pixels, f"{PIXELS} bytes, a list of {PIXELS} integers or text as in CSV"),
    "label": (types.is_integer, "integers"),
    "id": (lambda kind: _is_text(kind) or types.is_integer(kind), "text or integers"),
    "usage": (_is_text, "text"),
}
"""By role, which types can hold it, and how that is said."""

_DECODERS: Final[dict[str, Callable[[pa.Array], _Cells]]] = {
    "pixels": _pixels,
    "label": _labels,
    "id": _ids,
    "usage": _usages,
}
"""By role, in the order in which the cells of a row are checked, as in CSV."""

"""Decode the cells of a Parquet or Arrow table by column, and explain invalid ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from fer_core.errors import DataError, shorten
from fer_core.fer2013 import EXPRESSIONS, LABEL_EXPECTED, PIXELS, SPLIT_EXPECTED, label_of, split_of
from fer_core.io.columns import ID_EXPECTED, MAX_ID_LENGTH
from fer_core.io.crop import Crop
from fer_core.io.csv import decoder as csv_decoder
from fer_core.io.csv import lines as csv_lines
from fer_core.io.csv.pixel_text import EXPECTED, decode_face, explain
from fer_core.io.images import cut_faces, read_image
from fer_core.io.tables.layout import is_bytes, is_encoded_image, is_list, is_text

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"


class Cells(NamedTuple):
    """A column of one batch, decoded.

    `values` are undefined in rows that are not `good`; `wrong` returns the error message of such a row, and `place` the
    offset of its invalid column in a table with one column per pixel.
    """

    values: NDArray[Any]
    good: NDArray[np.bool_]
    wrong: Callable[[int], str]
    place: Callable[[int], int] = lambda _: 0


def plain(column: pa.Array) -> pa.Array:
    """Return a column without extension and dictionary, text and bytes with offsets of 64 bits."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.large_binary()) if is_bytes(column.type) else column


def decode_pixels(column: pa.Array, crop: Crop | None = None, threads: int = 1) -> Cells:
    """Decode a column of faces to uint8 (N, 2304).

    Parameters
    ----------
    column : pyarrow.Array
        Faces in any form that `Layout` allows; with `crop`, encoded images.
    crop : Crop, optional
        Cuts the most prominent face from each image.
    threads : int
        Number of threads that cut faces.
    """
    if crop is not None:
        return _cut_pixels(column, crop, threads)
    if is_list(column.type):
        return _pixels_of_lists(column)
    if is_text(column.type):
        return _pixels_of_text(column)
    if is_encoded_image(column.type):
        return _pixels_of_structs(column)
    return _pixels_of_bytes(column)


def decode_pixel_columns(columns: Sequence[pa.Array], rows: int) -> Cells:
    """Decode a table with one column per pixel to uint8 (N, 2304)."""
    images = np.empty((PIXELS, rows), np.uint8)
    first_wrong = np.full(rows, PIXELS)
    for place, column in enumerate(columns):
        values, fits = _gray_levels(column)
        images[place] = values
        first_wrong[~fits & (first_wrong == PIXELS)] = place

    def wrong(i: int) -> str:
        return f"expected an integer in 0..255, found {_shown(columns[first_wrong[i]][i])}"

    return Cells(np.ascontiguousarray(images.T), first_wrong == PIXELS, wrong, lambda i: int(first_wrong[i]))


def decode_labels(column: pa.Array, class_names: Sequence[str] | None) -> Cells:
    """Decode a column of labels to int64 (N,).

    Parameters
    ----------
    column : pyarrow.Array
        Numbers, or names of classes.
    class_names : sequence of str, optional
        Class names that the numbers index, if the file states them; by default the seven expressions.
    """
    if is_text(column.type):
        values, good = _by_text(column, lambda text: label_of(text), -1)
        return Cells(values.astype(np.int64), good, lambda i: f"{LABEL_EXPECTED}, found {_shown(column[i])}")
    numbers = column.fill_null(0).to_numpy(zero_copy_only=False)
    classes = len(EXPRESSIONS) if class_names is None else len(class_names)
    good = _mask(column.is_valid()) & (numbers >= 0) & (numbers < classes)
    if types.is_floating(column.type):
        good &= numbers == np.floor(numbers)
    labels = np.where(good, numbers, 0).astype(np.int64)
    if class_names is not None:
        known = [label_of(name) for name in class_names]
        labels = np.array([-1 if label is None else label for label in known] or [-1], np.int64)[labels]
        good &= labels >= 0

    def wrong(i: int) -> str:
        number = column[i].as_py()
        named = class_names is not None and number is not None and number in range(classes)
        return f"{LABEL_EXPECTED}, found {_shown(column[i])}" + (
            f" for the class {shorten(class_names[int(number)])}" if named and class_names is not None else ""
        )

    return Cells(labels, good, wrong)


def decode_splits(column: pa.Array) -> Cells:
    """Decode a column of splits to str (N,), with the names used here."""
    values, good = _by_text(_text(column), split_of, "")
    return Cells(values.astype(np.str_), good, lambda i: f"{SPLIT_EXPECTED}, found {_shown(column[i])}")


def decode_ids(column: pa.Array) -> Cells:
    """Decode a column of ids to str (N,)."""
    text = _text(column.cast(pa.large_string()))
    length = pc.utf8_length(text)
    fits = pc.and_(pc.greater(length, 0), pc.less_equal(length, MAX_ID_LENGTH))
    good = _mask(pc.and_not(fits, pc.match_substring_regex(text, r"[\x00-\x1f]")))
    # An id over the limit is refused, and must not widen the array.
    ids = np.array(pc.utf8_slice_codeunits(text.fill_null(""), 0, MAX_ID_LENGTH).to_pylist(), np.str_)
    return Cells(ids, good, lambda i: f"{ID_EXPECTED}, found {_shown(text[i])}")


def _pixels_of_structs(column: pa.Array) -> Cells:
    encoded = plain(pc.struct_field(column, "bytes"))
    images = np.empty((len(column), PIXELS), np.uint8)
    good = np.zeros(len(column), np.bool_)
    wrong: dict[int, str] = {}
    for i in range(len(column)):
        _read_encoded(encoded[i].as_py(), i, images, good, wrong)

    def explain_image(i: int) -> str:
        if i in wrong:
            return wrong[i]
        cell = column[i].as_py() or {}
        path = cell.get("path")
        return f"expected an encoded image, found {f'only its path {shorten(path)}' if path else 'null'}"

    return Cells(images, good, explain_image)


def _cut_pixels(column: pa.Array, crop: Crop, threads: int) -> Cells:
    encoded = plain(pc.struct_field(column, "bytes")) if is_encoded_image(column.type) else column
    images = np.empty((len(column), PIXELS), np.uint8)
    wrong = {i: "expected an encoded image, found null" for i in range(len(column)) if not encoded[i].is_valid}
    present = [i for i in range(len(column)) if i not in wrong]
    found = cut_faces((encoded[i].as_py() for i in present), crop.main_face, threads)
    for i, faces in zip(present, found, strict=True):
        if isinstance(faces, DataError):
            wrong[i] = faces.message
        else:
            images[i] = faces[0].reshape(-1)
    good = np.array([i not in wrong for i in range(len(column))], np.bool_)
    return Cells(images, good, lambda i: wrong[i])


def _read_encoded(
    data: bytes | None, i: int, images: NDArray[np.uint8], good: NDArray[np.bool_], wrong: dict[int, str]
) -> None:
    if data is None:
        return
    try:
        images[i] = read_image(data).reshape(-1)
        good[i] = True
    except DataError as error:
        wrong[i] = error.message


def _pixels_of_bytes(column: pa.Array) -> Cells:
    whole = pc.equal(pc.binary_length(column), PIXELS)
    jpeg = pc.and_(pc.starts_with(column, _JPEG), pc.or_(pc.invert(whole), pc.ends_with(column, _JPEG_END)))
    encoded = _mask(pc.or_(pc.starts_with(column, _PNG), jpeg))
    good = _mask(whole) & ~encoded
    offsets, data = _buffers(column.filter(pa.array(good)))
    images = np.empty((len(column), PIXELS), np.uint8)
    images[good] = data[offsets[0] : offsets[-1]].reshape(-1, PIXELS)
    wrong: dict[int, str] = {}
    for i in np.flatnonzero(encoded).tolist():
        _read_encoded(column[i].as_py(), i, images, good, wrong)

    def explain_bytes(i: int) -> str:
        found = len(column[i].as_py()) if column[i].is_valid else "null"
        return wrong.get(i, f"expected {PIXELS} bytes, found {found}")

    return Cells(images, good, explain_bytes)


def _gray_levels(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a column of numbers as gray levels, and which of them are integers in 0..255."""
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    fits = np.ones(len(values), np.bool_)
    if values.dtype != np.uint8:
        fits = (values >= 0) & (values <= 255)
        if types.is_floating(column.type):
            fits &= values == np.floor(values)
        values = np.where(fits, values, 0).astype(np.uint8)
    if column.null_count:
        fits = fits & _mask(column.is_valid())
    return values, fits


def _pixels_of_lists(column: pa.Array) -> Cells:
    good = _mask(pc.equal(pc.list_value_length(column), PIXELS))
    values, fits = _gray_levels(column.filter(pa.array(good)).flatten())
    images = np.empty((len(column), PIXELS), np.uint8)
    images[good] = values.reshape(-1, PIXELS)
    good[good] = fits.reshape(-1, PIXELS).all(axis=1)

    def wrong(i: int) -> str:
        found = column[i].as_py()
        if found is None or len(found) != PIXELS:
            return f"{EXPECTED}, found {'null' if found is None else len(found)}"
        place = next(n for n, value in enumerate(found) if value is None or not (0 <= value <= 255 and value % 1 == 0))
        return f"{EXPECTED}, found {'null' if found[place] is None else found[place]} as value {place + 1}"

    return Cells(images, good, wrong)


def _pixels_of_text(column: pa.Array) -> Cells:
    column = column.cast(pa.large_binary())
    # The decoder expects lines of CSV, so cells with line ends or quotes are decoded separately.
    simple = _mask(pc.invert(pc.match_substring_regex(column, '["\\r\\n]')))
    good, images = np.zeros_like(simple), np.empty((len(column), PIXELS), np.uint8)
    if simple.any():
        good[simple], images[simple] = _decode_lines(column.filter(pa.array(simple)))
    for i in np.flatnonzero(_mask(column.is_valid()) & ~good).tolist():
        good[i] = decode_face(column[i].as_py(), images[i])

    def wrong(i: int) -> str:
        text = column[i].as_py()
        return f"{EXPECTED}, found null" if text is None else explain(text)

    return Cells(images, good, wrong)


def _decode_lines(cells: pa.Array) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Decode cells as lines of a CSV with one column; return a mask of faces in the plain form, and the images."""
    n = len(cells)
    lines = pc.binary_join(pa.ListArray.from_arrays([0, n], cells), pa.scalar(b"\n", cells.type))[0].as_buffer()
    text = bytearray().join((lines, b"\n" * (1 + csv_lines.PADDING)))  # the compiled decoder does not accept bytes
    table = np.zeros((n, csv_lines.TABLE_COLUMNS), np.int64)
    images = np.empty((n, PIXELS), np.uint8)
    csv_decoder.decode_lines(text, 0, len(lines) + 1, np.array([csv_lines.PIXEL_CELL]), table, images)
    return table[:, csv_lines.GOOD] == 1, images


def _by_text(column: pa.Array, meaning: Callable[[str], Any], none: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the meaning of each cell of text, and a mask of known ones; each distinct text is looked up once."""
    column.validate(full=True)  # text in a file may be invalid UTF-8
    encoded = column.dictionary_encode()
    found = [meaning(text) for text in encoded.dictionary.to_pylist()]
    values = np.array([none if value is None else value for value in found] or [none])
    known = np.array([value is not None for value in found] or [False])
    places = encoded.indices.fill_null(0).to_numpy()
    return values[places], known[places] & _mask(column.is_valid())


def _text(column: pa.Array) -> pa.Array:
    """Return text without the spaces around it, as in CSV; raise ArrowInvalid if it is not UTF-8."""
    column.validate(full=True)
    return pc.utf8_trim(column, " ")


def _shown(cell: pa.Scalar) -> str:
    value = cell.as_py()
    if isinstance(value, str):
        return shorten(value)
    return "null" if value is None else str(value)


def _mask(column: pa.Array) -> NDArray[np.bool_]:
    """Return a Boolean column as a new array, with false for null."""
    return np.array(column.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _buffers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the offsets of the cells of large binary or text, and the bytes."""
    if not len(column):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return places, np.frombuffer(data or b"", np.uint8)

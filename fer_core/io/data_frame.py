"""Faces from a pandas DataFrame, which is used through its own methods: this module never imports pandas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError, shorten
from fer_core.faces import Faces, no_row_of_split, no_split_column
from fer_core.fer2013 import IMAGE_SIZE, LABEL_EXPECTED, PIXELS, SPLIT_EXPECTED, label_of, split_of
from fer_core.io.columns import ID_EXPECTED, assign_roles, id_of, pixel_columns
from fer_core.io.csv.pixel_text import EXPECTED, EXPECTED_VALUE, decode_face, explain
from fer_core.io.csv.vectors import GROUP, decode_faces
from fer_core.io.images import is_encoded, read_image

SOURCE: Final = "DataFrame"


class DataFrame(Protocol):
    """The part of `pandas.DataFrame` that is used here."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""

    @property
    def index(self) -> Any:
        """Names of the rows."""

    @property
    def iloc(self) -> Any:
        """Access by position."""


class _Table(NamedTuple):
    """A DataFrame, the names of its columns as text, and the rows to read, by position."""

    frame: DataFrame
    names: list[str]
    rows: NDArray[np.int64]

    def cells(self, place: int) -> list[Any]:
        return self.frame.iloc[self.rows, place].tolist()  # type: ignore[no-any-return]

    def wrong(self, i: int, place: int, message: str) -> DataError:
        row = int(self.rows[i])
        name = self.frame.index[row]
        where = "" if isinstance(name, Integral) and name == row else f" (index {_shown(name)})"
        return DataError(SOURCE, message + where, row=row, column=self.names[place])


def faces_of_frame(
    frame: DataFrame,
    *,
    split: str | None,
    limit: int | None,
    roles: Collection[str],
    columns: Mapping[str, str] | None,
) -> Faces:
    """Return the faces of a DataFrame; see `fer_core.as_faces`."""
    names = [str(name) for name in frame.columns]
    wanted = set(roles) | ({"split"} if split is not None else set())
    places = assign_roles(names, SOURCE, roles=wanted, columns=columns)
    table = _Table(frame, names, np.arange(len(frame.index)))
    splits = _decode(table, places["split"], _split, SPLIT_EXPECTED) if "split" in places else None
    if split is not None:
        table, splits = _of_split(table, splits, split)
    if limit is not None:
        table = table._replace(rows=table.rows[:limit])
        splits = None if splits is None else splits[:limit]

    def decoded(role: str, meaning: Callable[[Any], Any], expected: str) -> list[Any] | None:
        return _decode(table, places[role], meaning, expected) if role in places and role in roles else None

    labels = decoded("label", _label, LABEL_EXPECTED)
    ids = decoded("id", _id, ID_EXPECTED)
    wide = None if "pixels" in (columns or {}) else pixel_columns(names, SOURCE)
    images = _pixels_of_cells(table, places["pixels"]) if wide is None else _pixels_of_columns(table, wide)
    return Faces(
        images=images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
        rows=table.rows,
        labels=None if labels is None else np.array(labels, np.int64),
        ids=None if ids is None else np.array(ids, np.str_),
        splits=None if splits is None or "split" not in roles else np.array(splits, np.str_),
        source=SOURCE,
        first_row=0,
    )


def _of_split(table: _Table, splits: list[str] | None, split: str) -> tuple[_Table, list[str]]:
    if splits is None:
        raise no_split_column(SOURCE, split)
    split = split_of(split) or split
    rows = np.flatnonzero(np.array(splits, np.str_) == split)
    if not len(rows):
        raise no_row_of_split(SOURCE, split, splits)
    return table._replace(rows=rows), [split] * len(rows)


def _decode(table: _Table, place: int, meaning: Callable[[Any], Any], expected: str) -> list[Any]:
    """Return what each cell of a column means; raise DataError at the first one that means nothing."""
    values = []
    for i, cell in enumerate(table.cells(place)):
        value = meaning(cell)
        if value is None:
            raise table.wrong(i, place, f"{expected}, found {_shown(cell)}")
        values.append(value)
    return values


def _label(cell: Any) -> int | None:
    if isinstance(cell, Real) and not isinstance(cell, bool):
        number = float(cell)
        return label_of(str(int(number))) if number.is_integer() else None
    return label_of(cell) if isinstance(cell, str) else None


def _split(cell: Any) -> str | None:
    return split_of(cell) if isinstance(cell, str) else None


def _id(cell: Any) -> str | None:
    if isinstance(cell, bool) or not isinstance(cell, str | Integral):
        return None
    return id_of(str(cell))


def _pixels_of_columns(table: _Table, wide: range) -> NDArray[np.uint8]:
    values = table.frame.iloc[table.rows, wide.start : wide.stop].to_numpy()
    images, fits = _gray_levels(values)
    if not fits.all():
        i, pixel = np.argwhere(~fits)[0].tolist()
        raise table.wrong(i, wide[pixel], f"{EXPECTED_VALUE}, found {_shown(values[i, pixel])}")
    return images


def _pixels_of_cells(table: _Table, place: int) -> NDArray[np.uint8]:
    cells = table.cells(place)
    images = np.empty((len(cells), PIXELS), np.uint8)
    text = np.array([i for i, cell in enumerate(cells) if isinstance(cell, str)], np.intp)
    good = np.zeros(len(cells), np.bool_)
    for first in range(0, len(text), GROUP):  # nearly all are in the plain form, and several decode at once
        group = text[first : first + GROUP]
        decoded = np.empty((len(group), PIXELS), np.uint8)
        good[group] = decode_faces([_bytes_of(cells[i].strip(" ")) for i in group], decoded)
        images[group] = decoded
    for i in np.flatnonzero(~good).tolist():
        if (problem := _decode_cell(cells[i], images[i])) is not None:
            raise table.wrong(i, place, problem)
    return images


def _decode_cell(cell: Any, pixels: NDArray[np.uint8]) -> str | None:
    """Decode a cell into `pixels`; return what is wrong with it, if anything."""
    if isinstance(cell, str):
        text = _bytes_of(cell)
        return None if decode_face(text, pixels) else explain(text)
    if isinstance(cell, bytes):
        return _decode_bytes(cell, pixels)
    if not isinstance(cell, list | tuple | np.ndarray):
        return f"{EXPECTED}, found {_shown(cell)}"
    values = _array_of(cell)
    if values.shape not in ((PIXELS,), (IMAGE_SIZE, IMAGE_SIZE)):
        return f"{EXPECTED}, found {len(values) if values.ndim == 1 else f'an array of shape {values.shape}'}"
    levels, fits = _gray_levels(values.reshape(-1))
    if not fits.all():
        wrong = int(fits.argmin())
        return f"{EXPECTED}, found {_shown(values.reshape(-1)[wrong])} as value {wrong + 1}"
    pixels[:] = levels
    return None


def _decode_bytes(cell: bytes, pixels: NDArray[np.uint8]) -> str | None:
    if is_encoded(cell):
        try:
            pixels[:] = read_image(cell).reshape(-1)
        except DataError as error:
            return error.message
        return None
    if len(cell) != PIXELS:
        return f"expected {PIXELS} bytes, found {len(cell)}"
    pixels[:] = np.frombuffer(cell, np.uint8)
    return None


def _array_of(cell: list[Any] | tuple[Any, ...] | NDArray[Any]) -> NDArray[Any]:
    """Return a cell as an array of numbers or, if it contains anything else, of objects."""
    try:
        values = np.asarray(cell)
    except ValueError:  # nested lists of different lengths
        return np.fromiter(cell, object, len(cell))
    return values if values.dtype.kind in "uif" else np.array(cell, object)


def _gray_levels(values: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return gray levels, and which of `values` are integers, or whole floats, in 0..255."""
    if values.dtype == np.uint8:
        return values, np.ones(values.shape, np.bool_)
    if values.dtype.kind not in "uif":
        numbers = [
            value if isinstance(value, Real) and not isinstance(value, bool) else np.nan for value in values.flat
        ]
        values = np.array(numbers, np.float64).reshape(values.shape)
    fits = (values >= 0) & (values <= 255)
    fits &= values == np.floor(values)
    return np.where(fits, values, 0).astype(np.uint8), fits


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _shown(value: Any) -> str:
    return shorten(value) if isinstance(value, str) else f"{value!s:.40}"

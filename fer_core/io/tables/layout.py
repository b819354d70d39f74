"""Roles of the columns of a Parquet or Arrow table, and the types that a role allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from fer_core.errors import DataError
from fer_core.fer2013 import PIXELS
from fer_core.io.columns import COLUMNS, assign_roles, pixel_columns

IMAGE_NAMES: Final = ("image", "img")
"""Names in lower case of columns of encoded images, as in data sets of Hugging Face."""


@dataclass(frozen=True)
class Layout:
    """Roles of the columns of a table.

    Attributes
    ----------
    names : tuple of str
        Names of all columns, in order.
    places : dict of str to int
        Position of the column of each role, in the order in which the cells of a row are checked.
    wide : range or None
        Positions of the columns of a table with one column per pixel.
    class_names : tuple of str or None
        Class names that the labels index, if the file states them (`ClassLabel` of Hugging Face).
    pixels : pyarrow.DataType
        Type of the first column of pixels.
    """

    names: tuple[str, ...]
    places: dict[str, int]
    wide: range | None
    class_names: tuple[str, ...] | None
    pixels: pa.DataType

    @classmethod
    def of(cls, schema: pa.Schema, source: str, roles: Collection[str], columns: Mapping[str, str] | None) -> Layout:
        """Recognize the columns of a table.

        Raises
        ------
        DataError
            As in `assign_roles`, or if the type of a column does not fit its role.
        """
        names = tuple(schema.names)
        chosen = dict(columns or {})
        if "pixels" not in chosen and (image := _image_column(schema)) is not None:
            chosen["pixels"] = image
        places = assign_roles(names, source, roles=roles, columns=chosen)
        wide = None if "pixels" in chosen else pixel_columns(names, source)
        layout = cls(
            names=names,
            places={role: places[role] for role in _TYPES if role in places},
            wide=wide,
            class_names=_class_names(schema, names[places["label"]]) if "label" in places else None,
            pixels=plain_type(schema.field(places["pixels"]).type),
        )
        for role, place in layout.places.items():
            for one in wide if wide is not None and role == "pixels" else (place,):
                holds, wanted = _WIDE if wide is not None and role == "pixels" else _TYPES[role]
                if not holds(plain_type(schema.field(one).type)):
                    raise DataError(source, f"expected {wanted}, found {schema.field(one).type}", column=names[one])
        return layout

    @property
    def has_images(self) -> bool:
        """Whether the column of pixels consists of images as Hugging Face stores them."""
        return self.wide is None and is_encoded_image(self.pixels)

    @property
    def can_have_images(self) -> bool:
        """Whether the column of pixels can consist of encoded images."""
        return self.wide is None and (is_encoded_image(self.pixels) or is_bytes(self.pixels))

    @property
    def read(self) -> set[int]:
        """Positions of the columns that are read."""
        return {*self.places.values(), *(self.wide or ())}

    def to_read(self) -> list[str] | None:
        """Return the names of the columns to read; None, for all of them, if two have the same name."""
        if len(set(self.names)) < len(self.names):
            return None
        return [self.names[place] for place in sorted(self.read)]

    def column(self, batch: pa.RecordBatch, place: int) -> pa.Array:
        """Return the column of `batch` at a position in the table; `batch` has all columns or those in `to_read`."""
        return batch.column(place if batch.num_columns == len(self.names) else self.names[place])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves, without an extension or a dictionary."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is one of the types of text."""
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Return whether a type is one of the types of bytes."""
    plain = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    return bool(plain or types.is_fixed_size_binary(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is one of the types of lists."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_encoded_image(kind: pa.DataType) -> bool:
    """Return whether a type is a struct with the bytes of an image, as Hugging Face stores them."""
    return bool(types.is_struct(kind) and any(field.name == "bytes" and is_bytes(field.type) for field in kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _holds_pixels(kind: pa.DataType) -> bool:
    return _is_number(kind.value_type) if is_list(kind) else is_text(kind) or is_bytes(kind) or is_encoded_image(kind)


def _image_column(schema: pa.Schema) -> str | None:
    """Return the name of the column of encoded images, if no column has a name of pixels in `COLUMNS`."""
    if any(COLUMNS.get(name.strip(" ").lower()) == "pixels" for name in schema.names):
        return None
    images = [
        field.name
        for field in schema
        if field.name.strip(" ").lower() in IMAGE_NAMES
        and (is_encoded_image(plain_type(field.type)) or is_bytes(plain_type(field.type)))
    ]
    return images[0] if len(images) == 1 else None


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Return the class names of a `ClassLabel` column from the metadata written by Hugging Face's `datasets`."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return tuple(map(str, names)) if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


_TYPES: Final[dict[str, tuple[Callable[[pa.DataType], bool], str]]] = {
    "pixels": (
        _holds_pixels,
        f"{PIXELS} bytes, a list of {PIXELS} integers or whole floats, text as in CSV, or encoded images",
    ),
    "label": (lambda kind: is_text(kind) or _is_number(kind), "integers, whole floats or text"),
    "id": (lambda kind: is_text(kind) or bool(types.is_integer(kind)), "text or integers"),
    "split": (is_text, "text"),
}
"""For each role, in the order in which cells are checked, a test of its types and their names."""

_WIDE: Final = (_is_number, "integers or whole floats")

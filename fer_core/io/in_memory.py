"""Faces from a path, an array, images or a DataFrame."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import ConfigError, DataError
from fer_core.faces import Faces
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.columns import ROLES
from fer_core.io.crop import Crop, no_images
from fer_core.io.data_frame import DataFrame, faces_of_frame
from fer_core.io.images import NotAlignedError, cut_faces, gray_levels
from fer_core.io.reader import first_faces, read_faces

if TYPE_CHECKING:
    from PIL import Image

FacesLike: TypeAlias = Union[
    str, "os.PathLike[str]", Faces, NDArray[np.uint8], "Image.Image", "Sequence[Image.Image]", DataFrame
]
"""What `as_faces` accepts."""

ACCEPTED: Final = "a path, Faces, a uint8 array, PIL images or a pandas DataFrame"


def as_faces(
    data: FacesLike,
    *,
    split: str | None = None,
    limit: int | None = None,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
) -> Faces:
    """Convert data to `Faces`.

    Parameters
    ----------
    data : path, Faces, ndarray, PIL image, sequence of PIL images or pandas DataFrame
        A path is read by `read_faces`. An array is uint8 of shape (48, 48) or (N, 48, 48). Images are gray and 48x48;
        they may be stored in color. A DataFrame has a column `pixels` or `feature`, whose cells are text as in a CSV,
        lists, arrays or bytes, or 2,304 columns `pixel0` to `pixel2303`; and optionally the columns of labels, splits
        and ids that a CSV can have. Other columns of a DataFrame are ignored.
    split : str, optional
        Keep the faces of this split only.
    limit : int, optional
        Keep the first `limit` faces only.
    roles : collection of {"label", "split", "id"}
        What to read besides pixels, from a path or a DataFrame.
    columns : mapping of str to str, optional
        Role to column name, for tables whose columns have other names.
    crop : Crop, optional
        Functions that cut faces from images, as in `fer_core.iter_faces`. `data` is then a path, an image of any size,
        as PIL image or as uint8 array of shape (H, W) or (H, W, 3), or a sequence of such images; each face in them is
        one face.

    Returns
    -------
    Faces
        Faces from memory are numbered from 0: `rows` contains their positions.

    Raises
    ------
    DataError
        If `data` does not contain such faces; the error names the position and the column.
    ConfigError
        If `limit` is below 1, `columns` is given for data without columns, or `crop` for data without images.

    Examples
    --------
    >>> from fer_core import as_faces
    >>> as_faces(np.zeros((3, 48, 48), np.uint8)).rows
    array([0, 1, 2])
    >>> as_faces("faces.csv", split="PublicTest", limit=5).images.shape
    (5, 48, 48)
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"expected at least 1, found {limit}", parameter="limit")
    if isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        if limit is None:
            return read_faces(path, split, roles=roles, columns=columns, crop=crop)
        return first_faces(path, split, limit, roles=roles, columns=columns, crop=crop)
    if crop is not None and (isinstance(data, Faces) or _is_a(data, "pandas", "DataFrame")):
        raise no_images(type(data).__name__, crop)
    if _is_a(data, "pandas", "DataFrame"):
        return faces_of_frame(data, split=split, limit=limit, roles=roles, columns=columns)  # type: ignore[arg-type]
    if columns:
        raise ConfigError(f"expected none, as {type(data).__name__} has no columns", parameter="columns")
    if isinstance(data, Faces):
        faces = data
    else:
        faces = _faces_of_images(data) if crop is None else _cut_from_images(data, crop)
    if split is not None:
        faces = faces.of_split(split)
    return faces if limit is None else faces.take(slice(limit))


def _faces_of_images(data: Any) -> Faces:
    if isinstance(data, np.ndarray):
        images = _checked(data)
    elif _is_image(data):
        images = _pixels(data, "image")[None]
    elif isinstance(data, Sequence) and not isinstance(data, bytes | bytearray | memoryview):
        levels = [_pixels(image, f"image {place}") for place, image in enumerate(data)]
        images = np.array(levels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    else:
        raise DataError("data", f"expected {ACCEPTED}, found {type(data).__name__}")
    return Faces(images, np.arange(len(images)), source="images", first_row=0)


def _cut_from_images(data: Any, crop: Crop) -> Faces:
    several = isinstance(data, Sequence) and not isinstance(data, bytes | bytearray | memoryview)
    images: list[NDArray[np.uint8]] = []
    for place, found in enumerate(cut_faces(data if several else [data], crop.all_faces)):
        if isinstance(found, DataError):
            raise DataError(f"image {place}" if several else "image", found.message)
        images += found
    pixels = np.array(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return Faces(pixels, np.arange(len(images)), source="images", first_row=0)


def _checked(array: NDArray[Any]) -> NDArray[np.uint8]:
    images = array[None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        expected = f"expected uint8 of shape ({IMAGE_SIZE}, {IMAGE_SIZE}) or (N, {IMAGE_SIZE}, {IMAGE_SIZE})"
        raise DataError("array", f"{expected}, found {array.dtype} of shape {array.shape}")
    return images


def _pixels(image: Any, source: str) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.shape != (IMAGE_SIZE, IMAGE_SIZE):
            expected = f"expected uint8 of shape ({IMAGE_SIZE}, {IMAGE_SIZE})"
            raise DataError(source, f"{expected}, found {image.dtype} of shape {image.shape}")
        return image
    if not _is_image(image):
        raise DataError(source, f"expected a PIL image or a uint8 array (48, 48), found {type(image).__name__}")
    try:
        return gray_levels(image, source)
    except NotAlignedError as error:
        raise error.with_remedy() from None
    except (OSError, ValueError) as error:  # Pillow decodes the pixels of an opened file on first use
        raise DataError(source, f"expected an image that can be decoded ({error})") from None


def _is_image(data: Any) -> bool:
    return _is_a(data, "PIL.Image", "Image")


def _is_a(data: Any, module: str, name: str) -> bool:
    """Return whether `data` is an instance of `module.name`, without importing the module."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(data, kind)

"""Faces in any form, and results in the matching one: pandas objects for a DataFrame, else arrays."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.compression import is_image
from fer_core.io.crop import ALIGNED, DETECT
from fer_core.io.file_types import PICTURES

if TYPE_CHECKING:
    from fer_core.io.in_memory import FacesLike

FACE: Final = (IMAGE_SIZE, IMAGE_SIZE)


def images_of(data: FacesLike, faces: str | None = None) -> NDArray[np.uint8]:
    """Return the images of faces in any form that `fer_core.as_faces` accepts, uint8 (N, 48, 48).

    Labels are not read, because an invalid label must not keep a face from being scored.

    Parameters
    ----------
    data : FacesLike
        Faces, or pictures.
    faces : {"aligned", "detect", "whole"}, optional
        How to take faces from pictures; by default, `detect` for pictures that are not 48x48 pixels, else `aligned`.
    """
    from fer_core.io.in_memory import as_faces
    from fer_infer.photos.crops import crop_for

    if isinstance(data, str | os.PathLike):
        data = os.path.expanduser(data)  # noqa: PTH111 - may be `-`
    if faces is None:
        faces = DETECT if _is_photo(data) else ALIGNED
    return as_faces(data, roles=(), crop=crop_for(faces)).images


def _is_photo(data: Any) -> bool:
    """Return whether data are pictures, in memory or in one file, rather than faces of 48x48 pixels."""
    if isinstance(data, str | os.PathLike):
        return is_image(os.fspath(data), PICTURES) and _is_another_size(data)
    if isinstance(data, list | tuple):
        return any(map(_is_photo, data))
    if isinstance(data, np.ndarray):
        is_color = data.ndim == 3 and data.shape[2] in (3, 4)
        return (data.ndim == 2 or is_color) and FACE not in (data.shape, data.shape[1:])
    size = getattr(data, "size", None)  # of a PIL image
    return isinstance(size, tuple) and size != FACE


def _is_another_size(path: str | os.PathLike[str]) -> bool:
    from fer_core.io.images import NotAlignedError, read_image

    try:
        read_image(Path(path))
    except NotAlignedError:
        return True
    except DataError:  # reported when the file is read
        return False
    return False


def names_for(faces: FacesLike, names: NDArray[np.str_]) -> Any:
    """Return predicted classes as a Series with the index of `faces` if it is a DataFrame, else unchanged."""
    pandas = _pandas_of(faces)
    return names if pandas is None else pandas.Series(names, index=faces.index, name="expression")  # type: ignore[union-attr]


def probabilities_for(faces: FacesLike, probabilities: NDArray[np.float32], classes: NDArray[np.str_]) -> Any:
    """Return probabilities as a DataFrame with the index of `faces` if it is a DataFrame, else unchanged."""
    pandas = _pandas_of(faces)
    if pandas is None:
        return probabilities
    return pandas.DataFrame(probabilities, index=faces.index, columns=classes)  # type: ignore[union-attr]


def _pandas_of(faces: Any) -> Any:
    """Return the pandas module if `faces` is one of its DataFrames, else None; pandas is never imported here."""
    pandas = sys.modules.get("pandas")
    return pandas if pandas is not None and isinstance(faces, pandas.DataFrame) else None

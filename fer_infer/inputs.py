"""Faces in any form, and results in the matching one: pandas objects for a DataFrame, else arrays."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fer_core.io.in_memory import FacesLike


def images_of(faces: FacesLike) -> NDArray[np.uint8]:
    """Return the images of faces in any form that `fer_core.as_faces` accepts, uint8 (N, 48, 48).

    Labels are not read, because an invalid label must not keep a face from being scored.
    """
    from fer_core.io.in_memory import as_faces

    if isinstance(faces, str | os.PathLike):
        faces = os.path.expanduser(faces)  # noqa: PTH111 - may be `-`
    return as_faces(faces, roles=()).images


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

"""Faces from a path or from memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from fer_core.faces import Faces
from fer_core.io.columns import ROLES
from fer_core.io.reader import first_faces, read_faces

FacesLike: TypeAlias = Union[str, "os.PathLike[str]", Faces, NDArray[np.uint8]]
"""What `as_faces` accepts."""


def as_faces(
    data: FacesLike,
    *,
    split: str | None = None,
    limit: int | None = None,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Faces:
    """Return faces in any form as `Faces`."""
    if isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        if limit is None:
            return read_faces(path, split, roles=roles, columns=columns)
        return first_faces(path, split, limit, columns=columns)
    if isinstance(data, np.ndarray):
        images = data.reshape(-1, *data.shape[-2:])
        data = Faces(images, np.arange(len(images)), source="images", first_row=0)
    return data if limit is None else data.take(slice(limit))

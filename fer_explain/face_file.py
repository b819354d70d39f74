"""Faces of a file that are read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fer_core import DataError, Faces, read_faces
from fer_core.io.columns import ROLES
from fer_core.io.crop import ALIGNED
from fer_core.io.in_memory import FacesLike, as_faces
from fer_core.io.reader import OnError
from fer_infer.photos.crops import crop_for


@dataclass(frozen=True)
class FaceFile:
    """Faces of a file, and how to read them.

    Functions that write an output accept it as `data`. They check the output before they read the file.

    Parameters
    ----------
    path : str or Path
        File or folder, see `fer_core.read_faces`.
    split : str, optional
        Use only this split.
    columns : mapping of str to str, optional
        Role to column name, as for `fer_core.iter_faces`.
    on_error : {"fail", "skip"}
        As for `fer_core.iter_faces`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images, see `fer_infer.photos.crops.crop_for`.

    Raises
    ------
    ConfigError, FerError
        If `faces` is another text, or needs a package that is not installed.

    Examples
    --------
    >>> from fer_explain import FaceFile
    >>> len(FaceFile("faces.csv", split="PublicTest").read(limit=5))
    5
    """

    path: str | Path
    split: str | None = None
    columns: Mapping[str, str] | None = None
    on_error: OnError = "fail"
    faces: str = ALIGNED

    def __post_init__(self) -> None:
        crop_for(self.faces)  # a wrong setting is an error before anything is read

    def read(self, *, limit: int | None = None, roles: Collection[str] = ROLES) -> Faces:
        """Read the faces, at most the first `limit` of them."""
        crop = crop_for(self.faces)
        if self.on_error == "skip":
            faces = read_faces(self.path, self.split, on_error="skip", roles=roles, columns=self.columns, crop=crop)
            return faces if limit is None else faces.take(slice(limit))
        return as_faces(self.path, split=self.split, limit=limit, roles=roles, columns=self.columns, crop=crop)


DataSource: TypeAlias = FaceFile | FacesLike
"""Faces in any form."""


def load_faces(data: DataSource, *, limit: int | None = None, roles: Collection[str] = ROLES) -> Faces:
    """Return faces in any form as `Faces`, at most the first `limit` of them; raise DataError if there are none."""
    if isinstance(data, FaceFile):
        faces = data.read(limit=limit, roles=roles)
    else:
        faces = as_faces(data, limit=limit, roles=roles)
    if not len(faces):
        raise DataError(faces.source, "contains no faces")
    return faces


def path_of(data: DataSource | None) -> str | Path | None:
    """Return the path of faces that are read from a file; None for faces in memory."""
    if isinstance(data, FaceFile):
        return data.path
    return os.fspath(data) if isinstance(data, str | os.PathLike) else None

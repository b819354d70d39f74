"""One door to faces, whatever they are stored in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from fer_core.errors import ConfigError, DataError
from fer_core.faces import Faces, concatenate

OnError = Literal["fail", "skip"]


def iter_faces(
    path: str | Path,
    *,
    batch_rows: int = 4096,
    usage: str | None = None,
    on_error: OnError = "fail",
) -> Iterator[Faces]:
    """Stream faces in bounded memory.

    Parameters
    ----------
    path : str or Path
        A CSV (plain, gzip or zstandard), `-` for a CSV on standard input, or the root of an image tree.
    batch_rows : int
        Faces a batch at most.
    usage : str, optional
        Yield this split only. The other rows of a CSV are validated all the same; other images stay unopened.
    on_error : {"fail", "skip"}
        At a wrong row, raise, or leave it out and list it in the batch's `rejected`.

    Yields
    ------
    Faces
        At least one batch, which is empty where the file holds no such face.

    Raises
    ------
    DataError
        If `path` cannot be read as faces; it names file, row, column, what was expected and what was found.
    """
    if batch_rows < 1:
        raise ConfigError(f"batch_rows: expected at least 1, found {batch_rows}")
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error: expected 'fail' or 'skip', found {on_error!r}")
    if str(path) != "-" and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a path cannot be asked
        from fer_core.image_folder import iter_image_folder as source
    else:
        from fer_core.csv_reader import iter_csv as source
    return source(path, batch_rows=batch_rows, usage=usage, on_error=on_error)


def read_faces(path: str | Path, usage: str | None = None, *, on_error: OnError = "fail") -> Faces:
    """Read faces whole; parameters and errors as for `iter_faces`, and DataError where there is none of `usage`."""
    faces = concatenate(list(iter_faces(path, usage=usage, on_error=on_error)))
    if usage is not None and not len(faces):
        raise DataError(str(path), f"has no row of usage {usage!r}")
    return faces

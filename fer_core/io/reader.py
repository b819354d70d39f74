"""Read faces from CSV, Parquet and Arrow files and from image folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

from fer_core.cores import available_cores
from fer_core.errors import ConfigError, DataError
from fer_core.extras import needed_from
from fer_core.faces import Faces, concatenate, no_row_of_split
from fer_core.fer2013 import split_of
from fer_core.io.columns import ROLES
from fer_core.io.crop import Crop
from fer_core.io.kinds import kind_of, require_no_crop
from fer_core.places import can_be_reread

OnError = Literal["fail", "skip"]

WHOLE_ROWS: Final = 1 << 16
"""Faces per batch if a file is read whole: most files are then one batch, which need not be copied."""


def iter_faces(
    path: str | Path,
    *,
    batch_rows: int = 4096,
    split: str | None = None,
    on_error: OnError = "fail",
    threads: int = 1,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
) -> Iterator[Faces]:
    """Stream faces in bounded memory.

    Parameters
    ----------
    path : str or Path
        A CSV, plain, compressed (gzip, zstandard, xz, bzip2) or in a zip or tar archive, where `ARCHIVE/MEMBER` names
        one of several files; `-` for a CSV on standard input; a Parquet or Arrow file, or a folder of them (extra
        `parquet`); an image folder; or a PNG or JPEG image. The format is recognized by the content, not by the name.
    batch_rows : int
        Maximum number of faces per batch.
    split : str, optional
        Yield only this split, in any spelling listed in `fer_core.fer2013.SPLIT_NAMES`. Other rows of a file are
        validated as well; other images are not opened.
    on_error : {"fail", "skip"}
        For an invalid row, raise the error, or leave the row out and add the error to `rejected` of the batch.
    threads : int
        Number of threads that decode a CSV, or cut faces from images. With 1, the calling thread does so, and nothing
        is read ahead.
    roles : collection of {"label", "split", "id"}
        Columns to read in addition to pixels. Columns of other roles are neither read nor validated.
    columns : mapping of str to str, optional
        Role to column name, for files in which no column, or more than one, has a usual name of that role.
    crop : Crop, optional
        Functions that cut faces from images of any size, color and type, see `fer_infer.photos.crops.crop_for`; by
        default, images are 48x48 gray faces. `path` must then contain images: an image, an image folder, or a table
        with encoded images. An image in a label folder or a table has one face, the most prominent one. In other
        folders, each detected face is a row, and its id is `FILE#1`, `FILE#2` and so on. An image without a face is
        an invalid row.

    Yields
    ------
    Faces
        At least one batch, which is empty if the file has no such face.

    Raises
    ------
    DataError
        If `path` cannot be read as faces; the message names file, row, column, and the expected and found values.
    ConfigError
        If `crop` is given and `path` does not contain images.
    FerError
        If `path` is a Parquet or Arrow file and `pyarrow` is not installed.

    Examples
    --------
    >>> from fer_core import iter_faces
    >>> [len(faces) for faces in iter_faces("faces.csv", batch_rows=40)]
    [40, 24]
    """
    if batch_rows < 1:
        raise ConfigError(f"expected at least 1, found {batch_rows}", parameter="batch_rows")
    if threads < 1:
        raise ConfigError(f"expected at least 1, found {threads}", parameter="threads")
    if on_error not in get_args(OnError):
        raise ConfigError(f"expected 'fail' or 'skip', found {on_error!r}", parameter="on_error")
    if unknown := set(roles) - set(ROLES):
        raise ConfigError(f"expected some of {', '.join(ROLES)}, found {', '.join(sorted(unknown))}", parameter="roles")
    split = split if split is None else split_of(split) or split
    source = _reader_of(path, threads, crop)
    return source(path, batch_rows=batch_rows, split=split, on_error=on_error, roles=roles, columns=columns)


def _reader_of(path: str | Path, threads: int, crop: Crop | None) -> Callable[..., Iterator[Faces]]:
    kind = kind_of(path, crop)
    if kind == "images":
        from fer_core.io.image_folder import iter_image_folder

        return partial(iter_image_folder, crop=crop, threads=threads)
    if kind != "csv":
        with needed_from("parquet"):
            from fer_core.io.tables.reader import iter_shards, iter_table
        return partial(iter_shards if kind == "shards" else iter_table, crop=crop, threads=threads)
    require_no_crop(path, crop)
    from fer_core.io.csv.reader import iter_csv

    return partial(iter_csv, threads=threads)


def check_layout(
    path: str | Path,
    *,
    split: str | None = None,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
) -> None:
    """Raise the errors that `iter_faces` would raise for the columns or folders of `path`, without reading faces.

    A program can thus refuse a file before it loads a model. Pipes are not checked, as they can be read only once.
    Parameters are those of `iter_faces`.
    """
    kind = kind_of(path, crop)
    if kind == "csv":
        require_no_crop(path, crop)
    if not can_be_reread(path):
        return
    split = split if split is None else split_of(split) or split
    if kind == "images":
        if os.path.isdir(path):  # noqa: PTH112 - as above
            from fer_core.io.image_folder import check_image_folder

            check_image_folder(path, split=split, roles=roles, columns=columns)
    elif kind == "csv":
        from fer_core.io.csv.reader import check_csv

        check_csv(path, split=split, roles=roles, columns=columns)
    else:
        if kind == "shards":
            from fer_core.io.tables.shards import find_shards

            first = find_shards(Path(path))[0]
            path, split = first.file, split if first.split is None else None
        with needed_from("parquet"):
            from fer_core.io.tables.reader import check_table
        check_table(path, split=split, roles=roles, columns=columns, crop=crop)


def splits_of_folder(path: str | Path) -> set[str]:
    """Return the splits that the folders of an image folder, or the names of the table files in a folder, state.

    The set is empty for files, and for folders without splits.
    """
    if str(path) == "-" or not os.path.isdir(path):  # noqa: PTH112 - as above
        return set()
    from fer_core.io.image_folder import list_images
    from fer_core.io.tables.shards import find_shards

    files = find_shards(Path(path)) or list_images(Path(path))
    return {file.split for file in files if file.split is not None}


def read_faces(
    path: str | Path,
    split: str | None = None,
    *,
    on_error: OnError = "fail",
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
) -> Faces:
    """Read all faces of a file or folder.

    Parameters
    ----------
    path, on_error, roles, columns, crop
        As in `iter_faces`.
    split : str, optional
        Read only this split, in any spelling listed in `fer_core.fer2013.SPLIT_NAMES`.

    Returns
    -------
    Faces
        All faces, in order.

    Raises
    ------
    DataError
        If `path` cannot be read as faces, or has no face of `split`.
    FerError
        As in `iter_faces`.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> faces = read_faces("faces.csv", "PublicTest")
    >>> len(faces), sorted(set(faces.splits.tolist()))
    (6, ['PublicTest'])
    """
    batches = iter_faces(
        path,
        batch_rows=WHOLE_ROWS,
        split=split,
        on_error=on_error,
        threads=available_cores(),
        roles=roles,
        columns=columns,
        crop=crop,
    )
    parts = list(batches)
    faces = concatenate(parts) if len(parts) > 1 else parts[0]
    if split is not None and not len(faces):
        raise no_such_split(path, split, columns=columns, crop=crop)
    return faces


def first_faces(
    data: str | Path,
    split: str | None,
    most: int,
    *,
    roles: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
) -> Faces:
    """Read the first `most` faces of a file, and only as much of the file as needed; parameters as in `iter_faces`.

    Raises
    ------
    DataError
        If they cannot be read, or there are none.
    """
    parts: list[Faces] = []
    batches = iter_faces(
        data,
        batch_rows=min(most, WHOLE_ROWS),
        split=split,
        threads=threads_for(crop),
        roles=roles,
        columns=columns,
        crop=crop,
    )
    for batch in batches:
        parts.append(batch.take(slice(most - sum(map(len, parts)))))
        if sum(map(len, parts)) == most:
            break
    faces = concatenate(parts)
    if not len(faces):
        raise (
            DataError(str(data), "has no faces")
            if split is None
            else no_such_split(data, split, columns=columns, crop=crop)
        )
    return faces


def threads_for(crop: Crop | None) -> int:
    """Return the number of threads for `iter_faces` in a loop that computes: several, if cutting faces takes longer."""
    return 1 if crop is None else available_cores()


def no_such_split(
    path: str | Path, split: str, *, columns: Mapping[str, str] | None = None, crop: Crop | None = None
) -> DataError:
    """Return the error for data without faces of `split`.

    It names the splits of the data, except for a pipe, which cannot be read again.
    """
    if not can_be_reread(path):
        return no_row_of_split(str(path), split, None)
    if found := splits_of_folder(path):
        return no_row_of_split(str(path), split, found)
    options: dict[str, Any] = {"threads": available_cores(), "roles": ("split",), "columns": columns, "crop": crop}
    for faces in iter_faces(path, on_error="skip", **options):
        found.update(() if faces.splits is None else faces.splits.tolist())
    return no_row_of_split(str(path), split, found)

"""One door to faces, whatever they are stored in."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

from fer_core.errors import ConfigError, DataError
from fer_core.extras import needed_from
from fer_core.faces import Faces, concatenate, no_row_of_split
from fer_core.io.columns import ROLES, split_of
from fer_core.io.compression import table_type
from fer_core.io.file_types import TABLES
from fer_core.io.places import can_be_reread

OnError = Literal["fail", "skip"]

WHOLE_ROWS: Final = 1 << 16
"""Faces a batch where all are wanted: so many that most files are one batch, and nothing is copied twice."""


def iter_faces(
    path: str | Path,
    *,
    batch_rows: int = 4096,
    split: str | None = None,
    on_error: OnError = "fail",
    threads: int = 1,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Faces]:
    """Stream faces in bounded memory.

    Parameters
    ----------
    path : str or Path
        A CSV, plain, compressed (gzip, zstandard, xz, bzip2) or in a zip or tar archive, where `ARCHIVE/MEMBER` names
        one of several files; `-` for a CSV on standard input; a Parquet or Arrow file, or a folder of them (extra
        `parquet`); or the root of an image tree. The content decides, not the name.
    batch_rows : int
        Faces a batch at most.
    split : str, optional
        Yield this split only; it may be spelled in any way in `fer_core.io.columns.SPLIT_NAMES`. The other rows
        of a file are validated all the same; other images stay unopened.
    on_error : {"fail", "skip"}
        At a wrong row, raise, or leave it out and list it in the batch's `rejected`.
    threads : int
        That decode a CSV. With 1 it is done in the caller's, and no more is read than the batch asked for needs.
    roles : collection of {"label", "split", "id"}
        What to read besides pixels. Columns of other roles are neither read nor validated.
    columns : mapping of str to str, optional
        Role to column name, for files in which no column, or more than one, has a name of that role.

    Yields
    ------
    Faces
        At least one batch, which is empty where the file holds no such face.

    Raises
    ------
    DataError
        If `path` cannot be read as faces; it names file, row, column, what was expected and what was found.
    FerError
        If `path` is a Parquet or Arrow file and `pyarrow` is not installed.
    """
    if batch_rows < 1:
        raise ConfigError(f"batch_rows: expected at least 1, found {batch_rows}")
    if threads < 1:
        raise ConfigError(f"threads: expected at least 1, found {threads}")
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error: expected 'fail' or 'skip', found {on_error!r}")
    if unknown := set(roles) - set(ROLES):
        raise ConfigError(f"roles: expected some of {', '.join(ROLES)}, found {', '.join(sorted(unknown))}")
    split = split if split is None else split_of(split) or split
    source = _reader_of(path, threads)
    return source(path, batch_rows=batch_rows, split=split, on_error=on_error, roles=roles, columns=columns)


def _reader_of(path: str | Path, threads: int) -> Callable[..., Iterator[Faces]]:
    """Return what reads a folder or a file; what is no regular file is a CSV, since a pipe gives its bytes once."""
    if str(path) != "-" and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a path cannot be asked
        from fer_core.io.tables.shards import find_shards

        if not find_shards(Path(path)):
            from fer_core.io.image_folder import iter_image_folder

            return iter_image_folder
        with needed_from("parquet"):
            from fer_core.io.tables.reader import iter_shards
        return iter_shards
    if can_be_reread(path) and table_type(path) in TABLES:
        with needed_from("parquet"):
            from fer_core.io.tables.reader import iter_table
        return iter_table
    from fer_core.io.csv.reader import iter_csv

    return partial(iter_csv, threads=threads)


def check_layout(
    path: str | Path,
    *,
    split: str | None = None,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> None:
    """Raise the error that `iter_faces` would raise for the columns or the folders of `path`, but read no face.

    So a program can refuse a file before it loads a model. What can be read only once is not checked, since the check
    would use it up. Parameters are as for `iter_faces`.
    """
    if not can_be_reread(path):
        return
    split = split if split is None else split_of(split) or split
    if os.path.isdir(path):  # noqa: PTH112 - as above
        from fer_core.io.tables.shards import find_shards

        shards = find_shards(Path(path))
        if not shards:
            from fer_core.io.image_folder import check_image_folder

            check_image_folder(path, split=split, roles=roles, columns=columns)
            return
        path, split = shards[0].file, None if shards[0].split is not None else split
    elif table_type(path) not in TABLES:
        from fer_core.io.csv.reader import check_csv

        check_csv(path, split=split, roles=roles, columns=columns)
        return
    with needed_from("parquet"):
        from fer_core.io.tables.reader import check_table
    check_table(path, split=split, roles=roles, columns=columns)


def splits_of_folder(path: str | Path) -> set[str]:
    """Return the splits that the folders of an image tree, or the names of table files in a folder, state.

    The set is empty for files, and for folders that state none.
    """
    if str(path) == "-" or not os.path.isdir(path):  # noqa: PTH112 - as above
        return set()
    from fer_core.io.image_folder import list_images
    from fer_core.io.tables.shards import find_shards

    files = find_shards(Path(path)) or list_images(Path(path))
    return {file.split for file in files if file.split is not None}


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: those it may run on, or fewer where a container limits its time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # of version 2 and of version 1
        with suppress(OSError, ValueError):  # a ValueError also where the quota is "max"
            quota, period = map(int, " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split())
            if quota > 0:
                return max(1, min(cores, -(-quota // period)))
    return cores


def read_faces(
    path: str | Path,
    split: str | None = None,
    *,
    on_error: OnError = "fail",
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Faces:
    """Read faces whole; parameters and errors as for `iter_faces`, and DataError where there is none of `split`."""
    batches = iter_faces(
        path,
        batch_rows=WHOLE_ROWS,
        split=split,
        on_error=on_error,
        threads=available_cores(),
        roles=roles,
        columns=columns,
    )
    parts = list(batches)
    faces = concatenate(parts) if len(parts) > 1 else parts[0]
    if split is not None and not len(faces):
        raise no_such_split(path, split, columns=columns)
    return faces


def first_faces(
    data: str | Path,
    split: str | None,
    most: int,
    *,
    roles: Collection[str] = (),
    columns: Mapping[str, str] | None = None,
) -> Faces:
    """Read the first `most` faces of a file, and no more of it than needed; parameters as for `iter_faces`.

    Raises
    ------
    DataError
        If they cannot be read, or there is none.
    """
    parts: list[Faces] = []
    for batch in iter_faces(data, batch_rows=min(most, WHOLE_ROWS), split=split, roles=roles, columns=columns):
        parts.append(batch.take(slice(most - sum(map(len, parts)))))
        if sum(map(len, parts)) == most:
            break
    faces = concatenate(parts)
    if not len(faces):
        raise DataError(str(data), "has no face") if split is None else no_such_split(data, split, columns=columns)
    return faces


def no_such_split(path: str | Path, split: str, *, columns: Mapping[str, str] | None = None) -> DataError:
    """Return the error for faces none of which is of `split`.

    It names the splits that there are, except for a pipe, which cannot be read again.
    """
    if not can_be_reread(path):
        return no_row_of_split(str(path), split, None)
    if found := splits_of_folder(path):
        return no_row_of_split(str(path), split, found)
    for faces in iter_faces(path, on_error="skip", threads=available_cores(), roles=("split",), columns=columns):
        found.update(() if faces.splits is None else faces.splits.tolist())
    return no_row_of_split(str(path), split, found)

"""One door to faces, whatever they are stored in."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

from fer_core.columns import ROLES, usage_of
from fer_core.errors import ConfigError, DataError
from fer_core.extras import needed_from
from fer_core.faces import Faces, concatenate, no_row_of_usage

OnError = Literal["fail", "skip"]

WHOLE_ROWS: Final = 1 << 16
"""Faces a batch where all are wanted: so many that most files are one batch, and nothing is copied twice."""

PARQUET_MAGIC: Final = b"PAR1"
IMAGE_MAGIC: Final = (b"\x89PNG", b"\xff\xd8\xff")
"""Of PNG and JPEG."""


def iter_faces(
    path: str | Path,
    *,
    batch_rows: int = 4096,
    usage: str | None = None,
    on_error: OnError = "fail",
    threads: int = 1,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Faces]:
    """Stream faces in bounded memory.

    Parameters
    ----------
    path : str or Path
        A CSV (plain, gzip or zstandard), `-` for a CSV on standard input, a Parquet file (extra `parquet`), or the
        root of an image tree. The content tells one from the other, not the name.
    batch_rows : int
        Faces a batch at most.
    usage : str, optional
        Yield this split only; it may be spelled in any way in `fer_core.columns.SPLITS`. The other rows of a file are
        validated all the same; other images stay unopened.
    on_error : {"fail", "skip"}
        At a wrong row, raise, or leave it out and list it in the batch's `rejected`.
    threads : int
        That decode a CSV. With 1 it is done in the caller's, and no more is read than the batch asked for needs.
    roles : collection of {"label", "usage", "id"}
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
        If `path` is a Parquet file and `pyarrow` is not installed.
    """
    if batch_rows < 1:
        raise ConfigError(f"batch_rows: expected at least 1, found {batch_rows}")
    if threads < 1:
        raise ConfigError(f"threads: expected at least 1, found {threads}")
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error: expected 'fail' or 'skip', found {on_error!r}")
    if unknown := set(roles) - set(ROLES):
        raise ConfigError(f"roles: expected some of {', '.join(ROLES)}, found {', '.join(sorted(unknown))}")
    usage = usage if usage is None else usage_of(usage) or usage
    if str(path) != "-" and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a path cannot be asked
        from fer_core.image_folder import iter_image_folder as source
    elif _begins_with(path, *IMAGE_MAGIC):
        raise DataError(str(path), "is an image; expected the folder of images it lies in, a CSV or a Parquet file")
    elif _begins_with(path, PARQUET_MAGIC):
        with needed_from("parquet"):
            from fer_core.parquet_reader import iter_parquet as source
    else:
        from fer_core.csv_reader import iter_csv

        source = partial(iter_csv, threads=threads)
    return source(path, batch_rows=batch_rows, usage=usage, on_error=on_error, roles=roles, columns=columns)


def _begins_with(path: str | Path, *magic: bytes) -> bool:
    """Whether a file begins with one of these. What is no regular file is not asked: a pipe gives its bytes once."""
    if str(path) == "-" or not os.path.isfile(path):  # noqa: PTH113 - as above
        return False
    with suppress(OSError), open(path, "rb") as file:
        return file.read(max(map(len, magic))).startswith(magic)
    return False  # the CSV reader says why it cannot be opened


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
    usage: str | None = None,
    *,
    on_error: OnError = "fail",
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Faces:
    """Read faces whole; parameters and errors as for `iter_faces`, and DataError where there is none of `usage`."""
    batches = iter_faces(
        path,
        batch_rows=WHOLE_ROWS,
        usage=usage,
        on_error=on_error,
        threads=available_cores(),
        roles=roles,
        columns=columns,
    )
    parts = list(batches)
    faces = concatenate(parts) if len(parts) > 1 else parts[0]
    if usage is not None and not len(faces):
        raise no_such_usage(path, usage, columns=columns)
    return faces


def no_such_usage(path: str | Path, usage: str, *, columns: Mapping[str, str] | None = None) -> DataError:
    """Return the error for faces none of which is of `usage`.

    It names the splits that there are, except for a pipe, which cannot be read again.
    """
    found: set[str] = set()
    if str(path) == "-" or not (os.path.isfile(path) or os.path.isdir(path)):  # noqa: PTH112, PTH113 - as above
        return no_row_of_usage(str(path), usage, None)
    for faces in iter_faces(path, on_error="skip", threads=available_cores(), roles=("usage",), columns=columns):
        found.update(() if faces.usage is None else faces.usage.tolist())
    return no_row_of_usage(str(path), usage, found)

"""Outputs that appear whole or not at all: written beside their target, renamed at the end."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fer_core.errors import OutputError
from fer_core.places import locate

READ_IN_FOLDERS: Final = frozenset(
    {".onnx", ".json", ".safetensors", ".pt", ".png", ".jpg", ".jpeg", ".parquet", ".arrow", ".feather"}
)
"""What is read where a folder is named: models, cards, weights, images. Other files in it are no part of the input."""

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a disk says that takes no more; as a rule it names no file."""


@contextmanager
def staged(
    target: str | Path, *, force: bool = False, folder: bool = False, inputs: Iterable[str | Path | None] = ()
) -> Iterator[Path]:
    """Yield a path beside `target` to write to; rename it to `target` at the end, remove it after an error.

    What is made can be read by whoever may read a new file here, even where its writer kept it to its owner. A
    target that is a link stays one: what it names is replaced.

    Parameters
    ----------
    target : str or Path
        The file or folder to make. Its parent folders are made too, and removed again after an error.
    force : bool
        Replace what is there; otherwise an existing target is an error, raised before any work is done.
    folder : bool
        Whether the target is a folder; the yielded path then exists and is empty.
    inputs : iterable of str, Path or None
        What the output is made from: it is never replaced, nor a folder that holds it, nor a file that is read in it.

    Raises
    ------
    OutputError
        If `target` exists and `force` is false, is of another kind, is, holds or is read in one of `inputs`, holds the
        working folder, or cannot be written. An error of other files passes through as it is.
    """
    require_apart(target, inputs)
    path = require_free(target, force=force, folder=folder)
    stage = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    made: list[Path] = []
    try:
        made += _make_folders(path.parent)
        permissions = _permissions_of_new_files(stage)
        if folder:
            stage.mkdir()
        yield stage
        _grant(stage, permissions)
        free = require_free(target, force=force, folder=folder)  # asked again, as others may have made it meanwhile
        _put(stage, free)
    except OSError as error:
        if _is_about(error, stage, path):
            raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
        raise
    finally:
        # What cannot be removed must not hide the error that led here.
        if stage.is_dir():
            shutil.rmtree(stage, ignore_errors=True)
        else:
            with suppress(OSError):
                stage.unlink()
        with suppress(OSError):  # one that holds something by now, the output as a rule, stays
            for parent in made:
                parent.rmdir()


def require_apart(target: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise OutputError where `target` is, holds, or is a part of a file or folder that is still to be read."""
    try:
        place = Path(target).resolve()
        for named in inputs:
            one = None if named is None else locate(named).file
            if one is None or not (place.exists() and one.exists()):
                continue
            read = Path(one).resolve()
            if read.is_relative_to(place) or place.samefile(one):
                raise OutputError(f"{target}: is or holds {one}, which is read; expected another output")
            if place.is_file() and place.is_relative_to(read) and place.suffix.lower() in READ_IN_FOLDERS:
                raise OutputError(f"{target}: is part of {one}, which is read; expected another output")
    except (OSError, RuntimeError):  # a name too long, or links that lead in a circle: told where it is opened
        return


def require_free(target: str | Path, *, force: bool, folder: bool = False) -> Path:
    """Return where `target` is to stand, through a link if it is one; raise OutputError where it must not."""
    path = Path(target)
    if str(path) == "-":
        raise OutputError("-: expected the name of an output; nothing is written to standard output")
    try:
        if path.is_symlink():
            path = path.resolve()
        exists, fits = path.exists(), path.is_dir() if folder else path.is_file()
        holds_us = folder and Path.cwd().is_relative_to(path.resolve())
    except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 report a circle of links as a RuntimeError
        raise OutputError(f"{target}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    if exists and not fits:
        raise OutputError(f"{target}: expected {'a folder' if folder else 'a file'} to replace, found another kind")
    if holds_us:
        raise OutputError(f"{target}: holds the working folder; expected a folder that can be replaced whole")
    if exists and not force:
        raise OutputError(f"{target}: exists already; --force replaces it")
    return path


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and what it lies in; return those that were not there, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _permissions_of_new_files(probe: Path) -> int:
    """Make an empty file and remove it: the one way to learn the umask that other threads cannot notice."""
    probe.touch()
    permissions = probe.stat().st_mode & 0o777
    probe.unlink()
    return permissions


def _grant(stage: Path, permissions: int) -> None:
    for path in (stage, *stage.rglob("*")):
        if not path.is_symlink():
            enter = (permissions & 0o444) >> 2 if path.is_dir() else 0
            path.chmod(path.stat().st_mode | permissions | enter)


def _put(stage: Path, path: Path) -> None:
    """Rename `stage` to `path`; a folder already there is moved aside first, and back if that fails."""
    if not (stage.is_dir() and path.exists()):
        stage.replace(path)
        return
    old = stage.with_suffix(".old")
    path.replace(old)
    try:
        stage.replace(path)
    except BaseException:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new one stands; it is whole whatever becomes of the old one


def _is_about(error: OSError, stage: Path, path: Path) -> bool:
    """Whether an error of the system concerns the output: something on the way to it, in it, or a full disk."""
    names = [
        Path(os.fsdecode(name))
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes | os.PathLike)
    ]
    if not names:
        return error.errno in FULL
    return any(name.is_relative_to(stage) or path.is_relative_to(name) for name in names)

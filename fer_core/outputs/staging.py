"""Outputs that appear whole or not at all: written beside their target, renamed at the end."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fer_core.errors import FerError, OutputError
from fer_core.outputs.claims import claimed
from fer_core.outputs.output_folder import OutputFolder
from fer_core.places import locate

READ_IN_FOLDERS: Final = frozenset(
    {".onnx", ".json", ".safetensors", ".pt", ".png", ".jpg", ".jpeg", ".parquet", ".arrow", ".feather"}
)
"""What is read where a folder is named: models, cards, weights, images. Other files in it are no part of the input."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that takes no more; as a rule they name no file."""


@contextmanager
def staged(
    target: str | Path,
    *,
    force: bool = False,
    folder: OutputFolder | None = None,
    endings: Sequence[str] = (),
    inputs: Iterable[str | Path | None] = (),
) -> Iterator[Path]:
    """Yield a path beside `target` to write to; rename it to `target` at the end, remove it after an error.

    The target is claimed first: a second run that would write it is refused at once. What is made can be read by
    whoever may read a new file here, even where its writer kept it to its owner. A target that is a link stays one:
    what it names is replaced.

    Parameters
    ----------
    target : str or Path
        The file or folder to make. Its parent folders are made too, and removed again after an error.
    force : bool
        Replace what is there; otherwise an existing target is an error, raised before any work is done.
    folder : OutputFolder, optional
        Make a folder, of these files; the yielded path then exists and is empty. A folder is replaced only if it is
        empty, or contains what such an output always does and nothing that it never does.
    endings : sequence of str
        Endings that the name of a file may have; none means any.
    inputs : iterable of str, Path or None
        What the output is made from: it is never replaced, nor a folder that holds it, nor a file that is read in it.

    Raises
    ------
    OutputError
        If `target` exists and `force` is false, is of another kind, has another ending, contains files of others, is
        being written by another run, is, holds or is read in one of `inputs`, holds the working folder, or cannot be
        written: a full disk too, whichever library reports it. An error of other files passes through as it is.
    """
    require_apart(target, inputs)
    path = require_free(target, force=force, folder=folder, endings=endings)
    with claimed(target) as prefix:
        stage = path.with_name(f"{prefix}.part")
        try:
            _clear(stage, path)
            require_free(target, force=force, folder=folder)  # asked again, as another run may just have ended
            permissions = _permissions_of_new_files(stage)
            if folder is not None:
                stage.mkdir()
            yield stage
            _grant(stage, permissions)
            require_free(target, force=force, folder=folder)  # or made it meanwhile, without a claim
            _put(stage, path, folder, target)
        except Exception as error:
            if (named := _named(error, target, stage, path)) is not None:
                raise named from error
            raise
        finally:
            _remove(stage)


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


def require_free(
    target: str | Path, *, force: bool, folder: OutputFolder | None = None, endings: Sequence[str] = ()
) -> Path:
    """Return where `target` is to stand, through a link if it is one; raise OutputError where it must not."""
    path = Path(target)
    if str(path) == "-":
        raise OutputError("-: expected the name of an output; nothing is written to standard output")
    try:
        if path.is_symlink():
            path = path.resolve()
        exists = _is_there(path)
        fits = path.is_file() if folder is None else path.is_dir()
        holds_us = folder is not None and Path.cwd().is_relative_to(path.resolve())
        if exists and not fits:
            wanted = "a file" if folder is None else "a folder"
            raise OutputError(f"{target}: expected {wanted} to replace, found another kind")
        if holds_us:
            raise OutputError(f"{target}: holds the working folder; expected a folder that can be replaced whole")
        if endings and not path.name.lower().endswith(tuple(endings)):
            known = f"{', '.join(endings[:-1])} or {endings[-1]}" if endings[1:] else endings[0]
            raise OutputError(f"{target}: expected the name of an output to end in {known}")
        if exists and not force:
            raise OutputError(f"{target}: exists already; `force=True` replaces it")
        if exists and folder is not None:
            _require_replaceable(path, target, folder)
    except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 report a circle of links as a RuntimeError
        raise OutputError(f"{target}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for temporary files, removed at the end; a disk that has no room for them is an OutputError."""
    try:
        with tempfile.TemporaryDirectory(prefix="fer-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except FerError:
        raise
    except Exception as error:
        if (reason := _fullness(error)) is None:
            raise
        place = tempfile.gettempdir()
        hint = "TMPDIR can name a folder on another disk"
        raise OutputError(f"{place}: temporary files cannot be written: {reason}; {hint}") from error


def _is_there(path: Path) -> bool:
    """Whether there is anything at a path; a name that no file can have is an error, and at once."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _require_replaceable(path: Path, target: str | Path, folder: OutputFolder) -> None:
    if os.path.ismount(path):
        raise OutputError(f"{target}: is a mount point, which cannot be replaced; name a folder in it")
    folder.require_ours(path, target)


def _clear(stage: Path, path: Path) -> None:
    """Remove what a killed run left, and bring back the folder that it had moved aside."""
    old = stage.with_suffix(".old")
    if _is_there(old) and not _is_there(path):
        old.replace(path)
    _remove(stage)
    _remove(old)


def _remove(path: Path) -> None:
    # What cannot be removed must not hide the error that led here.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _permissions_of_new_files(probe: Path) -> int:
    """Make an empty file and remove it: the one way to learn the umask that other threads cannot notice."""
    probe.touch()
    permissions = probe.stat().st_mode & 0o777
    probe.unlink()
    return permissions


def _grant(stage: Path, permissions: int) -> None:
    for path in (stage, *stage.rglob("*")):
        with suppress(OSError):  # some mounts have no permissions to change; a finished output is not lost for that
            if not path.is_symlink():
                enter = (permissions & 0o444) >> 2 if path.is_dir() else 0
                path.chmod(path.stat().st_mode | permissions | enter)


def _put(stage: Path, path: Path, folder: OutputFolder | None, target: str | Path) -> None:
    """Rename `stage` to `path`; a folder already there is moved aside first, and back if that fails."""
    if folder is None or not path.exists():
        stage.replace(path)
        return
    old = stage.with_suffix(".old")
    path.replace(old)
    try:
        folder.require_ours(old, target)  # asked where nobody can put anything into it any more
        stage.replace(path)
    except BaseException:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new one stands; it is whole whatever becomes of the old one


def _named(error: Exception, target: str | Path, stage: Path, path: Path) -> OutputError | None:
    """Return an error of the output as one that names it by its target; None for an error of anything else."""
    if isinstance(error, OutputError) and str(stage) in str(error):  # of a file in the folder
        return OutputError(str(error).replace(str(stage), str(target)))
    if isinstance(error, FerError):
        return None
    if isinstance(error, OSError) and _is_about(error, stage, path):
        reason: str | None = error.strerror or str(error)
    else:
        reason = _fullness(error)
    return None if reason is None else OutputError(f"{target}: cannot be written: {reason}")


def _is_about(error: OSError, stage: Path, path: Path) -> bool:
    """Whether an error of the system names the output: something on the way to it, or in it."""
    names = [
        Path(os.fsdecode(name))
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes | os.PathLike)
    ]
    return any(name.is_relative_to(stage) or path.is_relative_to(name) for name in names)


def _fullness(error: BaseException | None) -> str | None:
    """Return what the system said of a full disk, as itself or through a library that has errors of its own."""
    while error is not None and getattr(error, "filename", None) is None:  # one with a name says itself which file
        for code in FULL:
            if (error.errno == code) if isinstance(error, OSError) else (os.strerror(code) in str(error)):
                return os.strerror(code)
        error = error.__cause__ or error.__context__
    return None

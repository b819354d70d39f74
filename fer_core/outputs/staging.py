"""Atomic outputs: written next to their target and renamed at the end."""

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
"""Suffixes of files that are read from an input folder: models, cards, weights, tables and images."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk; they usually do not name a file."""


@contextmanager
def staged(
    target: str | Path,
    *,
    force: bool = False,
    folder: OutputFolder | None = None,
    endings: Sequence[str] = (),
    inputs: Iterable[str | Path | None] = (),
) -> Iterator[Path]:
    """Yield a path next to `target` to write to; rename it to `target` at the end, or remove it after an error.

    The target is claimed first, so a second run that would write it fails at once. The output gets the permissions of
    a new file, even if its writer restricted them. If the target is a link, the file it points to is replaced.

    Parameters
    ----------
    target : str or Path
        File or folder to write. Missing parent folders are created, and removed again after an error.
    force : bool
        Replace an existing target; otherwise it is an error, raised before any work is done.
    folder : OutputFolder, optional
        Write a folder with these files; the yielded path is then an empty folder. An existing folder is replaced only
        if it is empty, or if all its files belong to such an output and none of the required ones is missing.
    endings : sequence of str
        Allowed endings of a file name; any ending is allowed if empty.
    inputs : iterable of str, Path or None
        Inputs, which are never overwritten, nor a folder that contains one, nor a file that is read in an input folder.

    Raises
    ------
    OutputError
        If `target` exists and `force` is false, has another type or ending, contains other files, is being written by
        another run, would overwrite one of `inputs`, contains the working directory, or cannot be written, including
        a full disk that another library reports. Errors of other files are passed on unchanged.
    """
    require_apart(target, inputs)
    path = require_free(target, force=force, folder=folder, endings=endings)
    with claimed(target) as prefix:
        stage = path.with_name(f"{prefix}.part")
        try:
            _clear(stage, path)
            require_free(target, force=force, folder=folder)  # checked again, since another run may just have ended
            permissions = _permissions_of_new_files(stage)
            if folder is not None:
                stage.mkdir()
            yield stage
            _grant(stage, permissions)
            require_free(
                target, force=force, folder=folder
            )  # checked again, since a program without claims may have created it
            _put(stage, path, folder, target)
        except Exception as error:
            if (named := _named(error, target, stage, path)) is not None:
                raise named from error
            raise
        finally:
            _remove(stage)


def require_apart(target: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise OutputError if writing `target` would overwrite an input or a part of it."""
    try:
        place = Path(target).resolve()
        for named in inputs:
            one = None if named is None else locate(named).file
            if one is None or not (place.exists() and one.exists()):
                continue
            read = Path(one).resolve()
            if read.is_relative_to(place) or place.samefile(one):
                raise OutputError(f"{target}: would overwrite the input {one}; choose another output")
            if place.is_file() and place.is_relative_to(read) and place.suffix.lower() in READ_IN_FOLDERS:
                raise OutputError(f"{target}: would overwrite a file of the input {one}; choose another output")
    except (OSError, RuntimeError):  # a name too long, or a cycle of links: reported when it is opened
        return


def require_free(
    target: str | Path, *, force: bool, folder: OutputFolder | None = None, endings: Sequence[str] = ()
) -> Path:
    """Return the path to write, with links resolved; raise OutputError if it must not be written."""
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
            wanted = "a file" if folder is None else "a directory"
            raise OutputError(f"{target}: expected {wanted}, found {_type_of(path)}")
        if holds_us:
            raise OutputError(f"{target}: contains the current working directory and cannot be replaced")
        if endings and not path.name.lower().endswith(tuple(endings)):
            known = f"{', '.join(endings[:-1])} or {endings[-1]}" if endings[1:] else endings[0]
            raise OutputError(f"{target}: expected the name of an output to end in {known}")
        if exists and not force:
            raise OutputError(f"{target}: exists already; `force=True` replaces it")
        if exists and folder is not None:
            _require_replaceable(path, target, folder)
    except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 report a cycle of links as a RuntimeError
        raise OutputError(f"{target}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return path


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder, removed at the end; a full disk is an OutputError."""
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
    """Return whether a path exists, links included; raise OSError for a name that no file can have."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _type_of(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    return "a file" if path.is_file() else "neither a file nor a directory"


def _require_replaceable(path: Path, target: str | Path, folder: OutputFolder) -> None:
    if os.path.ismount(path):
        raise OutputError(f"{target}: is a mount point, which cannot be replaced; name a folder in it")
    folder.require_ours(path, target)


def _clear(stage: Path, path: Path) -> None:
    """Remove the files of a killed run, and restore the folder that it had moved aside."""
    old = stage.with_suffix(".old")
    if _is_there(old) and not _is_there(path):
        old.replace(path)
    _remove(stage)
    _remove(old)


def _remove(path: Path) -> None:
    # A failure to remove must not hide the original error.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _permissions_of_new_files(probe: Path) -> int:
    """Create an empty file and remove it: the only way to read the umask without affecting other threads."""
    probe.touch()
    permissions = probe.stat().st_mode & 0o777
    probe.unlink()
    return permissions


def _grant(stage: Path, permissions: int) -> None:
    for path in (stage, *stage.rglob("*")):
        with suppress(OSError):  # some mounts do not support permissions; the output is complete anyway
            if not path.is_symlink():
                enter = (permissions & 0o444) >> 2 if path.is_dir() else 0
                path.chmod(path.stat().st_mode | permissions | enter)


def _put(stage: Path, path: Path, folder: OutputFolder | None, target: str | Path) -> None:
    """Rename `stage` to `path`; an existing folder is moved aside first, and restored if that fails."""
    if folder is None or not path.exists():
        stage.replace(path)
        return
    old = stage.with_suffix(".old")
    path.replace(old)
    try:
        folder.require_ours(old, target)  # checked where no other process can add files any more
        stage.replace(path)
    except BaseException:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new folder is complete, whether or not the old one can be removed


def _named(error: Exception, target: str | Path, stage: Path, path: Path) -> OutputError | None:
    """Return an error of the output with its target's name; None for other errors."""
    if isinstance(error, OutputError) and str(stage) in str(error):  # a file in the folder
        return OutputError(str(error).replace(str(stage), str(target)))
    if isinstance(error, FerError):
        return None
    if isinstance(error, OSError) and _is_about(error, stage, path):
        reason: str | None = error.strerror or str(error)
    else:
        reason = _fullness(error)
    return None if reason is None else OutputError(f"{target}: cannot be written: {reason}")


def _is_about(error: OSError, stage: Path, path: Path) -> bool:
    """Return whether a system error names the output, a parent folder of it, or a file in it."""
    names = [
        Path(os.fsdecode(name))
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes | os.PathLike)
    ]
    return any(name.is_relative_to(stage) or path.is_relative_to(name) for name in names)


def _fullness(error: BaseException | None) -> str | None:
    """Return the system's message if an error was caused by a full disk, also when a library wraps that error."""
    while error is not None and getattr(error, "filename", None) is None:  # an error with a file name is complete
        for code in FULL:
            if (error.errno == code) if isinstance(error, OSError) else (os.strerror(code) in str(error)):
                return os.strerror(code)
        error = error.__cause__ or error.__context__
    return None

"""Pointers that Git LFS leaves in place of files that were not downloaded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from fer_core.errors import FerError

LFS_MAGIC: Final = b"version https://git-lfs.github.com/spec/v1"
"""First bytes of a pointer."""
LFS_REMEDY: Final = "is a Git LFS pointer, not the file itself; `git lfs pull` downloads it"


def is_lfs_pointer(path: str | Path) -> bool:
    """Return whether a file is a pointer; a missing or unreadable one is not."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(len(LFS_MAGIC)) == LFS_MAGIC
    return False


def refuse_lfs_pointer(path: str | Path, error: type[FerError]) -> None:
    """Raise `error`, naming the file, if it is a pointer.

    Parameters
    ----------
    path : str or Path
        The file; it may be missing.
    error : type
        Class of the error, which takes one message.
    """
    if is_lfs_pointer(path):
        raise error(f"{path}: {LFS_REMEDY}")

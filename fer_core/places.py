"""Paths of data: a file, a folder, a member of an archive, or standard input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """A file, and the name of a member if the file is an archive."""

    file: Path
    member: str | None


def locate(path: str | Path) -> Place:
    """Split a path such as `archive.zip/train.csv` into the archive and its member.

    There is no member if the path itself exists, or no part of it is a file.
    """
    whole = Path(path)
    if str(path) == "-" or os.path.lexists(whole):
        return Place(whole, None)
    for parent in whole.parents:
        if os.path.isfile(parent):  # noqa: PTH113 - Path.is_file can raise
            return Place(parent, whole.relative_to(parent).as_posix())
    return Place(whole, None)


def can_be_reread(path: str | Path) -> bool:
    """Return whether `path` can be read more than once, which standard input and pipes cannot."""
    file = locate(path).file
    return str(path) != "-" and (os.path.isfile(file) or os.path.isdir(file))  # noqa: PTH112, PTH113 - as above

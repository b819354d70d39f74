"""Contents of output folders, which distinguish a folder that may be replaced from one with the user's own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from fer_core.errors import OutputError
from fer_core.outputs.claims import HIDDEN

SYSTEM_FILES: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that operating systems create in folders."""


@dataclass(frozen=True)
class OutputFolder:
    """Names of the files in one kind of output folder.

    Attributes
    ----------
    always : tuple of str
        Files that every such folder contains.
    sometimes : tuple of str
        Other files, as paths relative to the folder with `/` as separator; `*` matches any characters.

    Examples
    --------
    >>> OutputFolder(always=("metrics.json",), sometimes=("figures/face_*.png",))
    OutputFolder(always=('metrics.json',), sometimes=('figures/face_*.png',))
    """

    always: tuple[str, ...]
    sometimes: tuple[str, ...] = ()

    def require_ours(self, folder: Path, name: str | Path) -> None:
        """Raise OutputError, naming the folder `name`, unless it is empty or contains only such files."""
        found = set()
        for entry in _entries(folder, PurePosixPath()):
            if not self._knows(entry, is_folder=_is_folder(folder / entry)):
                inside = (one for one in _entries(folder, entry) if not _is_folder(folder / one))
                entry = next(inside, entry) if _is_folder(folder / entry) else entry
                hint = "which does not belong to such an output and would be lost; move it or choose another output"
                raise OutputError(f"{name}: contains {entry}, {hint}")
            found.add(str(entry))
        missing = [file for file in self.always if file not in found]
        if found and missing:
            hint = "is not an output of this kind and is not replaced; choose another output"
            raise OutputError(f"{name}: contains {min(found)} but no {missing[0]}, so it {hint}")

    def _knows(self, entry: PurePosixPath, *, is_folder: bool) -> bool:
        names = (*self.always, *self.sometimes)
        if is_folder:
            parents = {str(parent) for name in names for parent in PurePosixPath(name).parents}
            return any(fnmatchcase(str(entry), parent) for parent in parents)
        return any(fnmatchcase(str(entry), name) for name in names)


def is_empty(folder: Path) -> bool:
    """Return whether a folder is empty, except for our hidden files and those of the operating system."""
    return next(_entries(folder, PurePosixPath()), None) is None


def _entries(folder: Path, inner: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield all paths below a folder, sorted by name, without following links."""
    for path in sorted((folder / inner).iterdir()):
        if path.name in SYSTEM_FILES or HIDDEN.fullmatch(path.name):
            continue
        yield inner / path.name
        if _is_folder(path):
            yield from _entries(folder, inner / path.name)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()

"""List the pictures that a command was given: files, folders of any depth, patterns and standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from fer_core.errors import DataError
from fer_core.io.archives import TABLE_SUFFIXES, is_clutter, is_text_about_data
from fer_core.io.compression import is_image
from fer_core.io.file_types import FILM

STANDARD_INPUT: Final = "-"
LONGEST_NAME: Final = 200
"""Bytes of the name of a file made from a picture, which leave room for a suffix; file systems allow 255."""


class Photo(NamedTuple):
    """A picture to read.

    Attributes
    ----------
    file : str
        Path, or `-` for standard input.
    name : str
        Name in the column `file`: the path as given, or the path below a given folder, which it includes if there are
        several inputs.
    in_folder : bool
        Whether the picture was found in a given folder, rather than named itself.
    """

    file: str
    name: str
    in_folder: bool = False

    def source(self) -> object:
        """Return what `fer_infer.photos.images.read_photo` reads."""
        return sys.stdin.buffer if self.file == STANDARD_INPUT else self.file

    def text(self) -> str:
        """Return `name` as text that can be written, with bytes that are not UTF-8 as escapes."""
        return self.name.encode("utf-8", "backslashreplace").decode()

    def flat_name(self) -> str:
        """Return a name without folders for files made from the picture, of at most `LONGEST_NAME` bytes.

        For a picture in a given folder it contains the names of the folders, joined by hyphens.
        """
        path = PurePosixPath(self.text())
        parts = [part for part in path.parts if part not in (path.root, "..")] if self.in_folder else [path.name]
        return "-".join(parts).encode()[-LONGEST_NAME:].decode(errors="ignore")


def free_name(stem: str, used: set[str]) -> str:
    """Return `stem`, or `stem-2`, `stem-3` and so on if it is used, and add it to `used`."""
    name, number = stem, 1
    while name in used:
        number += 1
        name = f"{stem}-{number}"
    used.add(name)
    return name


def list_photos(inputs: Sequence[str | os.PathLike[str]]) -> list[Photo]:
    """List pictures.

    Parameters
    ----------
    inputs : sequence of str or Path
        Pictures; folders, which are searched to any depth; patterns with `*`, `?`, `[...]` and `**`; and `-` for one
        picture on standard input.

    Returns
    -------
    list of Photo
        Pictures in the order of the inputs, those of a folder or pattern sorted by path; each file once. All files of
        a folder are listed, so that a file that is not a picture is reported, except hidden files, files of operating
        systems such as `Thumbs.db`, readmes, licenses and tables.

    Raises
    ------
    DataError
        If an input does not exist, or a folder or pattern contains no file.

    Examples
    --------
    >>> from PIL import Image
    >>> from pathlib import Path, PurePosixPath
    >>> from fer_infer.photos.listing import list_photos
    >>> Path("album/holidays").mkdir(parents=True)
    >>> Image.new("RGB", (64, 48)).save("album/holidays/beach.jpg")
    >>> [photo.name for photo in list_photos(["album"])]
    ['holidays/beach.jpg']
    """
    listed: dict[str, Photo] = {}
    for given in inputs:
        for photo in _photos_of(os.fspath(given), several=len(inputs) > 1):
            listed.setdefault(os.path.abspath(photo.file) if photo.file != STANDARD_INPUT else photo.file, photo)  # noqa: PTH100 - keeps links
    return list(listed.values())


def _photos_of(given: str, *, several: bool) -> Iterator[Photo]:
    if given == STANDARD_INPUT:
        yield Photo(given, given)
        return
    path = os.path.expanduser(given)  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir can raise
        yield from _photos_in(path, given if several else "")
    elif os.path.lexists(path):
        yield Photo(path, given)
    elif glob.has_magic(path):
        found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - patterns can be absolute
        files = [file for file in found if not os.path.isdir(file)]  # noqa: PTH112
        if not files:
            raise DataError(given, "matches no file")
        yield from (Photo(file, file) for file in files)
    else:
        raise DataError(given, "cannot be read: No such file or directory")


def _photos_in(folder: str, prefix: str) -> Iterator[Photo]:
    found = sorted(_files_below(folder, frozenset()))
    if not found:
        raise DataError(folder, "contains no picture")
    for file in found:
        name = os.path.join(prefix, os.path.relpath(file, folder))  # noqa: PTH118 - keeps `./`
        yield Photo(file, name.replace(os.sep, "/"), in_folder=True)


def _files_below(folder: str, above: frozenset[str]) -> Iterator[str]:
    """Yield the files below a folder; links to folders in `above` are not followed."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(folder, f"cannot be read: {error.strerror}") from None
    for entry in entries:
        if is_clutter(entry.name):
            continue
        if os.path.isdir(entry.path):  # noqa: PTH112 - as above
            yield from _files_below(entry.path, above | {here})
        elif Path(entry.name).suffix.lower() not in TABLE_SUFFIXES and not is_text_about_data(entry.name):
            yield entry.path


def is_film(path: str | Path) -> bool:
    """Return whether a file is a film, by its first bytes; False for what cannot be read."""
    try:
        return is_image(path, {FILM})
    except OSError:
        return False

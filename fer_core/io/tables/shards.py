"""Folders of Parquet and Arrow files that form one data set, as Hugging Face distributes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from fer_core.errors import DataError
from fer_core.fer2013 import split_of
from fer_core.io.archives import is_clutter

SUFFIXES: Final = frozenset({".parquet", ".arrow", ".feather"})
NEUTRAL: Final = "data"
"""Name of files and folders that does not state a split."""

_SHARD: Final = re.compile(r"(?P<prefix>.+?)-(?P<number>\d{5,})-of-(?P<count>\d{5,})(-[0-9a-f]+)?")


class Shard(NamedTuple):
    """A file of a data set, and the split that its name states."""

    file: Path
    split: str | None


def find_shards(folder: Path) -> list[Shard]:
    """List the Parquet and Arrow files in a folder or, if there are none, in its subfolders.

    The split of a file is the part of its name before `-00000-of-00002`, or its whole name; for files named `data`, the
    name of their folder.

    Raises
    ------
    DataError
        If the folder cannot be read, a file of a numbered set is missing, or only some files state a split.
    """
    try:
        files = _tables(folder)
        if not files:
            inner = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not is_clutter(entry.name)]
            files = [file for one in inner for file in _tables(one)]
    except OSError as error:
        raise DataError(str(error.filename or folder), f"cannot be read: {error.strerror}") from None
    _require_complete(files)
    shards = [Shard(file, _split(file, folder)) for file in files]
    without = [shard for shard in shards if shard.split is None]
    if without and len(without) < len(shards):
        message = "its name states no split, but those of other files in the folder do"
        raise DataError(str(without[0].file), message)
    return shards


def _tables(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not is_clutter(entry.name))
    return [entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def _split(file: Path, folder: Path) -> str | None:
    match = _SHARD.fullmatch(file.stem)
    name = match["prefix"] if match else file.stem
    if name.lower() == NEUTRAL:
        name = file.parent.name if file.parent != folder else NEUTRAL
    return None if name.lower() == NEUTRAL else split_of(name) or name


def _require_complete(files: list[Path]) -> None:
    """Raise DataError if the name of a file states another number of files than there are."""
    sets: dict[tuple[Path, str, int], set[int]] = {}
    for file in files:
        if match := _SHARD.fullmatch(file.stem):
            key = file.parent, match["prefix"], int(match["count"])
            sets.setdefault(key, set()).add(int(match["number"]))
    for (folder, prefix, count), numbers in sets.items():
        if len(numbers) != count or max(numbers) >= count:
            missing = next((number for number in range(count) if number not in numbers), count)
            message = f"expected {count:,} files {prefix}-*, found {len(numbers):,}; number {missing} is missing"
            raise DataError(str(folder), message)

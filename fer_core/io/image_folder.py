"""Faces from image files: `SPLIT/LABEL/*.png`, `LABEL/*.png`, or `*.png` without labels; also other image types."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import ConfigError, DataError, DataWarning, listed
from fer_core.faces import Faces
from fer_core.fer2013 import CLASS_NAMES, EXPRESSIONS, IMAGE_SIZE, split_of
from fer_core.io.archives import IMAGE_SUFFIXES as SUFFIXES
from fer_core.io.archives import TABLE_SUFFIXES, is_clutter, is_text_about_data
from fer_core.io.columns import ROLES
from fer_core.io.crop import DETECT, Crop
from fer_core.io.images import NO_FACE, NotAlignedError, cut_faces, read_image

LABELS_EXPECTED: Final = f"expected a folder named by a class ({', '.join(EXPRESSIONS)}) or its number, 0 to 6"

_NUMBERED: Final = re.compile(r"([0-9]+)(?:[ _.-]+(.+))?")


class Entry(NamedTuple):
    """An image file, and the label and split that its folders state."""

    file: Path
    label: int | None
    split: str | None


def label_of_folder(name: str) -> int | None:
    """Return the label that the name of a folder states, or None if it states none.

    Parameters
    ----------
    name : str
        A class name in `fer_core.fer2013.CLASS_NAMES`, in any case; a number in 0..6; or both, such as `0_angry`, if
        they agree.
    """
    name = name.strip(" ").lower()
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return CLASS_NAMES.get(name)
    number = int(match[1]) if len(match[1]) == 1 else len(EXPRESSIONS)
    if number >= len(EXPRESSIONS) or (match[2] is not None and CLASS_NAMES.get(match[2]) != number):
        return None
    return number


def list_images(root: Path, *, with_labels: bool = True) -> list[Entry]:
    """List the images in the label folders below `root`, sorted by folder and name.

    With `with_labels=False`, names of folders are ignored: all images below `root` are listed, in the same order.

    Images in `root` itself have no labels; `root` must then have no subfolders. Every other file next to images is
    listed as an image, so that `read_image` reports it and nothing is ignored silently. Exceptions are hidden files,
    files of operating systems such as `Thumbs.db`, readmes and licenses, and tables, which a `DataWarning` names.

    Raises
    ------
    DataError
        If a folder is neither a label nor a split that contains labels, if an image is outside the label folders,
        or if there is no image.
    """
    found, tables = _list(root, with_labels)
    if tables:
        names = listed([repr(table.relative_to(root).as_posix()) for table in tables])
        message = f"{root}: tables left out: {names}; the labels of images are the names of their folders"
        warnings.warn(message, DataWarning, stacklevel=2)
    return found


def _list(root: Path, with_labels: bool) -> tuple[list[Entry], list[Path]]:
    """Return the images of a folder, and its tables, which are ignored."""
    tables: list[Path] = []
    if root.is_file():
        return [Entry(root, None, None)], tables
    try:
        entries = _entries(root, tables)
        if not with_labels:
            found = [Entry(file, None, None) for file in _files_below(root, tables, frozenset())]
        elif any(_is_image(entry) for entry in entries) and not any(entry.is_dir() for entry in entries):
            found = [Entry(entry, None, None) for entry in entries]
        else:
            found = _labelled(root, tables)
    except OSError as error:
        raise DataError(str(error.filename or root), f"cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(str(root), "expected images as SPLIT/LABEL/*.png or *.jpg, or *.png without labels, found none")
    return found, list(dict.fromkeys(tables))


def _files_below(folder: Path, tables: list[Path], above: frozenset[Path]) -> list[Path]:
    """List files in the order in which `_labelled` lists them; links to folders in `above` are not followed."""
    here = folder.resolve()
    if here in above:
        return []
    entries = _entries(folder, tables)
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir()]
    if folders and not any(map(_is_image, files)):  # as next to the folders of labels
        files = []
    return files + [file for inner in folders for file in _files_below(inner, tables, above | {here})]


def _labelled(root: Path, tables: list[Path]) -> list[Entry]:
    top = _folders(root, tables)
    flat = any(_is_meant_as_label(folder.name) for folder in top)
    splits = [(root, None)] if flat else [(folder, split_of(folder.name) or folder.name) for folder in top]
    labels = [(folder, split) for top_folder, split in splits for folder in _folders(top_folder, tables)]
    _require_counted_from_zero([folder for folder, _ in labels])
    return [Entry(entry, _label(folder), split) for folder, split in labels for entry in _entries(folder, tables)]


def _is_meant_as_label(name: str) -> bool:
    """Return whether a folder name is a label or looks like one: a wrong number, or a number of another class."""
    return label_of_folder(name) is not None or _is_number(name) or _contradicts(name)


def _contradicts(name: str) -> bool:
    match = _NUMBERED.fullmatch(name.strip(" ").lower())
    return match is not None and match[2] in CLASS_NAMES and label_of_folder(name) is None


def _label(folder: Path) -> int:
    label = label_of_folder(folder.name)
    if label is None:
        agree = ", with a number and a name that agree" if _contradicts(folder.name) else ""
        raise DataError(str(folder), LABELS_EXPECTED + agree)
    return label


def _require_counted_from_zero(folders: list[Path]) -> None:
    """Raise DataError for folders named 1 to 7: data sets that count classes from 1 order them differently."""
    numbers = {int(folder.name): folder for folder in folders if _is_number(folder.name)}
    if numbers and 0 not in numbers:
        shown = ", ".join(map(str, sorted(numbers)))
        message = f"expected numbers from 0, found {shown}: data sets that count from 1 number the classes differently"
        raise DataError(str(numbers[max(numbers)].parent), f"{message}; rename the folders to class names")


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) == 1


def _entries(folder: Path, tables: list[Path]) -> list[Path]:
    """List a folder without readmes, clutter and tables; append the tables to `tables`."""
    entries = [entry for entry in sorted(folder.iterdir()) if not is_clutter(entry.name)]
    about = [entry for entry in entries if not entry.is_dir() and not _is_image(entry)]
    tables += [entry for entry in about if entry.suffix.lower() in TABLE_SUFFIXES]
    left_out = {entry for entry in about if entry.suffix.lower() in TABLE_SUFFIXES or is_text_about_data(entry.name)}
    return [entry for entry in entries if entry not in left_out]


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and not entry.is_dir()


def _folders(folder: Path, tables: list[Path]) -> list[Path]:
    """Return the subfolders of `folder`; raise DataError if it has images, which would have no label."""
    entries = _entries(folder, tables)
    for entry in entries:
        if _is_image(entry):
            expected = f"expected images in folders named {', '.join(EXPRESSIONS)}"
            raise DataError(str(entry), f"{expected}; found one in {folder.resolve().name!r}")
    return [entry for entry in entries if entry.is_dir()]


def check_image_folder(
    path: str | Path, *, split: str | None, roles: Collection[str], columns: Mapping[str, str] | None
) -> None:
    """Raise the errors that `iter_image_folder` would raise for the names of folders and files."""
    _require_no_columns(path, columns)
    entries, _ = _list(Path(path), _needs_labels(split, roles))
    if split is not None:
        _require_splits(entries, str(path), split)


def _needs_labels(split: str | None, roles: Collection[str]) -> bool:
    """Return whether the names of folders are needed, because they state what was requested."""
    return split is not None or "label" in roles or "split" in roles


def _require_no_columns(path: str | Path, columns: Mapping[str, str] | None) -> None:
    if columns:
        raise ConfigError(f"{path}: contains images, which have no columns to choose")


def _require_splits(entries: list[Entry], source: str, split: str) -> None:
    if all(entry.split is None for entry in entries):
        raise DataError(source, f"has no split folders; cannot select {split} images")


def iter_image_folder(
    path: str | Path,
    *,
    batch_rows: int,
    split: str | None,
    on_error: str,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
    crop: Crop | None = None,
    threads: int = 1,
) -> Iterator[Faces]:
    """Stream an image folder, or one image, in batches; see `fer_core.iter_faces`."""
    root, source = Path(path), str(path)
    _require_no_columns(path, columns)
    listing = list(enumerate(list_images(root, with_labels=_needs_labels(split, roles)), start=1))
    if split is not None:
        _require_splits([entry for _, entry in listing], source, split)
        listing = [(row, entry) for row, entry in listing if entry.split == split]
    labelled = "label" in roles and (not listing or listing[0][1].label is not None)
    with_splits = "split" in roles and (not listing or listing[0][1].split is not None)
    rows = _cut(root, listing, crop, threads)
    for batch_number in count():
        batch = [_checked(row, on_error, root) for row in islice(rows, batch_rows)]
        if not batch and batch_number:
            return
        kept = [row for row in batch if row.image is not None]
        yield Faces(
            images=np.array([row.image for row in kept], np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
            rows=np.array([row.number for row in kept], np.int64),
            labels=np.array([row.entry.label for row in kept], np.int64) if labelled else None,
            ids=np.array([row.id for row in kept], np.str_) if "id" in roles else None,
            splits=np.array([row.entry.split for row in kept], np.str_) if with_splits else None,
            source=source,
            first_row=1,
            rejected=tuple(row.error for row in batch if row.error is not None),
        )


class _Row(NamedTuple):
    """A face, or an image without one: its number, entry and id, and the pixels or the error."""

    number: int
    entry: Entry
    id: str
    image: NDArray[np.uint8] | None
    error: DataError | None


def _cut(root: Path, listing: Sequence[tuple[int, Entry]], crop: Crop | None, threads: int) -> Iterator[_Row]:
    """Yield the faces of images in order.

    An image in a label folder has one face, since it has one label. Other photos have any number of faces; they and the
    photos without a face are then numbered from 1, and the ids of faces end in the number of the face in its photo.
    """
    folder = root.parent if root.is_file() else root
    several = crop is not None and crop.faces == DETECT and not _states_labels(root)
    cut = _aligned if crop is None else crop.all_faces if several else crop.main_face
    number = 0
    cuts = cut_faces([entry.file for _, entry in listing], cut, threads)
    for (place, entry), found in zip(listing, cuts, strict=True):
        name = entry.file.relative_to(folder).as_posix()
        if isinstance(found, DataError):
            number = number + 1 if several else place
            yield _Row(number, entry, name, None, type(found)(found.source, found.message, row=number))
            continue
        for face, image in enumerate(found, start=1):
            number = number + 1 if several else place
            yield _Row(number, entry, f"{name}#{face}" if several else name, image, None)


def _aligned(file: Path) -> list[NDArray[np.uint8]]:
    return [read_image(file)]


def _checked(row: _Row, on_error: str, root: Path) -> _Row:
    """Return a row, or raise its error without the number, which the name of the file replaces."""
    if row.error is None or on_error == "skip":
        return row
    error = row.error
    if isinstance(error, NotAlignedError):
        raise error.with_remedy()
    of_several = error.message == NO_FACE and not root.is_file()  # of one picture, nothing would be left
    remedy = "; `on_error='skip'` leaves such pictures out" if of_several else ""
    raise DataError(error.source, error.message + remedy)


def _states_labels(root: Path) -> bool:
    """Return whether the images below `root` have labels, even if they are read without them."""
    try:
        return _list(root, with_labels=True)[0][0].label is not None
    except DataError:
        return False

"""Faces from image files: `SPLIT/LABEL/*.{png,jpg}`, `LABEL/*.{png,jpg}` or, without labels, `*.{png,jpg}`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core.columns import ROLES
from fer_core.errors import DataError
from fer_core.expressions import EXPRESSIONS, IMAGE_SIZE, USAGES
from fer_core.faces import Faces

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg"})
ORIENTATION: Final = 0x0112
"""The EXIF tag that says how to turn an image that is not stored upright."""

MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
"""Pillow's modes of at most 8 bits a channel that turn into gray levels without rounding."""

SPLITS: Final = {usage.lower(): usage for usage in USAGES} | {"train": "Training"}
"""Split folders that go by a name of FER2013; any other keeps its own name, since `test` could be either test."""


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and not entry.is_dir()


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, beside which no image may lie: no label would say what it shows."""
    entries = _entries(folder)
    for entry in entries:
        if _is_image(entry):
            raise DataError(str(entry), f"expected images in folders named {', '.join(EXPRESSIONS)}; found it outside")
    return [entry for entry in entries if entry.is_dir()]


def list_images(root: Path) -> list[tuple[Path, int | None, str | None]]:
    """List what the label folders below `root` hold as (path, label, usage or None), sorted by folder and name.

    Images that lie in `root` itself, without any folder beside them, have no label. Whatever lies with them or in a
    label folder counts as an image, so that `read_image` refuses what is none and nothing is
    passed over; names that begin with a dot are left out.

    Raises
    ------
    DataError
        If a folder is neither a label nor a split that holds labels, if an image lies outside the label folders,
        or if there is no image at all.
    """
    try:
        entries = _entries(root)
        if any(_is_image(entry) for entry in entries) and not any(entry.is_dir() for entry in entries):
            return [(entry, None, None) for entry in entries]
        top = _folders(root)
        flat = any(folder.name.lower() in EXPRESSIONS for folder in top)
        splits = [(root, None)] if flat else [(f, SPLITS.get(f.name.lower(), f.name)) for f in top]
        found: list[tuple[Path, int | None, str | None]] = []
        for split, usage in splits:
            for folder in _folders(split):
                if folder.name.lower() not in EXPRESSIONS:
                    raise DataError(str(folder), f"expected a folder named one of {', '.join(EXPRESSIONS)}")
                label = EXPRESSIONS.index(folder.name.lower())
                found += [(entry, label, usage) for entry in _entries(folder)]
    except OSError as error:
        raise DataError(str(error.filename or root), f"cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(str(root), "expected images as SPLIT/LABEL/*.png or *.jpg, or *.png without labels, found none")
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read one gray 48x48 PNG or JPEG file; a colour file passes where its channels are equal.

    Returns
    -------
    ndarray of uint8, shape (48, 48)

    Raises
    ------
    DataError
        If the file is no such image: also where it is transparent somewhere, or has more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.size != (IMAGE_SIZE, IMAGE_SIZE):
                raise DataError(str(path), f"expected a 48x48 image, found {image.width}x{image.height}")
            if image.mode not in MODES:
                raise DataError(str(path), f"expected a gray image of 8 bits, found mode {image.mode}")
            if image.getexif().get(ORIENTATION, 1) != 1:
                raise DataError(str(path), "expected an image stored upright, found an EXIF orientation that turns it")
            if (frames := getattr(image, "n_frames", 1)) != 1:
                raise DataError(str(path), f"expected one image, found {frames} frames")
            channels = np.asarray(image.convert("RGBA"))
    except DataError:
        raise
    except Exception as error:  # what Pillow raises at damaged chunks has no base in common
        reason = getattr(error, "strerror", None) or "damaged or of another format"
        raise DataError(str(path), f"expected a PNG or JPEG image, found none that can be read ({reason})") from None
    if (channels[..., 3] != 255).any():
        raise DataError(str(path), "expected an opaque image, found transparency")
    if (channels[..., :3] != channels[..., :1]).any():
        raise DataError(str(path), "expected a gray image, found colour")
    return channels[..., 0].copy()


def iter_image_folder(
    path: str | Path,
    *,
    batch_rows: int,
    usage: str | None,
    on_error: str,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Faces]:
    """Stream an image tree as batches; see `fer_core.iter_faces`, which this serves."""
    root, source = Path(path), str(path)
    listing = list(enumerate(list_images(root), start=1))
    if usage is not None:
        if all(split is None for _, (_, _, split) in listing):
            raise DataError(source, f"has no split folders, so its {usage} images cannot be told")
        listing = [entry for entry in listing if entry[1][2] == usage]
    labelled = not listing or listing[0][1][1] is not None
    for start in range(0, max(len(listing), 1), batch_rows):
        images, kept, rejected = [], [], []
        for entry in listing[start : start + batch_rows]:
            try:
                images.append(read_image(entry[1][0]))
                kept.append(entry)
            except DataError as error:
                if on_error == "fail":
                    raise
                rejected.append(DataError(error.source, error.message, row=entry[0]))
        splits = [split for _, (_, _, split) in kept]
        yield Faces(
            images=np.array(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
            rows=np.array([row for row, _ in kept], np.int64),
            labels=np.array([label for _, (_, label, _) in kept], np.int64) if labelled else None,
            ids=np.array([file.relative_to(root).as_posix() for _, (file, _, _) in kept], np.str_),
            usage=None if listing and listing[0][1][2] is None else np.array(splits, np.str_),
            source=source,
            first_row=1,
            rejected=tuple(rejected),
        )

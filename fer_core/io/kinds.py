"""What a path contains: images, a table or a CSV."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from fer_core.extras import needed_from
from fer_core.io.archives import IMAGE_SUFFIXES
from fer_core.io.compression import is_image, table_type
from fer_core.io.crop import Crop, no_images
from fer_core.io.file_types import IMAGES, PICTURES, TABLES
from fer_core.places import can_be_reread, locate


def kind_of(path: str | Path, crop: Crop | None) -> Literal["images", "shards", "table", "csv"]:
    """Return what a path contains. A pipe is read as a CSV, since its first bytes cannot be read twice."""
    named = crop is not None and Path(path).suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(path)  # noqa: PTH113 - Path.is_file can raise
    if named or is_image(path, IMAGES if crop is None else PICTURES):
        return "images"
    if str(path) != "-" and os.path.isdir(path):  # noqa: PTH112 - as above
        from fer_core.io.tables.shards import find_shards

        return "shards" if find_shards(Path(path)) else "images"
    return "table" if can_be_reread(path) and table_type(path) in TABLES else "csv"


def require_no_crop(path: str | Path, crop: Crop | None) -> None:
    """Raise ConfigError if faces are to be cut from a CSV; a file that does not exist is reported by its reader."""
    if crop is not None and (str(path) == "-" or os.path.exists(locate(path).file)):  # noqa: PTH110 - as above
        raise no_images(str(path), crop)


def crop_of_images(path: str | Path, crop: Crop | None, *, columns: Mapping[str, str] | None = None) -> Crop | None:
    """Return `crop` if `path` contains images, else None: for a second data set, which may be of another kind.

    Parameters are those of `iter_faces`.
    """
    kind = kind_of(path, crop)
    if crop is None or kind == "images":
        return crop
    if kind == "csv":
        return None
    with needed_from("parquet"):
        from fer_core.io.tables.reader import has_images
    return crop if has_images(path, columns=columns) else None

"""Write faces as a CSV in the layout of fer2013.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_core.errors import DataError
from fer_core.faces import Faces
from fer_core.fer2013 import SPLIT_EXPECTED, split_of
from fer_core.io.csv_output import CSV_ENDINGS, open_csv
from fer_core.outputs.staging import staged


def write_csv(faces: Faces, path: str | Path, *, force: bool = False) -> None:
    """Write faces as `emotion,pixels,Usage`, the layout of Kaggle's fer2013.csv.

    Parameters
    ----------
    faces : Faces
        Faces with labels and splits.
    path : str or Path
        File to write, whose name ends in `.csv`, `.csv.gz` or `.csv.zst`.
    force : bool
        Replace an existing file.

    Raises
    ------
    DataError
        If the faces have no labels or no splits, or a split that the reader would refuse.
    OutputError
        If `path` exists and `force` is false, has another ending, or cannot be written.
    """
    labels = faces.require_labels()
    if faces.splits is None:
        raise DataError(faces.source, "has no splits, which the layout of fer2013.csv requires")
    unknown = sorted(split for split in set(faces.splits.tolist()) if split_of(split) != split)
    if unknown:
        raise DataError(faces.source, f"has split {', '.join(unknown)}; {SPLIT_EXPECTED}")
    gray_levels = np.array([str(level) for level in range(256)], dtype=object)
    with staged(path, force=force, endings=CSV_ENDINGS) as stage, open_csv(stage, path, encoding="ascii") as file:
        file.write("emotion,pixels,Usage\n")
        for image, label, split in zip(faces.images, labels, faces.splits, strict=True):
            file.write(f"{label},{' '.join(gray_levels[image.reshape(-1)])},{split}\n")

"""Faces to measure with: the first ones of real data, or drawn ones."""

from __future__ import annotations

from itertools import chain, cycle, islice
from pathlib import Path
from typing import Final

import numpy as np

from fer_core import DataError, Faces, iter_faces
from fer_core.io.compression import open_stream
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_train.data.splits import Splits, load_splits, pixel_statistics

DRAWN: Final = 640
"""Number of different drawn faces; more rows repeat them."""


def find_data(data: Path | None, *names: str, splits: bool = False) -> Path | None:
    """Return the file of faces to use, or None for drawn ones.

    Parameters
    ----------
    data : Path or None
        A file, or a folder to search.
    names : str
        File names to search for in a folder, the preferred one first.
    splits : bool
        Require faces with splits.
    """
    if data is None:
        return None
    for path in [data / name for name in names] if data.is_dir() else [data]:
        if path.exists() and (not splits or next(iter_faces(path, batch_rows=1)).splits is not None):
            return path
    return None


def drawn_faces(n: int) -> Faces:
    """Return `n` drawn faces with labels and splits; only `DRAWN` of them differ."""
    return synthesize(max(10, min(n, DRAWN)), 0).take(np.arange(n) % DRAWN)


def write_faces(data: Path | None, n: int, path: Path) -> str:
    """Write a CSV of `n` rows.

    Parameters
    ----------
    data : Path or None
        CSV whose first rows are copied, and repeated if there are fewer than `n`; None for drawn faces.
    n : int
        Number of rows.
    path : Path
        CSV to write.

    Returns
    -------
    str
        What the rows are.
    """
    if data is None:
        data = path.with_name("drawn.csv")
        write_csv(synthesize(max(10, min(n, DRAWN)), 0), data, force=True)
        name = "drawn faces"
    else:
        name = f"faces of {data.name}"
    with open_stream(data) as stream:
        header = stream.readline()
        rows = [row.rstrip(b"\r\n") + b"\n" for row in islice(stream, n)]
    if not rows:
        raise DataError(str(data), "has no row")
    with path.open("wb") as file:
        file.writelines(chain([header], islice(cycle(rows), n)))
    return f"{n:,} {name}"


def splits_of(path: Path | None, training: int, validation: int) -> Splits:
    """Return the first Training and PublicTest faces of a file, or of drawn faces where `path` is None."""
    if path is None:
        faces = synthesize(10 * max(training // 8 + 1, min(validation, DRAWN // 10)), 0)
        whole = faces.of_split("Training"), faces.of_split("PublicTest")
    else:
        splits = load_splits(path)
        whole = splits.training, splits.validation
    first = whole[0].take(slice(training))
    return Splits(first, whole[1].take(slice(validation)), *pixel_statistics(first.images))

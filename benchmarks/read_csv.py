"""Read a CSV of faces: the validating reader against common ways, none of which validates.

The reader is timed with its compiled decoder, as in a process that has loaded it, and with its NumPy decoder, which
a process uses until it has read enough to load the other one. DATA is a CSV, or a folder with test.csv; by default
faces are drawn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from benchmarks.harness.command import benchmark, data_argument, faces_option, repeats_option
from benchmarks.harness.faces import find_data, write_faces
from benchmarks.harness.report import Goal, Report
from benchmarks.harness.side_by_side import compare
from fer_core import PIXELS, FerError, read_faces
from fer_core.io.csv import decoder

OURS: Final = "fer_core.read_faces, validating"
POLARS: Final = "polars split + cast"
FROMSTRING: Final = "pandas + np.fromstring"

Pixels = NDArray[np.uint8]


def _pixel_column(names: list[str]) -> str:
    return next(name for name in names if name.strip() in ("pixels", "feature"))


def pixel_texts(path: Path) -> Any:
    """Return the column of pixels, read with pandas."""
    table = pd.read_csv(path)
    return table[_pixel_column(list(table.columns))]


def with_split(path: Path) -> Pixels:
    """Read with pandas and str.split, one face at a time."""
    return np.stack([np.array(cell.split(), dtype=np.uint8) for cell in pixel_texts(path)])


def with_fromstring(path: Path) -> Pixels:
    """Read with pandas and one np.fromstring over all cells."""
    return np.fromstring(" ".join(pixel_texts(path)), dtype=np.uint8, sep=" ").reshape(-1, PIXELS)


def with_polars(path: Path) -> Pixels:
    """Read with polars: split, explode and cast, in its own threads."""
    table = pl.read_csv(path)
    texts = table[_pixel_column(table.columns)]
    return texts.str.split(" ").explode().cast(pl.UInt8).to_numpy().reshape(-1, PIXELS)


def with_reader(path: Path) -> Pixels:
    """Read with this toolkit."""
    return read_faces(path).images.reshape(-1, PIXELS)


def with_numpy(path: Path) -> Pixels:
    """Read with this toolkit in a process that has not loaded the compiled decoder."""
    choice, decoder._choice = decoder._choice, decoder._Choice()
    try:
        return with_reader(path)
    finally:
        decoder._choice = choice


WAYS: Final[dict[str, Callable[[Path], Pixels]]] = {
    OURS: with_reader,
    "fer_core.read_faces, NumPy decoder": with_numpy,
    POLARS: with_polars,
    FROMSTRING: with_fromstring,
    "pandas + str.split": with_split,
}


@benchmark(data_argument, faces_option(7178), repeats_option(5), cuda=False)
def main(report: Report, data: Path | None, faces: int, repeats: int) -> None:
    """Print the table and the goals."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.csv"
        about = write_faces(find_data(data, "test.csv", "fer2013.csv"), faces, path)
        decoder.load_compiled_decoder()
        expected = with_reader(path)
        for name, way in WAYS.items():
            if not np.array_equal(expected, way(path)):
                raise FerError(f"{name} decodes other pixels than {OURS}")
        size_mb = path.stat().st_size / 1e6
        rates = compare(
            report,
            f"CSV to pixels: {about}, {size_mb:.0f} MB of text",
            {name: partial(way, path) for name, way in WAYS.items()},
            units=size_mb,
            unit="MB",
            repeats=repeats,
        )
    report.goals(
        Goal(f"times as fast as {POLARS}", rates[OURS] / rates[POLARS], at_least=10),
        Goal(f"times as fast as {FROMSTRING}", rates[OURS] / rates[FROMSTRING], at_least=15),
    )


if __name__ == "__main__":
    main()

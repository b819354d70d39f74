"""CSV text to uint8 faces: the validating reader against what people use, none of which validates.

The reader is timed in a warm process, which has loaded its compiled decoder, and with its NumPy decoder, which a
process uses as long as it has read little.

python benchmarks/read_csv.py [DATA]    a CSV, or a folder with test.csv; default: as many drawn faces
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from _side_by_side import Goal, compare, print_goals, real_data

from fer_core import PIXELS, read_faces
from fer_core.io.csv import decoder as csv_decoder
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize

ROWS = 7178
"""As many as test.csv of the course has."""

OURS, NUMPY = "fer_core.read_faces, validating", "the same with NumPy"
POLARS, FROMSTRING = "polars split + cast", "pandas + np.fromstring"


def _pixel_column(names: list[str]) -> str:
    return next(name for name in names if name.strip() in ("pixels", "feature"))


def with_split(path: Path) -> np.ndarray:
    """Read with pandas and str.split, one face at a time."""
    table = pd.read_csv(path)
    return np.stack([np.array(cell.split(), dtype=np.uint8) for cell in table[_pixel_column(list(table.columns))]])


def with_fromstring(path: Path) -> np.ndarray:
    """Read with pandas and one np.fromstring over all cells."""
    table = pd.read_csv(path)
    pixels = np.fromstring(" ".join(table[_pixel_column(list(table.columns))]), dtype=np.uint8, sep=" ")
    return pixels.reshape(-1, PIXELS)


def with_polars(path: Path) -> np.ndarray:
    """Read with polars: split, explode, cast, all in its own threads."""
    table = pl.read_csv(path)
    pixels = table[_pixel_column(table.columns)].str.split(" ").explode().cast(pl.UInt8)
    return pixels.to_numpy().reshape(-1, PIXELS)


def with_numpy(path: Path) -> np.ndarray:
    """Read as a process does that has not loaded the compiled decoder."""
    choice, csv_decoder._choice = csv_decoder._choice, csv_decoder._Choice()
    try:
        return read_faces(path).images.reshape(-1, PIXELS)
    finally:
        csv_decoder._choice = choice


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = real_data(sys.argv[1] if len(sys.argv) > 1 else None, "test.csv", "fer2013.csv")
        if path is None:
            path = Path(folder) / "drawn.csv"
            write_csv(synthesize(ROWS, 0), path)
        csv_decoder.load_compiled_decoder()
        faces = read_faces(path)
        ways = {
            OURS: lambda: read_faces(path),
            NUMPY: lambda: with_numpy(path),
            POLARS: lambda: with_polars(path),
            FROMSTRING: lambda: with_fromstring(path),
            "pandas + str.split": lambda: with_split(path),
        }
        for name, way in list(ways.items())[1:]:
            if not np.array_equal(faces.images.reshape(-1, PIXELS), way()):
                sys.exit(f"{name} disagrees")
        size_mb = path.stat().st_size / 1e6
        seconds = compare(
            f"{path.name}: {len(faces):,} faces, {size_mb:.0f} MB of text; one unit is a megabyte",
            ways,
            units=size_mb,
            unit="MB",
            repeats=5,
        )
    print_goals(
        Goal(f"times as fast as {POLARS}", seconds[POLARS] / seconds[OURS], at_least=10),
        Goal(f"times as fast as {FROMSTRING}", seconds[FROMSTRING] / seconds[OURS], at_least=15),
    )


if __name__ == "__main__":
    main()

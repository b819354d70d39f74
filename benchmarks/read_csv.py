"""CSV text to uint8 faces: the validating reader against what tutorials do.

python benchmarks/read_csv.py [DATA]    DATA as test.csv, with a column `feature` or `pixels`; default: drawn faces
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _side_by_side import compare

from fer_core import PIXELS, read_faces
from fer_core.csv_writer import write_csv
from fer_train.data import synthesize


def _cells(path: Path) -> pd.Series[str]:
    table = pd.read_csv(path)
    return table[next(name for name in table.columns if name.strip() in ("pixels", "feature"))]


def with_split(path: Path) -> np.ndarray:
    """Read with pandas and str.split, one face at a time."""
    return np.stack([np.array(cell.split(), dtype=np.uint8) for cell in _cells(path)])


def with_fromstring(path: Path) -> np.ndarray:
    """Read with pandas and one np.fromstring over all cells."""
    pixels = np.fromstring(" ".join(_cells(path)), dtype=np.uint8, sep=" ")
    return pixels.reshape(-1, PIXELS)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.csv"
        if len(sys.argv) > 1:
            path = Path(sys.argv[1])
        else:
            write_csv(synthesize(5000, 0), path)
        faces = read_faces(path)
        if not np.array_equal(faces.images.reshape(-1, PIXELS), with_fromstring(path)):
            sys.exit("the ways disagree")
        compare(
            f"{path.name}: {len(faces):,} faces, {path.stat().st_size / 1e6:.0f} MB of text",
            {
                "fer_core.read_faces": lambda: read_faces(path),
                "pandas + np.fromstring": lambda: with_fromstring(path),
                "pandas + str.split": lambda: with_split(path),
            },
            units=len(faces),
            unit="faces",
            repeats=3,
        )


if __name__ == "__main__":
    main()

"""Write predictions as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.io.csv_output import open_csv
from fer_infer.scoring.writers.prediction_writer import PredictionWriter, face_ids

FLOAT_FORMAT: Final = "%.9g"
"""Nine significant digits represent every float32 exactly (IEEE 754-2019, section 5.12.2)."""


class CsvPredictionWriter(PredictionWriter):
    """Writes predictions as CSV; parameters are those of `PredictionWriter`."""

    def __init__(
        self,
        path: Path,
        columns: str,
        class_names: Sequence[str],
        *,
        with_source: bool = False,
        name: str | Path = "",
        names: bool = False,
    ) -> None:
        super().__init__(path, columns, class_names, with_source=with_source, name=name, names=names)
        self._file = open_csv(path, name, errors="backslashreplace")
        # The csv module quotes ids that contain a comma, a quote or a line break. It writes into a list, because the
        # numbers after an id need no quotes and are formatted faster without it.
        self._lines: list[str] = []
        self._cells = csv.writer(SimpleNamespace(write=self._lines.append), lineterminator="\n")
        self._cells.writerow(self.header)
        self._flush()

    def write(
        self,
        faces: Faces,
        labels: NDArray[np.int64],
        logits: NDArray[np.float32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Write one batch; arguments are those of `PredictionWriter.write`."""
        columns: list[Iterable[Any]] = [face_ids(faces), self._labels(labels)]
        if self._with_source:
            columns.insert(0, [faces.source] * len(faces))
        values = self._values(logits, probabilities)
        self._cells.writerows(zip(*columns, strict=True))
        if values is not None:
            rows = zip(self._lines, decimal_rows(values), strict=True)
            self._lines[:] = [f"{line[:-1]}{numbers}\n" for line, numbers in rows]
        self._flush()

    def _flush(self) -> None:
        self._file.writelines(self._lines)
        self._lines.clear()

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        with suppress(OSError):
            self._file.close()


def decimal_rows(values: NDArray[np.float32]) -> list[str]:
    """Format each row of a table as text.

    Parameters
    ----------
    values : ndarray of float32, shape (N, C)
        Any values, including infinities and NaN.

    Returns
    -------
    list of str
        N rows of C values in `FLOAT_FORMAT`, each value preceded by a comma.
    """
    row = f",{FLOAT_FORMAT}" * values.shape[1]
    return [row % tuple(cells) for cells in values.tolist()]

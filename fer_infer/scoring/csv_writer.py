"""Predictions as CSV."""

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
from fer_infer.scoring.prediction_writer import PredictionWriter, face_ids

FLOAT_FORMAT: Final = "%.9g"
"""Nine significant digits identify every float32 number (IEEE 754-2019, section 5.12.2)."""


class CsvPredictionWriter(PredictionWriter):
    """Writes predictions as CSV; parameters as for `PredictionWriter`."""

    def __init__(
        self,
        path: Path,
        columns: str,
        class_names: Sequence[str],
        *,
        with_source: bool = False,
        name: str | Path = "",
    ) -> None:
        super().__init__(path, columns, class_names, with_source=with_source, name=name)
        self._file = open_csv(path, name, errors="backslashreplace")
        # The csv module quotes an id that holds a comma, a quote or a line end, and nothing else. It writes into a
        # list, for the numbers that follow an id need no quotes and are many.
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
        """Write one batch; arguments as for `PredictionWriter.write`."""
        columns: list[Iterable[Any]] = [[faces.source] * len(faces)] * self._with_source
        columns += [face_ids(faces), labels.tolist()]
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
        """Let go of the file, which will never be complete."""
        with suppress(OSError):
            self._file.close()


def decimal_rows(values: NDArray[np.float32]) -> list[str]:
    """Write each row of a table as text.

    Parameters
    ----------
    values : ndarray of float32, shape (N, C)
        Any values, including infinities and NaN.

    Returns
    -------
    list of str
        N rows of C values, each by `FLOAT_FORMAT` and with a comma before it.
    """
    row = f",{FLOAT_FORMAT}" * values.shape[1]
    return [row % tuple(cells) for cells in values.tolist()]

"""Choose the format of a prediction file by the ending of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fer_core.extras import needed_from
from fer_core.io.csv_output import CSV_ENDINGS
from fer_infer.scoring.writers.csv_writer import CsvPredictionWriter
from fer_infer.scoring.writers.prediction_writer import PredictionWriter

ENDINGS: Final = (*CSV_ENDINGS, ".parquet")
"""Allowed endings of the names of prediction files."""


def prediction_writer(output: str | Path) -> type[PredictionWriter]:
    """Return the writer class for `output`: Parquet if its name ends in `.parquet`, else CSV.

    Raises
    ------
    FerError
        If Parquet is requested and `pyarrow` is not installed.
    """
    if Path(output).suffix.lower() != ".parquet":
        return CsvPredictionWriter
    with needed_from("parquet"):
        from fer_infer.scoring.writers.parquet_writer import ParquetPredictionWriter
    return ParquetPredictionWriter

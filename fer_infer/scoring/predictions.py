"""Prediction files: their formats, chosen by the ending of the name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fer_core.extras import needed_from
from fer_core.io.csv_output import CSV_ENDINGS
from fer_infer.scoring.csv_writer import CsvPredictionWriter
from fer_infer.scoring.prediction_writer import PredictionWriter

ENDINGS: Final = (*CSV_ENDINGS, ".parquet")
"""Endings of the names of prediction files."""


def prediction_writer(output: str | Path) -> type[PredictionWriter]:
    """Return what writes `output`: Parquet where its name ends in `.parquet`, CSV elsewhere.

    Raises
    ------
    FerError
        If Parquet is asked for and `pyarrow` is not installed.
    """
    if Path(output).suffix.lower() != ".parquet":
        return CsvPredictionWriter
    with needed_from("parquet"):
        from fer_infer.scoring.parquet_writer import ParquetPredictionWriter
    return ParquetPredictionWriter

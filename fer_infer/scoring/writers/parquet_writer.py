"""Write predictions as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fer_core import Faces
from fer_infer.scoring.writers.prediction_writer import PredictionWriter, face_ids

ROW_GROUP_ROWS: Final = 1 << 16
"""Rows per row group: about 3 MB with seven probabilities per face. Readers load a row group at once."""

TYPES: Final = {"source": pa.string(), "id": pa.string(), "label": pa.int64()}
"""Types by column; all other columns are classes. Ids are always text, so that all outputs have one schema."""


class ParquetPredictionWriter(PredictionWriter):
    """Writes predictions as Parquet; parameters are those of `PredictionWriter`."""

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
        super().__init__(path, columns, class_names, with_source=with_source, names=names)
        types = {**TYPES, "label": pa.string()} if names else TYPES
        self._schema = pa.schema([(name, types.get(name, pa.float32())) for name in self.header])
        self._file = open(path, "wb")  # noqa: SIM115 - closed at the end of the context
        self._parquet = pq.ParquetWriter(self._file, self._schema)
        self._waiting: list[pa.RecordBatch] = []

    def write(
        self,
        faces: Faces,
        labels: NDArray[np.int64],
        logits: NDArray[np.float32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Write one batch; arguments are those of `PredictionWriter.write`."""
        columns: list[Any] = [pa.array(face_ids(faces)).cast(pa.string()), self._labels(labels)]
        if self._with_source:
            columns.insert(0, pa.repeat(faces.source, len(faces)))
        values = self._values(logits, probabilities)
        if values is not None:
            columns += list(np.ascontiguousarray(values.T))
        self._waiting.append(pa.record_batch(columns, schema=self._schema))
        if sum(map(len, self._waiting)) >= ROW_GROUP_ROWS:
            self._write_row_groups()

    def _write_row_groups(self) -> None:
        self._parquet.write_table(pa.Table.from_batches(self._waiting, self._schema), row_group_size=ROW_GROUP_ROWS)
        self._waiting.clear()

    def close(self) -> None:
        """Complete the file."""
        if self._waiting:
            self._write_row_groups()
        self._parquet.close()
        self._file.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        self._parquet.is_open = False  # or the footer would be written when it is garbage-collected
        with suppress(OSError):
            self._file.close()

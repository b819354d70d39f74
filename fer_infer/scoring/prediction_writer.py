"""The base of what writes predictions: columns, header, and completion or abandonment of the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, Faces

COLUMNS: Final = ("id-label", "probabilities", "logits")
"""What a prediction file may hold; `id` and `label` come first in each."""


class PredictionWriter(ABC):
    """Writes one row a face: `id,label`, and with `probabilities` or `logits` one column a class.

    Use it as a context, at whose end the file is complete.

    Parameters
    ----------
    path : Path
        The file to write.
    columns : {"id-label", "probabilities", "logits"}
        What to write.
    class_names : sequence of str
        Names of the classes, in the order of the model's columns; the names of their columns.
    with_source : bool
        Begin each row with `source`, where predictions of several files are to be told apart.
    name : str or Path
        Name of the finished file, where `path` is not: `.gz` or `.zst` at its end says how a CSV is packed.

    Attributes
    ----------
    header : list of str
        The names of all columns.
    """

    def __init__(
        self,
        path: Path,
        columns: str,
        class_names: Sequence[str],
        *,
        with_source: bool = False,
        name: str | Path = "",
    ) -> None:
        if columns not in COLUMNS:
            raise ConfigError(f"columns: expected one of {', '.join(COLUMNS)}, found {columns!r}")
        self._columns = columns
        self._with_source = with_source
        self.header = [*["source"] * with_source, "id", "label", *([] if columns == "id-label" else class_names)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    @abstractmethod
    def write(
        self,
        faces: Faces,
        labels: NDArray[np.int64],
        logits: NDArray[np.float32],
        probabilities: NDArray[np.float32],
    ) -> None:
        """Write one batch; `labels` are class numbers (N,), the other two arrays (N, classes)."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of the file, which will never be complete."""

    def _values(self, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return what stands in the columns of the classes, where there are any."""
        return {"logits": logits, "probabilities": probabilities}.get(self._columns)


def face_ids(faces: Faces) -> list[Any]:
    """Return the ids as written in the source, or 0-based positions among all its rows where it has none.

    Counting the rows, and not the faces that were kept, gives a face the same id whether or not rows before it were
    skipped.
    """
    if faces.ids is not None:
        return list(faces.ids.tolist())
    return list(faces.row_positions().tolist())

"""Base class of prediction writers: columns, header, and completing or abandoning the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_infer.config import require


class PredictionWriter(ABC):
    """Writes one row per face: `id,label`, and with `probabilities` or `logits` one more column per class.

    Use it as a context manager, which completes the file at its end.

    Parameters
    ----------
    path : Path
        File to write.
    columns : {"id-label", "probabilities", "logits"}
        Columns to write.
    class_names : sequence of str
        Class names in the order of the model's outputs; they name the columns.
    with_source : bool
        Start each row with the column `source`, for predictions of several files.
    name : str or Path
        Name of the finished file if `path` is a temporary one: a CSV is compressed if it ends in `.gz` or `.zst`.
    names : bool
        Write class names as labels, instead of numbers.

    Attributes
    ----------
    header : list of str
        Names of all columns.
    """

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
        require("columns", columns)
        self._columns = columns
        self._with_source = with_source
        self._names = list(class_names) if names else None
        source = ["source"] if with_source else []
        self.header = [*source, "id", "label", *([] if columns == "id-label" else class_names)]

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
        """Close the file without completing it."""

    def _labels(self, labels: NDArray[np.int64]) -> list[Any]:
        """Return the cells of the column `label`."""
        numbers: list[int] = labels.tolist()
        return numbers if self._names is None else [self._names[number] for number in numbers]

    def _values(self, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the values of the class columns, or None if there are no such columns."""
        return {"logits": logits, "probabilities": probabilities}.get(self._columns)


def face_ids(faces: Faces) -> list[Any]:
    """Return the ids as written in the source, or 0-based row positions if it has no ids.

    Positions count all rows, including rejected ones, so that the id of a face does not depend on `on_error`.
    """
    if faces.ids is not None:
        return list(faces.ids.tolist())
    return list(faces.row_positions().tolist())

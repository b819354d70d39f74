"""Summaries of scored data sets: number of rows, rejected rows, predictions per class, provider and speed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_infer.runtime.session import provider_text


@dataclass(frozen=True)
class Counts:
    """Number of rows that were scored and rejected.

    Attributes
    ----------
    rows : int
        Scored faces.
    rejected : int
        Rows that could not be read and were skipped.
    label_counts : dict of str to int
        Faces per predicted class.
    """

    rows: int
    rejected: int
    label_counts: dict[str, int]

    @classmethod
    def total(cls, counts: Iterable[Counts], class_names: Sequence[str]) -> Counts:
        """Return the sum of counts."""
        parts = list(counts)
        return cls(
            rows=sum(part.rows for part in parts),
            rejected=sum(part.rejected for part in parts),
            label_counts={name: sum(part.label_counts.get(name, 0) for part in parts) for name in class_names},
        )

    def predicted_text(self) -> str:
        """Return the number of predictions per class as a line."""
        return "predicted: " + ", ".join(f"{name} {count:,}" for name, count in self.label_counts.items())


@dataclass(frozen=True)
class ScoreSummary(Counts):
    """Summary of a scored file.

    Attributes
    ----------
    rows, rejected : int
        Scored faces, and rows that were skipped.
    label_counts : dict of str to int
        Faces per predicted class.
    precision : {"fp32", "int8", "fp16"}
        Precision of the graph.
    provider : str
        Execution provider that the ONNX Runtime session reports.
    provider_note : str
        Why the provider is not CUDA; empty if it is.
    tta : {"none", "flip", "flip-shift"}
        Test-time augmentation.
    elapsed_s : float
        Wall time in seconds, including the time to load the model.
    output : Path
        File of predictions.
    rejects : Path or None
        File that lists the rejected rows; None if no row was rejected.
    """

    precision: str
    provider: str
    provider_note: str
    tta: str
    elapsed_s: float
    output: Path
    rejects: Path | None

    @property
    def faces_per_s(self) -> float:
        """Scored faces per second."""
        return self.rows / self.elapsed_s

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        unit = "row" if self.rows == 1 else "rows"
        lines = [f"{self.output}: {self.rows:,} {unit} in {self.elapsed_s:.2f} s, {self.faces_per_s:,.0f} faces/s"]
        if self.rejects is not None:
            lines.append(f"{self.rejects}: rows left out: {self.rejected:,}")
        provider = provider_text(self.provider, self.provider_note, self.precision, self.tta)
        return "\n".join([*lines, self.predicted_text(), provider])

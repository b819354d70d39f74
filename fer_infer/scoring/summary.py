"""Summaries of scored data sets: number of rows, rejected rows, predictions per class, provider and speed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_core.terminal.progress import speed_text
from fer_infer.runtime.session import provider_text

if TYPE_CHECKING:
    from fer_infer.saliency import SaliencyModel
    from fer_infer.scorer import Scorer
    from fer_infer.scoring.writers.map_writer import MapWriter


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
class RunSummary(Counts):
    """Counts, and how the model ran.

    Attributes
    ----------
    rows, rejected, label_counts
        Attributes of `Counts`.
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
    maps : str
        The file of attribution maps and their number, as a line; empty without `explain`.
    """

    precision: str
    provider: str
    provider_note: str
    tta: str
    elapsed_s: float
    output: Path
    maps: str

    def ran_text(self) -> str:
        """Return what was explained, and on which provider and in which precision the model ran, as lines."""
        ran = provider_text(self.provider, self.provider_note, self.precision, self.tta)
        return f"{self.maps}\n{ran}" if self.maps else ran


def run_facts(
    scorer: Scorer | SaliencyModel, tta: str, start_s: float, output: str | Path, maps: MapWriter | None
) -> dict[str, Any]:
    """Return the attributes that `RunSummary` adds, for a run that started at `start_s` of `time.perf_counter`."""
    return {
        "precision": scorer.card.precision,
        "provider": scorer.provider,
        "provider_note": scorer.provider_note,
        "tta": tta,
        "elapsed_s": time.perf_counter() - start_s,
        "output": Path(output),
        "maps": "" if maps is None else maps.to_text(),
    }


@dataclass(frozen=True)
class ScoreSummary(RunSummary):
    """Summary of a scored file.

    Attributes
    ----------
    rows, rejected : int
        Scored faces, and rows that were skipped.
    rejects : Path or None
        File that lists the rejected rows; None if no row was rejected.
    """

    rejects: Path | None

    @property
    def faces_per_s(self) -> float:
        """Scored faces per second."""
        return self.rows / self.elapsed_s

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        speed = f"{self.elapsed_s:.2f} s, {speed_text(self.faces_per_s, 'faces')}"
        lines = [f"{self.output}: {counted(self.rows, 'row')} in {speed}"]
        if self.rejects is not None:
            lines.append(f"{self.rejects}: rows left out: {self.rejected:,}")
        return "\n".join([*lines, self.predicted_text(), self.ran_text()])


@dataclass(frozen=True)
class PhotoSummary(RunSummary):
    """Summary of scored photos.

    Attributes
    ----------
    rows, rejected : int
        Scored faces, and rows without a prediction.
    photos : int
        Photos.
    reasons : dict of str to int
        Rows without a prediction by reason: no face, too small, unreadable.
    shown : tuple of str
        The predictions as lines, if they are few; else empty.
    about : dict of str to str
        Names and SHA-256 of the detector and the template, and of the weights of the model.
    """

    photos: int
    reasons: dict[str, int]
    shown: tuple[str, ...]
    about: dict[str, str]

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        speed = f"{self.elapsed_s:.2f} s, {speed_text(self.photos / self.elapsed_s, 'photos')}"
        found = f"{counted(self.rows, 'face')} in {counted(self.photos, 'photo')}"
        lines = [*self.shown, f"{self.output}: {found}, {speed}"]
        without = [f"{reason} {count:,}" for reason, count in self.reasons.items() if count]
        if without:
            lines.append(f"rows without a prediction: {', '.join(without)}; see the column `reason`")
        return "\n".join([*lines, *found_lines(self, self.about)])


@dataclass(frozen=True)
class FilmSummary(RunSummary):
    """Summary of a scored film.

    Attributes
    ----------
    rows, rejected : int
        Scored faces, and rows without a prediction.
    frames : int
        Frames that were searched.
    film_s : float
        Time of the last of them, in seconds.
    ids : int
        Different faces, as far as they could be followed.
    about : dict of str to str
        Names and SHA-256 of the detector and the template, and of the weights of the model.
    """

    frames: int
    film_s: float
    ids: int
    about: dict[str, str]

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        found = f"{counted(self.rows, 'face')} in {counted(self.frames, 'frame')} of {self.film_s:.2f} s"
        speed = f"{self.elapsed_s:.2f} s, {self.frames / self.elapsed_s:,.1f} frames/s"
        lines = [f"{self.output}: {found}, followed as {counted(self.ids, 'id')}, {speed}"]
        if self.rejected:
            lines.append(f"rows without a prediction: {self.rejected:,}; see the column `reason`")
        return "\n".join([*lines, *found_lines(self, self.about)])


def found_lines(run: RunSummary, about: dict[str, str]) -> list[str]:
    """Return the last lines of a summary: predictions, if any, the detector and the template, and the provider."""
    lines = [run.predicted_text()] if run.rows else []
    if "detector" in about:
        detector, template = (
            f"{about[name]} (SHA-256 {about[f'{name}_sha256'][:12]}...)" for name in ("detector", "template")
        )
        lines.append(f"faces found by {detector}, aligned to {template}")
    return [*lines, run.ran_text()]


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 face`` or ``2 faces``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

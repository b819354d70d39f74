"""Measure the accuracy of the shipped models on PublicTest: each graph, without and with test-time augmentation.

DATA is fer2013.csv, or a folder with it. Without DATA, nothing is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.command import benchmark, count_option, data_argument, models_option
from benchmarks.harness.faces import find_data
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.peers.fer_package import FerPackage
from fer_core import EXPRESSIONS, read_faces
from fer_infer import Scorer
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_infer.graph_selection import GRAPH_FILES
from fer_infer.tta import average_views
from fer_train.models import count_multiply_adds, count_parameters
from fer_train.runs.checkpoint import load_model

COLUMNS: Final = {
    "model": TEXT,
    "graph": TEXT,
    "parameters": "{:,d}",
    "multiply-adds": "{:,.1f} M",
    "seed": TEXT,
    "plain": "{:.2%}",
    "95% interval": TEXT,
    "plain, not in Training": "{:.2%}",
    "flip": "{:.2%}",
    "flip-shift": "{:.2%}",
    "macro F1": "{:.3f}",
    "calibration error": "{:.3f}",
    "confused": TEXT,
}


@dataclass(frozen=True)
class PublicTest:
    """The split, and which of its faces are also in Training, pixel for pixel."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    in_training: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path, most: int | None) -> PublicTest:
        """Read at most `most` faces."""
        faces = read_faces(path)
        public = faces.with_usage("PublicTest").take(slice(most))
        in_training = TrainingFaces([faces.with_usage("Training").images]).hold(public.images)
        return cls(public.images, public.require_labels(), in_training)

    def evaluate(self, probabilities: NDArray[np.float32], names: tuple[str, ...]) -> Evaluation:
        """Evaluate predictions of all faces."""
        return evaluate_predictions(self.labels, probabilities, names, in_training=self.in_training)


def graph_row(public: PublicTest, folder: Path, precision: str, device: str) -> tuple[Cell, ...]:
    """Evaluate one graph."""
    model = load_model(folder)
    with Scorer(folder, device, precision) as scorer:
        plain, flip, flip_shift = (
            public.evaluate(average_views(scorer.score, public.images, tta)[1], scorer.card.labels)
            for tta in ("none", "flip", "flip-shift")
        )
        seeds = ", ".join(map(str, scorer.card.seeds))
    size = count_parameters(model), count_multiply_adds(model) / 1e6
    return folder.name, precision, *size, seeds, *_figures(plain, flip.accuracy, flip_shift.accuracy)


def _figures(plain: Evaluation, flip: float | None, flip_shift: float | None) -> tuple[Cell, ...]:
    low, high = plain.wilson_95
    unseen: Any = plain.unseen
    pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in plain.most_confused_pairs[:3])
    interval = f"{low:.2%} to {high:.2%}"
    return plain.accuracy, interval, unseen.accuracy, flip, flip_shift, plain.macro_f1, plain.ece, pairs


@benchmark(
    data_argument,
    models_option("best", "compact", "course-cnn", "course-dnn"),
    count_option("--faces", None, "Number of PublicTest faces.  [default: all]"),
)
def main(report: Report, data: Path | None, models: tuple[Path, ...], faces: int | None) -> None:
    """Print the table and the goals."""
    path = find_data(data, "fer2013.csv", "icml_face_data.csv", splits=True)
    if path is None:
        report.note("Accuracy is not measured: it needs fer2013.csv, with its Usage column.")
        return
    public = PublicTest.read(path, faces)
    accuracy: dict[tuple[str, str], float] = {}
    other = "int8" if report.device == "cpu" else "fp16"

    def rows() -> Iterator[tuple[Cell, ...]]:
        for folder in models:
            for precision in ("fp32", other):
                if (folder / GRAPH_FILES[precision]).is_file():
                    row = graph_row(public, folder, precision, report.device)
                    accuracy[folder.name, precision] = float(str(row[5]))
                    yield row
        if report.device == "cuda":
            return
        try:
            package = public.evaluate(FerPackage().probabilities(public.images), EXPRESSIONS)
        except LookupError as error:
            report.note(f"The package fer is not measured: {error}.")
        else:
            yield "the package fer", "TFLite", None, None, None, *_figures(package, None, None)

    title = f"PublicTest, n = {len(public.labels):,}, {public.in_training.sum():,} of them also in Training"
    report.table(title, COLUMNS, rows(), conditions="plain: without test-time augmentation")

    def points_lost(name: str) -> float | None:
        exact, int8 = accuracy.get((name, "fp32")), accuracy.get((name, "int8"))
        return None if exact is None or int8 is None else 100 * (exact - int8)

    compact = accuracy.get(("compact", "int8"))
    report.goals(
        *(
            Goal(f"{name}: points of accuracy that int8 loses", points_lost(name), at_most=0.3)
            for name in ("course-cnn", "compact")
        ),
        Goal("compact, int8: PublicTest accuracy, %", None if compact is None else 100 * compact, at_least=70),
    )


if __name__ == "__main__":
    main()

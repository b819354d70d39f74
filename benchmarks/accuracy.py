"""The accuracy on the PublicTest rows of FER2013 of what ships in exports/, each graph without and with augmentation.

python benchmarks/accuracy.py [DATA]    fer2013.csv, or a folder with it; without it nothing can be measured
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from _fer_package import FerPackage
from _side_by_side import Goal, print_goals, real_data

from fer_core import EXPRESSIONS, read_faces
from fer_core.exports_folder import GRAPH_FILES
from fer_infer import Scorer
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_infer.tta import TTA, average_views
from fer_train.models import count_multiply_adds, count_parameters
from fer_train.runs.checkpoint import load_model

EXPORTS: Final = Path(__file__).resolve().parent.parent / "exports"

INT8_LOSS: Final = 0.3
"""Points of accuracy that int8 may cost."""

COMPACT_ACCURACY: Final = 70
"""Percent."""


@dataclass(frozen=True)
class PublicTest:
    """The split, and which of its faces stand in Training as well, pixel for pixel."""

    images: np.ndarray
    labels: np.ndarray
    in_training: np.ndarray

    @classmethod
    def of(cls, path: Path) -> PublicTest:
        """Read it."""
        faces = read_faces(path)
        public = faces.of_split("PublicTest")
        in_training = TrainingFaces([faces.of_split("Training").images]).seen(public.images)
        return cls(public.images, public.require_labels(), in_training)

    def evaluate(self, probabilities: np.ndarray, names: tuple[str, ...]) -> Evaluation:
        """Return what predictions are worth."""
        return evaluate_predictions(self.labels, probabilities, names, in_training=self.in_training)


def _row(about: str, plain: Evaluation, flip: str = "", flip_shift: str = "") -> str:
    low, high = plain.wilson_95
    pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in plain.most_confused_pairs[:3])
    return (
        f"| {about} | {plain.accuracy:.2%} ({low:.2%} to {high:.2%}) | {plain.unseen.accuracy:.2%} "
        f"| {flip} | {flip_shift} | {plain.macro_f1:.3f} | {plain.ece:.3f} | {pairs} |"
    )


def print_graph(folder: Path, precision: str, public: PublicTest) -> float:
    """Print the row of one graph; return its accuracy."""
    scorer, model = Scorer(folder, "cpu", precision), load_model(folder)
    by_tta = {
        tta: public.evaluate(average_views(scorer.score, public.images, tta)[1], scorer.card.labels) for tta in TTA
    }
    seeds = ", ".join(map(str, scorer.card.seeds))
    size = f"{count_parameters(model):,} | {count_multiply_adds(model) / 1e6:,.1f} M | {seeds}"
    augmented = (f"{by_tta[tta].accuracy:.2%}" for tta in ("flip", "flip-shift"))
    print(_row(f"{folder.name} | {precision} | {size}", by_tta["none"], *augmented), flush=True)
    return by_tta["none"].accuracy


def print_table(public: PublicTest) -> dict[tuple[str, str], float]:
    """Print the table; return the accuracy by model and precision."""
    n, seen = len(public.labels), public.in_training.sum()
    print(f"\nPublicTest, n = {n:,}, {seen:,} of them also in Training; plain: one view a face\n")
    print(
        "| model | graph | parameters | multiply-adds | seed | plain (95 %) | plain, not in Training "
        "| flip | flip-shift | macro F1 | calibration error | confused |"
    )
    print("|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---|")
    accuracy = {}
    for folder in sorted(path for path in EXPORTS.iterdir() if (path / "model.onnx").is_file()):
        for precision, file in GRAPH_FILES.items():
            if (folder / file).is_file() and precision != "fp16":  # which is for GPUs
                accuracy[folder.name, precision] = print_graph(folder, precision, public)
    try:
        peer = public.evaluate(FerPackage().probabilities(public.images), EXPRESSIONS)
        print(_row("the package fer | TFLite | | |", peer))
    except LookupError as error:
        print(f"\nThe package fer is not measured: {error}.")
    return accuracy


def main() -> None:
    """Print the table and the goals."""
    path = real_data(sys.argv[1] if len(sys.argv) > 1 else None, "fer2013.csv", "icml_face_data.csv", splits=True)
    if path is None:
        print("\nAccuracy is not measured: it needs fer2013.csv, with its Usage column.")
        return
    accuracy = print_table(PublicTest.of(path))
    goals = []
    for name in ("course-cnn", "compact"):
        int8 = accuracy.get((name, "int8"))
        lost = None if int8 is None else 100 * (accuracy[name, "fp32"] - int8)
        goals.append(Goal(f"{name}: points of accuracy that int8 loses", lost, at_most=INT8_LOSS))
    compact = accuracy.get(("compact", "int8"))
    right = None if compact is None else 100 * compact
    goals.append(Goal("compact, int8: percent of PublicTest right", right, COMPACT_ACCURACY))
    print_goals(*goals)


if __name__ == "__main__":
    main()

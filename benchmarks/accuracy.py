"""Measure the accuracy of the shipped models on PublicTest: each graph, without and with test-time augmentation.

DATA is fer2013.csv, or a folder with it. Without DATA, nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.command import benchmark, data_argument, models_option
from benchmarks.harness.faces import find_data
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.peers.fer_package import FerPackage
from fer_core.exports_folder import GRAPH_FILES
from fer_infer import Scorer
from fer_infer.config import EvaluationConfig
from fer_infer.evaluation.metrics import Evaluation
from fer_infer.evaluation.one_pass import evaluate_data
from fer_train.models import count_multiply_adds, count_parameters
from fer_train.runs.checkpoint import load_model

Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

COLUMNS: Final = {
    "model": TEXT,
    "graph": TEXT,
    "parameters": "{:,d}",
    "multiply-adds": "{:,.1f} M",
    "seed": TEXT,
    "n": "{:,d}",
    "plain": "{:.2%}",
    "95% interval": TEXT,
    "plain, not in Training": "{:.2%}",
    "macro F1": "{:.3f}",
    "calibration error": "{:.3f}",
    "confused": TEXT,
    "flip": "{:.2%}",
    "flip-shift": "{:.2%}",
}


def evaluate_graph(data: Path, folder: Path, precision: str, device: str) -> tuple[float, tuple[Cell, ...]]:
    """Return the accuracy and the row of one graph."""
    model = load_model(folder)
    with Scorer(folder, device, precision) as scorer:
        plain, flip, flip_shift = (_evaluate(data, scorer.predict_proba, tta) for tta in ("none", "flip", "flip-shift"))
        seeds = ", ".join(map(str, scorer.card.seeds))
    size = count_parameters(model), count_multiply_adds(model) / 1e6
    row = (folder.name, precision, *size, seeds, *_figures(plain), flip.accuracy, flip_shift.accuracy)
    return plain.accuracy, row


def _evaluate(data: Path, score: Score, tta: str = "none") -> Evaluation:
    return evaluate_data(data, score, EvaluationConfig(split="PublicTest", tta=tta)).evaluation


def _figures(plain: Evaluation) -> tuple[Cell, ...]:
    low, high = plain.wilson_95
    unseen = None if plain.unseen is None else plain.unseen.accuracy
    pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in plain.most_confused_pairs[:3])
    return plain.n, plain.accuracy, f"{low:.2%} to {high:.2%}", unseen, plain.macro_f1, plain.ece, pairs


@benchmark(data_argument, models_option("best", "compact", "course-cnn", "course-dnn"))
def main(report: Report, data: Path | None, models: tuple[Path, ...]) -> None:
    """Print the table and the goals."""
    path = find_data(data, "fer2013.csv", "icml_face_data.csv", splits=True)
    if path is None:
        report.note("Accuracy is not measured: it needs fer2013.csv, with its Usage column.")
        return
    accuracy: dict[tuple[str, str], float] = {}
    other = "int8" if report.device == "cpu" else "fp16"

    def rows() -> Iterator[tuple[Cell, ...]]:
        for folder in models:
            for precision in ("fp32", other):
                if (folder / GRAPH_FILES[precision]).is_file():
                    accuracy[folder.name, precision], row = evaluate_graph(path, folder, precision, report.device)
                    yield row
        if report.device == "cuda":
            return
        try:
            package = _evaluate(path, FerPackage().probabilities)
        except LookupError as error:
            report.note(f"The package fer is not measured: {error}.")
        else:
            yield "the package fer", "TFLite", None, None, None, *_figures(package), None, None

    report.table(f"PublicTest of {path.name}", COLUMNS, rows(), conditions="plain: without test-time augmentation")

    def points_lost(name: str) -> float | None:
        exact, int8 = accuracy.get((name, "fp32")), accuracy.get((name, "int8"))
        return None if exact is None or int8 is None else 100 * (exact - int8)

    compact = accuracy.get(("compact", "int8"))
    lost = "points of accuracy that int8 loses"
    report.goals(
        Goal(f"course-cnn: {lost}", points_lost("course-cnn"), at_most=0.3),
        Goal(f"compact: {lost}", points_lost("compact"), at_most=0.3),
        Goal("compact, int8: PublicTest accuracy, %", None if compact is None else 100 * compact, at_least=70),
    )


if __name__ == "__main__":
    main()

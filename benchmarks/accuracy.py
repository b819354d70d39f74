"""The accuracy of what ships in exports/, on the PublicTest rows of FER2013.

python benchmarks/accuracy.py fer2013.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces, read_faces
from fer_infer import Scorer
from fer_infer.metrics import evaluate_predictions
from fer_infer.precision import GRAPH_FILES
from fer_infer.training_faces import TrainingFaces
from fer_infer.views import average_views
from fer_train.checkpoint import load_model
from fer_train.models import count_multiply_adds, count_parameters

EXPORTS = Path(__file__).resolve().parent.parent / "exports"


def _row(folder: Path, public: Faces, known: NDArray[np.bool_]) -> str:
    scorer = Scorer(folder, precision="fp32")
    plain, averaged = average_views(scorer.score, public.images, "flip")
    labels, names = public.require_labels(), scorer.card.labels
    whole, flipped = (evaluate_predictions(labels, each, names, in_training=known) for each in (plain, averaged))
    model = load_model(folder)
    low, high = whole.wilson_95
    unseen = "" if whole.unseen is None else f"{whole.unseen.accuracy:.2%}"
    pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in whole.most_confused_pairs[:3])
    seeds = ", ".join(map(str, scorer.card.seeds))
    return (
        f"| {folder.name} | {count_parameters(model):,} | {count_multiply_adds(model) / 1e6:,.1f} M | {seeds} "
        f"| {whole.accuracy:.2%} ({low:.2%} to {high:.2%}) | {flipped.accuracy:.2%} | {unseen} "
        f"| {_int8(folder, public)} | {whole.macro_f1:.3f} | {whole.ece:.3f} | {pairs} |"
    )


def _int8(folder: Path, public: Faces) -> str:
    """Return the accuracy of the int8 graph on the CPU, where there is one."""
    if not (folder / GRAPH_FILES["int8"]).is_file():
        return ""
    predicted = Scorer(folder, "cpu", "int8").score(public.images).argmax(axis=1)
    return f"{np.mean(predicted == public.require_labels()):.2%}"


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        print("skipped: needs fer2013.csv as its argument", file=sys.stderr)
        return
    faces = read_faces(sys.argv[1])
    public = faces.with_usage("PublicTest")
    known = TrainingFaces([faces.with_usage("Training").images]).hold(public.images)
    print(f"\nPublicTest, n = {len(public):,}, {(~known).sum():,} of them not in Training\n")
    print(
        "| model | parameters | multiply-adds | seed | accuracy (95 %) | with TTA flip | not in Training | int8 "
        "| macro F1 | ECE | confused |"
    )
    print("|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---|")
    for folder in sorted(path for path in EXPORTS.iterdir() if (path / "model.onnx").is_file()):
        print(_row(folder, public, known), flush=True)


if __name__ == "__main__":
    main()

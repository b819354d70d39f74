"""The accuracy of what ships in exports/, on the PublicTest rows of FER2013: each graph, without and with augmentation.

python benchmarks/accuracy.py fer2013.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_core import Faces, read_faces
from fer_infer import Scorer
from fer_infer.metrics import Evaluation, evaluate_predictions
from fer_infer.precision import GRAPH_FILES
from fer_infer.views import TTA, average_views
from fer_train.checkpoint import load_model
from fer_train.models import count_multiply_adds, count_parameters

EXPORTS = Path(__file__).resolve().parent.parent / "exports"


def _row(folder: Path, precision: str, public: Faces, in_training: np.ndarray) -> str:
    scorer, model = Scorer(folder, "cpu", precision), load_model(folder)
    labels, names = public.require_labels(), scorer.card.labels
    by_tta: dict[str, Evaluation] = {
        tta: evaluate_predictions(
            labels, average_views(scorer.score, public.images, tta)[1], names, in_training=in_training
        )
        for tta in TTA
    }
    plain = by_tta["none"]
    low, high = plain.wilson_95
    pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in plain.most_confused_pairs[:3])
    seeds = ", ".join(map(str, scorer.card.seeds))
    return (
        f"| {folder.name} | {precision} | {count_parameters(model):,} | {count_multiply_adds(model) / 1e6:,.1f} M "
        f"| {seeds} | {plain.accuracy:.2%} ({low:.2%} to {high:.2%}) | {plain.unseen.accuracy:.2%} "
        f"| {by_tta['flip'].accuracy:.2%} | {by_tta['flip-shift'].accuracy:.2%} | {plain.macro_f1:.3f} "
        f"| {plain.ece:.3f} | {pairs} |"
    )


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        print("skipped: needs fer2013.csv as its argument", file=sys.stderr)
        return
    faces = read_faces(sys.argv[1])
    public = faces.with_usage("PublicTest")
    seen = {image.tobytes() for image in faces.with_usage("Training").images}
    in_training = np.array([image.tobytes() in seen for image in public.images])
    print(
        f"\nPublicTest, n = {len(public):,}, {in_training.sum():,} of them also in Training; plain: one view a face\n"
    )
    print(
        "| model | graph | parameters | multiply-adds | seed | plain (95 %) | plain, not in Training "
        "| flip | flip-shift | macro F1 | calibration error | confused |"
    )
    print("|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---|")
    for folder in sorted(path for path in EXPORTS.iterdir() if (path / "model.onnx").is_file()):
        for precision, file in GRAPH_FILES.items():
            if (folder / file).is_file() and precision != "fp16":  # which is for GPUs
                print(_row(folder, precision, public, in_training), flush=True)


if __name__ == "__main__":
    main()

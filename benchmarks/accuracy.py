"""The accuracy of what ships in exports/, on the PublicTest rows of FER2013.

python benchmarks/accuracy.py fer2013.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_core import ModelCard, read_faces
from fer_infer import Scorer
from fer_infer.metrics import Evaluation, evaluate_predictions
from fer_train.checkpoint import load_model
from fer_train.models import count_multiply_adds, count_parameters

EXPORTS = Path(__file__).resolve().parent.parent / "exports"


def _row(card: ModelCard, folder: Path, whole: Evaluation, unseen: Evaluation) -> str:
    model = load_model(folder)
    low, high = whole.wilson_95
    pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in whole.most_confused_pairs[:3])
    seeds = ", ".join(map(str, card.seeds))
    return (
        f"| {folder.name} | {count_parameters(model):,} | {count_multiply_adds(model) / 1e6:,.1f} M | {seeds} "
        f"| {whole.accuracy:.2%} ({low:.2%} to {high:.2%}) | {unseen.accuracy:.2%} | {whole.macro_f1:.3f} | {pairs} |"
    )


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        print("skipped: needs fer2013.csv as its argument", file=sys.stderr)
        return
    faces = read_faces(sys.argv[1])
    public = faces.with_usage("PublicTest")
    seen = {image.tobytes() for image in faces.with_usage("Training").images}
    fresh = np.array([image.tobytes() not in seen for image in public.images])
    labels = public.require_labels()
    print(f"\nPublicTest, n = {len(public):,}, {fresh.sum():,} of them not in Training; no test-time augmentation\n")
    print("| model | parameters | multiply-adds | seed | accuracy (95 %) | not in Training | macro F1 | confused |")
    print("|---|---:|---:|---:|---|---:|---:|---|")
    for folder in sorted(path for path in EXPORTS.iterdir() if (path / "model.onnx").is_file()):
        scorer = Scorer(folder)
        probabilities = scorer.score(public.images)
        whole, unseen = (
            evaluate_predictions(labels[part], probabilities[part], scorer.card.labels)
            for part in (np.ones(len(public), bool), fresh)
        )
        print(_row(scorer.card, folder, whole, unseen))


if __name__ == "__main__":
    main()

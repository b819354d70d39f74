"""How good the PyTorch original is on labelled faces."""

from __future__ import annotations

from pathlib import Path

from fer_core import read_faces
from fer_core.output import staged
from fer_infer.evaluation import save_evaluation
from fer_infer.metrics import Evaluation, evaluate_predictions
from fer_train.checkpoint import load_model_and_card
from fer_train.prediction import predict_logits, softmax


def evaluate(
    run: str | Path, data: str | Path, output: str | Path, *, usage: str | None = None, force: bool = False
) -> Evaluation:
    """Evaluate a run or an exports folder in float32 PyTorch and write figures and tables.

    Parameters
    ----------
    run : str or Path
        A run or an exports folder.
    data : str or Path
        Labelled faces.
    output : str or Path
        The folder to make.
    usage : str, optional
        Evaluate this split only.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Evaluation
        As written to `metrics.json`.
    """
    model, card = load_model_and_card(run)
    faces = read_faces(data, usage)
    labels = faces.require_labels()
    with staged(output, force=force, folder=True) as stage:
        probabilities = softmax(predict_logits(model, faces.images))
        evaluation = evaluate_predictions(labels, probabilities, card.labels)
        save_evaluation(evaluation, stage)
    return evaluation

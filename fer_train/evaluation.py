"""Evaluate a PyTorch model on labeled faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_core.outputs.staging import staged
from fer_infer.config import EvaluationConfig
from fer_infer.evaluation.evaluate import FOLDER, ModelEvaluation, evaluate_with, require_expressions
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model_and_card


def evaluate(
    run: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    training: str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> ModelEvaluation:
    """Evaluate a run or an exports folder in float32 PyTorch and write figures and tables.

    Parameters
    ----------
    run : str or Path
        Run or exports folder.
    data, training : str or Path
        Data set, and the data set with the Training faces; see `fer_infer.evaluate`.
    output : str or Path
        Folder to create; see `fer_infer.evaluate`.
    force : bool
        Replace an existing folder.
    **settings
        The settings `split`, `tta`, `limit`, `on_error` and `input_columns` of `fer_infer.config.EvaluationConfig`.

    Returns
    -------
    ModelEvaluation
        The evaluation, as written to `metrics.json`.
    """
    config = EvaluationConfig(**settings)
    with staged(output, force=force, folder=FOLDER, inputs=(run, data, training)) as stage:
        model, card = load_model_and_card(run)
        require_expressions(card.labels, Path(run))
        return evaluate_with(
            lambda images: softmax(predict_logits(model, images), card.temperature["value"]),
            data,
            stage,
            card=card,
            config=config,
            training=training,
        )

"""Evaluate a PyTorch model on labeled faces."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from fer_core.outputs.staging import staged
from fer_infer.config import EvaluationConfig
from fer_infer.evaluation.evaluate import FOLDER, ModelEvaluation, evaluate_with, require_expressions
from fer_infer.photos.crops import crop_for
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model_and_card


def evaluate(
    data: str | Path,
    model: str | PathLike[str],
    output: str | Path,
    *,
    training: str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> ModelEvaluation:
    """Evaluate a run or an exports folder in float32 PyTorch, and write figures and tables.

    Parameters
    ----------
    data : str or Path
        Labeled faces.
    model : str, Path or Run
        Run or exports folder.
    output : str or Path
        Folder to write; see `fer_infer.evaluate`.
    training : str or Path, optional
        Data set with the Training faces; see `fer_infer.evaluate`.
    force : bool
        Replace an existing folder.
    **settings
        The settings `faces`, `split`, `tta`, `limit`, `on_error` and `input_columns` of
        `fer_infer.config.EvaluationConfig`.

    Returns
    -------
    ModelEvaluation
        Content of `metrics.json`.

    Examples
    --------
    >>> found = evaluate("faces.csv", "exports/compact", "evaluation", split="PublicTest")
    >>> found.provider, found.split
    ('PyTorch', 'PublicTest')
    """
    config = EvaluationConfig(**settings)
    crop_for(config.faces)  # fails before the model is loaded
    model = Path(model)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model, training)) as stage:
        network, card = load_model_and_card(model)
        require_expressions(card.labels, model)
        return evaluate_with(
            lambda images: softmax(predict_logits(network, images), card.temperature["value"]),
            data,
            stage,
            card=card,
            config=config,
            training=training,
        )

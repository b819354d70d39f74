"""Evaluate a PyTorch model on labeled faces."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from fer_core.io.columns import split_of
from fer_core.io.reader import OnError
from fer_core.io.rejects import save_rejects
from fer_core.outputs.staging import staged
from fer_infer.evaluation.evaluate import (
    FOLDER,
    ModelEvaluation,
    evaluate_file,
    of_original,
    require_expressions,
    save_evaluation,
)
from fer_infer.tta import views_of
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model_and_card


def evaluate(
    data: str | Path,
    model: str | PathLike[str],
    output: str | Path,
    *,
    split: str | None = None,
    training: str | Path | None = None,
    tta: str = "none",
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
) -> ModelEvaluation:
    """Evaluate a run or an exports folder in float32 PyTorch, and write figures and tables.

    Parameters
    ----------
    data : str or Path
        Labeled faces.
    model : str, Path or Run
        Run or exports folder.
    output : str or Path
        Folder to write; see `fer_infer.evaluation.evaluate.save_evaluation`.
    split, training, tta, on_error, input_columns
        Parameters of `fer_infer.evaluation.evaluate.evaluate_file`.
    force : bool
        Replace an existing folder.

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
    views_of(tta)
    model = Path(model)
    with staged(output, force=force, folder=FOLDER, inputs=(model, data, training)) as stage:
        network, card = load_model_and_card(model)
        require_expressions(card.labels, model)
        figures, plain, rejected = evaluate_file(
            data,
            lambda images: softmax(predict_logits(network, images), card.temperature["value"]),
            split=split,
            training=training,
            tta=tta,
            on_error=on_error,
            input_columns=input_columns,
        )
        split = "" if split is None else split_of(split) or split
        result = of_original(figures, card, data, split=split, tta=tta, plain=plain, rows_left_out=len(rejected))
        save_rejects(stage, rejected)
        save_evaluation(result, stage, f"{card.architecture}, PyTorch: {result.title()}")
    return result

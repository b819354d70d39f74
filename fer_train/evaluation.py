"""How good the PyTorch original is on labelled faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fer_core.fer2013 import split_of
from fer_core.io.reader import OnError
from fer_core.outputs.rejects import save_rejects
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
    run: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    split: str | None = None,
    training: str | Path | None = None,
    tta: str = "none",
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
) -> ModelEvaluation:
    """Evaluate a run or an exports folder in float32 PyTorch and write figures and tables.

    Parameters
    ----------
    run : str or Path
        A run or an exports folder.
    data, split, training, tta, on_error, input_columns
        As for `fer_infer.evaluation.evaluate.evaluate_file`.
    output : str or Path
        The folder to make; see `fer_infer.evaluation.evaluate.save_evaluation`.
    force : bool
        Replace an existing folder.

    Returns
    -------
    ModelEvaluation
        As written to `metrics.json`.
    """
    views_of(tta)
    with staged(output, force=force, folder=FOLDER, inputs=(run, data, training)) as stage:
        model, card = load_model_and_card(run)
        require_expressions(card.labels, Path(run))
        figures, plain, rejected = evaluate_file(
            data,
            lambda images: softmax(predict_logits(model, images), card.temperature["value"]),
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

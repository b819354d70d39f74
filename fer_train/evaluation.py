"""How good the PyTorch original is on labelled faces."""

from __future__ import annotations

from pathlib import Path

from fer_core import ModelCard
from fer_core.output import staged
from fer_infer.evaluation import FOLDER, ModelEvaluation, evaluate_file, require_expressions, save_evaluation
from fer_infer.metrics import Evaluation
from fer_infer.views import views_of
from fer_train.checkpoint import load_model_and_card
from fer_train.prediction import predict_logits, softmax


def of_original(
    figures: Evaluation,
    card: ModelCard,
    data: str | Path,
    *,
    split: str,
    tta: str = "none",
    plain: Evaluation | None = None,
) -> ModelEvaluation:
    """Say of an evaluation that it is of the PyTorch original on a split of `data`."""
    return ModelEvaluation(
        **vars(figures),
        data=Path(data).name,
        split=split,
        tta=tta,
        plain=plain,
        precision=card.precision,
        provider="PyTorch",
        provider_note="",
    )


def evaluate(
    run: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    usage: str | None = None,
    training: str | Path | None = None,
    tta: str = "none",
    force: bool = False,
) -> ModelEvaluation:
    """Evaluate a run or an exports folder in float32 PyTorch and write figures and tables.

    Parameters
    ----------
    run : str or Path
        A run or an exports folder.
    data, usage, training, tta
        As for `fer_infer.evaluation.evaluate_file`.
    output : str or Path
        The folder to make; see `fer_infer.evaluation.save_evaluation`.
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
        figures, plain = evaluate_file(
            data,
            lambda images: softmax(predict_logits(model, images), card.temperature["value"]),
            usage=usage,
            training=training,
            tta=tta,
        )
        result = of_original(figures, card, data, split=usage or "", tta=tta, plain=plain)
        save_evaluation(result, stage, f"{card.architecture}, PyTorch: {result.title()}")
    return result

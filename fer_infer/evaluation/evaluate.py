"""Evaluate a model on labeled faces and write figures, tables and plots."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fer_core import EXPRESSIONS, ModelCard, ModelError
from fer_core.io.crop import ALIGNED, faces_text
from fer_core.io.reader import check_layout
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, rejects_text, save_rejects
from fer_core.outputs.staging import staged
from fer_infer.config import EvaluationConfig
from fer_infer.evaluation.metrics import Evaluation
from fer_infer.evaluation.one_pass import Score, evaluate_data
from fer_infer.photos.crops import crop_for
from fer_infer.tta import views_of

FILES: Final = ("metrics.json", "per_class.csv", "confusion.csv", "confusion.png", "reliability.png")
"""Files that `save_evaluation` writes."""

FOLDER: Final = OutputFolder(always=("metrics.json", "confusion.csv"), sometimes=(*FILES, REJECTS_FILE))
"""Files of an evaluation folder."""


@dataclass(frozen=True, repr=False)
class ModelEvaluation(Evaluation):
    """Evaluation of a model on a data set.

    Attributes
    ----------
    data : str
        Name of the file.
    split : str
        Split that was evaluated; empty for the whole file.
    tta : {"none", "flip", "flip-shift"}
        Test-time augmentation of all figures except `plain`.
    plain : Evaluation or None
        The evaluation without augmentation; None if there was no augmentation.
    precision : {"fp32", "int8", "fp16"}
        Precision of the graph.
    provider, provider_note : str
        Attributes of `fer_infer.Scorer`; the provider is `PyTorch` for a PyTorch model.
    rows_left_out : int
        Number of rows that could not be read and were skipped.
    faces : {"aligned", "detect", "whole"}
        How the faces were taken from images.
    """

    data: str
    split: str
    tta: str
    plain: Evaluation | None
    precision: str
    provider: str
    provider_note: str
    rows_left_out: int = 0
    faces: str = ALIGNED

    def title(self) -> str:
        """Return the title of a plot: accuracy, n, split and augmentation."""
        augmented = "" if self.tta == "none" else f", TTA {self.tta}"
        return f"{self.accuracy:.2%} of {self.n:,} faces" + (f" of {self.split}" if self.split else "") + augmented

    def to_text(self) -> str:
        """Return the figures as the lines that a command prints."""
        views = len(views_of(self.tta))
        augmented = (
            "no test-time augmentation" if views == 1 else f"test-time augmentation {self.tta}, {views} copies per face"
        )
        plain = [] if self.plain is None else ["without augmentation:", *self.plain.summary_lines()]
        head = f"{self.data}, {self.split or 'all rows'}; {faces_text(self.faces)}{augmented}"
        left_out = [rejects_text(self.rows_left_out, None)] if self.rows_left_out else []
        return "\n".join([head, *left_out, *self.summary_lines(), *plain, *self.class_lines()])


def of_original(
    figures: Evaluation,
    card: ModelCard,
    data: str | Path,
    *,
    split: str,
    tta: str = "none",
    plain: Evaluation | None = None,
    rows_left_out: int = 0,
    taken: str = ALIGNED,
) -> ModelEvaluation:
    """Return an evaluation of a PyTorch model on a split of `data`; `taken` is the attribute `faces`."""
    return ModelEvaluation(
        **vars(figures),
        data=Path(data).name,
        split=split,
        tta=tta,
        plain=plain,
        precision=card.precision,
        provider="PyTorch",
        provider_note="",
        rows_left_out=rows_left_out,
        faces=taken,
    )


def save_evaluation(evaluation: Evaluation, folder: Path, title: str = "") -> None:
    """Write the `FILES` of an evaluation into an existing folder.

    Parameters
    ----------
    evaluation : Evaluation
        Evaluation to write.
    folder : Path
        Existing folder, e.g. one that `fer_core.outputs.staging.staged` yields, so that all files appear together.
    title : str
        Title of the plots.
    """
    from fer_infer.evaluation.plots import save_confusion, save_reliability

    names = [score.name for score in evaluation.classes]
    table = _without_confusion(asdict(evaluation))  # which has a file of its own
    rows: list[list[object]] = [[name, *row] for name, row in zip(names, evaluation.confusion.tolist(), strict=True)]
    _write_csv(folder / "confusion.csv", ["true\\predicted", *names], rows)
    rows = [
        [score.name, score.precision, score.recall, *(score.recall_wilson_95 or ("", "")), score.f1, score.support]
        for score in evaluation.classes
    ]
    header = ["class", "precision", "recall", "recall_low", "recall_high", "f1", "support"]
    _write_csv(folder / "per_class.csv", header, rows)
    with staged(folder / "confusion.png", force=True) as stage:
        save_confusion(evaluation.confusion, names, stage, title)
    with staged(folder / "reliability.png", force=True) as stage:
        save_reliability(evaluation.reliability, evaluation.ece, stage, title)
    with staged(folder / "metrics.json", force=True) as stage:  # last, because it marks a run as complete
        stage.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _without_confusion(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_confusion(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if key != "confusion"
    }


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with staged(path, force=True) as stage, stage.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def evaluate_with(
    score: Score,
    data: str | Path,
    folder: Path,
    *,
    card: ModelCard,
    config: EvaluationConfig,
    training: str | Path | None = None,
    provider: str = "PyTorch",
    provider_note: Callable[[], str] = str,
) -> ModelEvaluation:
    """Evaluate a function that computes probabilities, and write the result into an existing folder.

    Parameters
    ----------
    score : callable
        Returns probabilities, float32 (N, classes), for images, uint8 (N, 48, 48).
    data, training : str or Path
        Data set, and the data set with the Training faces; see `evaluate`.
    folder : Path
        Existing folder for the `FILES`.
    card : ModelCard
        Card of the model.
    config : EvaluationConfig
        Settings.
    provider : str
        What runs the model.
    provider_note : callable
        Returns a note about the provider after all faces were scored.
    """
    figures, plain, rejected = evaluate_data(data, score, config, training=training)
    result = ModelEvaluation(
        **vars(figures),
        data=Path(data).name,
        split=config.split_name,
        tta=config.tta,
        plain=plain,
        precision=card.precision,
        provider=provider,
        provider_note=provider_note(),
        rows_left_out=len(rejected),
        faces=config.faces,
    )
    save_rejects(folder, rejected)
    ran = provider if provider == "PyTorch" else card.precision
    save_evaluation(result, folder, f"{card.architecture}, {ran}: {result.title()}")
    return result


def evaluate(
    data: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    training: str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> ModelEvaluation:
    """Evaluate an exported model on labeled faces and write the result to a folder.

    Parameters
    ----------
    data : str or Path
        Faces with labels, as `fer_core.iter_faces` takes them.
    model : str or Path
        Exports folder, or an ONNX file in one; its classes must be the seven expressions.
    output : str or Path
        Folder to create, with metrics.json, per_class.csv, confusion.csv, confusion.png and reliability.png.
    training : str or Path, optional
        Data set with the Training faces, to report the accuracy without evaluated faces whose pixels occur in it; by
        default the Training rows of `data`, if it has any.
    force : bool
        Replace an existing folder.
    **settings
        Settings of `fer_infer.config.EvaluationConfig`, e.g. ``split="PublicTest"``.

    Returns
    -------
    ModelEvaluation
        The evaluation, as written to metrics.json.

    Raises
    ------
    DataError
        If the data has no labels, no face, or no face of the split.
    ModelError, CardError, DeviceError, OutputError, ConfigError
        After an error, no output is left.

    Examples
    --------
    >>> from fer_infer import evaluate
    >>> found = evaluate("faces.csv", "exports/compact", "evaluation", split="PublicTest")
    >>> 0 <= found.wilson_95[0] <= found.accuracy <= found.wilson_95[1] <= 1
    True
    """
    from fer_infer.scorer import Scorer

    config = EvaluationConfig(**settings)
    crop = crop_for(config.faces)
    data, model, target = (os.path.expanduser(path) for path in (data, model, output))  # noqa: PTH111 - no Path: `-`
    with staged(target, force=force, folder=FOLDER, inputs=(data, model, training)) as stage:
        # fails faster than loading the model
        check_layout(data, split=config.split, roles=("label",), columns=config.input_columns, crop=crop)
        with Scorer(model, config.device, config.precision, threads=config.threads) as scorer:
            require_expressions(scorer.card.labels, scorer.path)
            return evaluate_with(
                lambda images: scorer.run(images, batch_size=config.batch_size)[1],
                data,
                stage,
                card=scorer.card,
                config=config,
                training=training,
                provider=scorer.provider,
                provider_note=lambda: scorer.provider_note,
            )


def require_expressions(labels: tuple[str, ...], source: Path) -> None:
    """Raise ModelError, naming `source`, unless a model's classes are the seven expressions."""
    if labels != EXPRESSIONS:
        raise ModelError(f"{source}: expected classes {EXPRESSIONS}, found {labels}")

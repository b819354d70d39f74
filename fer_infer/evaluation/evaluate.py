"""A model's predictions against the labels of a file, written down as figures, tables and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, DataError, Faces, ModelCard, ModelError, iter_faces
from fer_core.fer2013 import split_of
from fer_core.io.read_ahead import read_ahead
from fer_core.io.reader import OnError, check_layout, no_such_split
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, rejects_text, save_rejects
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_infer.tta import average_views, views_of

FILES: Final = ("metrics.json", "per_class.csv", "confusion.csv", "confusion.png", "reliability.png")
"""What `save_evaluation` writes."""

FOLDER: Final = OutputFolder(always=("metrics.json", "confusion.csv"), sometimes=(*FILES, REJECTS_FILE))
"""Names of all that is written."""


@dataclass(frozen=True)
class ModelEvaluation(Evaluation):
    """An evaluation, and what ran for it.

    Attributes
    ----------
    data : str
        Name of the file.
    split : str
        Evaluated alone; empty where it was the whole file.
    tta : {"none", "flip", "flip-shift"}
        Test-time augmentation of all figures but `plain`.
    plain : Evaluation or None
        The same without augmentation; None where there is none to leave out.
    precision : {"fp32", "int8", "fp16"}
        Of the graph.
    provider, provider_note : str
        As of `Scorer`; `PyTorch` where the original ran.
    rows_left_out : int
        Number of rows that could not be read and were skipped.
    """

    data: str
    split: str
    tta: str
    plain: Evaluation | None
    precision: str
    provider: str
    provider_note: str
    rows_left_out: int = 0

    def title(self) -> str:
        """Return what stands over a picture: accuracy, n, split and augmentation."""
        augmented = "" if self.tta == "none" else f", TTA {self.tta}"
        return f"{self.accuracy:.2%} of {self.n:,} faces" + (f" of {self.split}" if self.split else "") + augmented

    def to_text(self) -> str:
        """Return the figures as the lines that a command prints, those without augmentation beside them."""
        views = len(views_of(self.tta))
        augmented = "no test-time augmentation" if views == 1 else f"test-time augmentation {self.tta}, {views} views"
        beside = [] if self.plain is None else ["without augmentation:", *self.plain.summary_lines()]
        head = f"{self.data}, {self.split or 'all rows'}; {augmented}"
        left_out = [rejects_text(self.rows_left_out, None)] if self.rows_left_out else []
        return "\n".join([head, *left_out, *self.summary_lines(), *beside, *self.class_lines()])


class FileEvaluation(NamedTuple):
    """The evaluation of a file: with test-time augmentation, without it where that differs, and the rows left out."""

    evaluation: Evaluation
    plain: Evaluation | None
    rejected: tuple[DataError, ...]


def of_original(
    figures: Evaluation,
    card: ModelCard,
    data: str | Path,
    *,
    split: str,
    tta: str = "none",
    plain: Evaluation | None = None,
    rows_left_out: int = 0,
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
        rows_left_out=rows_left_out,
    )


def save_evaluation(evaluation: Evaluation, folder: Path, title: str = "") -> None:
    """Write the `FILES` of an evaluation into an existing folder.

    Parameters
    ----------
    evaluation : Evaluation
    folder : Path
        Best one yielded by `fer_core.outputs.staging.staged`, so that all appear together.
    title : str
        Of the pictures.
    """
    from fer_infer.evaluation.plots import save_confusion, save_reliability

    names = [score.name for score in evaluation.classes]
    table = _without_confusion(asdict(evaluation))  # it has a file of its own
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
    with staged(folder / "metrics.json", force=True) as stage:  # the last, by which a run counts as finished
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


def evaluate_file(
    data: str | Path,
    score: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    split: str | None = None,
    training: str | Path | None = None,
    tta: str = "none",
    batch_rows: int = 256,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
) -> FileEvaluation:
    """Score the labelled faces of a file, whatever scores them.

    Parameters
    ----------
    data : str or Path
        Faces with labels, as `fer_core.iter_faces` takes them.
    score : callable
        Returns probabilities of the seven expressions, float32 (N, 7), of uint8 (N, 48, 48).
    split : str, optional
        Evaluate this split only; all rows where None.
    training : str or Path, optional
        The file of the Training faces; where None, the Training rows of `data`, if it names any.
    tta : {"none", "flip", "flip-shift"}
        See `fer_infer.tta.TTA`.
    batch_rows : int
        Faces scored at once.
    on_error : {"fail", "skip"}
        As for `fer_core.iter_faces`, for `data` and `training`.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Returns
    -------
    FileEvaluation

    Raises
    ------
    DataError
        If the data has no labels, no face, or no face of `split`.
    """
    if training is None:
        known = TrainingFaces.beside(data, on_error=on_error, columns=input_columns)
    else:
        known = TrainingFaces.read(training, on_error=on_error)
    roles = ("label",) if split is None else ("label", "split")

    def read() -> Iterator[Faces]:
        options: dict[str, Any] = {"on_error": on_error, "roles": roles, "columns": input_columns}
        return iter_faces(data, batch_rows=batch_rows, split=split, **options)

    rejected: list[DataError] = []
    labels, plain, averaged, seen = [], [], [], []
    with (
        read_ahead(read) as batches,
        progress("evaluate", None) as advance,
    ):
        for faces in batches:
            labels.append(faces.require_labels())
            rejected += faces.rejected
            one, mean = average_views(score, faces.images, tta)
            plain.append(one)
            averaged.append(mean)
            if known is not None:
                seen.append(known.hold(faces.images))
            advance(len(faces))
    if not any(map(len, labels)):
        if split is None:
            left_out = f"; {rejects_text(rejected, None)}" if rejected else ""
            raise DataError(str(data), f"has no row to evaluate{left_out}")
        raise no_such_split(data, split, columns=input_columns)

    def figures(probabilities: list[NDArray[np.float32]]) -> Evaluation:
        in_training = None if known is None else np.concatenate(seen)
        joined = np.concatenate(labels), np.concatenate(probabilities)
        return evaluate_predictions(*joined, EXPRESSIONS, in_training=in_training)

    return FileEvaluation(figures(averaged), None if tta == "none" else figures(plain), tuple(rejected))


def evaluate(
    data: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    split: str | None = None,
    training: str | Path | None = None,
    tta: str = "none",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
) -> ModelEvaluation:
    """Score labelled faces and write what the predictions are worth into a folder.

    Parameters
    ----------
    data, split, training, tta, on_error, input_columns
        As for `evaluate_file`.
    model : str or Path
        An exports folder or an ONNX file; its classes must be the seven expressions.
    output : str or Path
        The folder to make; see `save_evaluation`.
    device, precision, batch_size, threads
        As for `fer_infer.score`.
    force : bool
        Replace an existing folder.

    Raises
    ------
    DataError
        If the data has no labels, no face, or no face of `split`.
    ModelError, CardError, DeviceError, OutputError, ConfigError
        In every case no output is left, nor a part of one.
    """
    from fer_infer.scorer import DEFAULT_BATCH_SIZE, Scorer

    views_of(tta)
    size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    with staged(output, force=force, folder=FOLDER, inputs=(data, model, training)) as stage:
        check_layout(data, split=split, roles=("label",), columns=input_columns)  # before the model, which takes longer
        scorer = Scorer(model, device, precision, threads=threads)
        require_expressions(scorer.card.labels, scorer.path)
        figures, plain, rejected = evaluate_file(
            data,
            lambda images: scorer.score(images, batch_size=size),
            split=split,
            training=training,
            tta=tta,
            batch_rows=size,
            on_error=on_error,
            input_columns=input_columns,
        )
        result = ModelEvaluation(
            **vars(figures),
            data=Path(data).name,
            split="" if split is None else split_of(split) or split,
            tta=tta,
            plain=plain,
            precision=scorer.card.precision,
            provider=scorer.provider,
            provider_note=scorer.provider_note,
            rows_left_out=len(rejected),
        )
        save_rejects(stage, rejected)
        save_evaluation(result, stage, f"{scorer.card.architecture}, {scorer.card.precision}: {result.title()}")
    return result


def require_expressions(labels: tuple[str, ...], source: Path) -> None:
    """Raise ModelError, naming `source`, unless a model's classes are those that labels are numbers of."""
    if labels != EXPRESSIONS:
        raise ModelError(f"{source}: expected classes {EXPRESSIONS}, found {labels}")

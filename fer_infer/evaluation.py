"""A model's predictions against the labels of a file, written down as figures, tables and a picture."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np

from fer_core import EXPRESSIONS, DataError, ModelError, iter_faces
from fer_core.output import staged
from fer_core.progress import progress
from fer_infer.metrics import Evaluation, evaluate_predictions


@dataclass(frozen=True)
class ModelEvaluation(Evaluation):
    """An evaluation, and what ran for it.

    Attributes
    ----------
    precision : {"fp32", "int8", "fp16"}
        Of the graph.
    provider, provider_note : str
        As of `Scorer`.
    """

    precision: str
    provider: str
    provider_note: str


def save_evaluation(evaluation: Evaluation, folder: Path, title: str = "Confusion matrix") -> None:
    """Write `metrics.json`, `confusion.csv`, `per_class.csv` and `confusion.png` into an existing folder.

    Parameters
    ----------
    evaluation : Evaluation
    folder : Path
        Best one yielded by `fer_core.output.staged`, so that the four appear together.
    title : str
        Of the picture.
    """
    from fer_infer.figures import save_confusion

    names = [score.name for score in evaluation.classes]
    table = asdict(evaluation)
    del table["confusion"]  # has a file of its own
    (folder / "metrics.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    rows: list[list[object]] = [[name, *row] for name, row in zip(names, evaluation.confusion.tolist(), strict=True)]
    _write_csv(folder / "confusion.csv", ["true\\predicted", *names], rows)
    rows = [list(astuple(score)) for score in evaluation.classes]
    _write_csv(folder / "per_class.csv", ["class", "precision", "recall", "f1", "support"], rows)
    save_confusion(evaluation.confusion, names, folder / "confusion.png", title)


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def evaluate(
    data: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    usage: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> ModelEvaluation:
    """Score labelled faces and write what the predictions are worth into a folder.

    Parameters
    ----------
    data : str or Path
        Faces with labels, as `fer_core.iter_faces` takes them.
    model : str or Path
        An exports folder or an ONNX file; its classes must be the seven expressions.
    output : str or Path
        The folder to make; see `save_evaluation`.
    usage : str, optional
        Evaluate this split only; all rows where None.
    device, precision, batch_size, threads
        As for `fer_infer.score`.
    force : bool
        Replace an existing folder.

    Raises
    ------
    DataError
        If the data has no labels, no face, or no face of `usage`.
    ModelError, CardError, DeviceError, OutputError, ConfigError
        In every case no output is left, nor a part of one.
    """
    from fer_infer.pipeline import read_ahead
    from fer_infer.session import DEFAULT_BATCH_SIZE, Scorer

    size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    with staged(output, force=force, folder=True) as stage:
        scorer = Scorer(model, device, precision, threads=threads)
        if scorer.card.labels != EXPRESSIONS:
            raise ModelError(f"{scorer.path}: expected classes {EXPRESSIONS}, found {scorer.card.labels}")
        labels, probabilities = [], []
        with (
            read_ahead(lambda: iter_faces(data, batch_rows=size, usage=usage)) as batches,
            progress("evaluate", None) as advance,
        ):
            for faces in batches:
                labels.append(faces.require_labels())
                probabilities.append(scorer.score(faces.images, batch_size=size))
                advance(len(faces))
        if not any(map(len, labels)):
            raise DataError(str(data), "has no row to evaluate" + ("" if usage is None else f" of usage {usage!r}"))
        figures = evaluate_predictions(np.concatenate(labels), np.concatenate(probabilities), scorer.card.labels)
        result = ModelEvaluation(
            **vars(figures),
            precision=scorer.card.precision,
            provider=scorer.provider,
            provider_note=scorer.provider_note,
        )
        of = "" if usage is None else f" of {usage}"
        title = f"{scorer.card.architecture}, {scorer.card.precision}: {result.accuracy:.2%} of {result.n:,} faces{of}"
        save_evaluation(result, stage, title)
    return result

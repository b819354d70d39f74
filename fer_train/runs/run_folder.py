"""The run folder: files written after each epoch and at the end, so that an interrupted run can be resumed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import Tensor

from fer_core import ConfigError, Faces, ModelCard, OutputError
from fer_core.io.crop import ALIGNED
from fer_core.outputs.output_folder import is_empty
from fer_core.outputs.staging import staged
from fer_infer.evaluation.evaluate import of_original, save_evaluation
from fer_infer.evaluation.metrics import evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_train.config import FitConfig
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import AVERAGE_FILE, load_card, load_model_and_card, save_weights, weights_sha256
from fer_train.runs.curves import save_curves

METRICS: Final = (
    "epoch",
    "lr",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "elapsed_s",
    "faces_per_s",
)
"""Columns of `metrics.csv`, one row per epoch; `elapsed_s` counts training and validation since the start."""

CONFIG_FILE: Final = "config.json"
METRICS_FILE: Final = "metrics.csv"
END_FILE: Final = "metrics.json"
"""Evaluation of the averaged weights; the last file of a run, so that a run with it is finished."""
CURVES_FILE: Final = "curves.png"
LAST_FILE: Final = "last.safetensors"
RESUME_FILE: Final = "resume.pt"
SAMPLE_FILE: Final = "sample.npz"
"""Validation faces on which an export is compared with the network."""
SAMPLE_ROWS: Final = 512


def open_run(folder: Path, config: FitConfig, validation: Faces, training_data: dict[str, Any], resume: bool) -> bool:
    """Make the folder of a new run, or check that an existing one can be resumed.

    Returns
    -------
    bool
        Whether there is a finished epoch to resume from.

    Raises
    ------
    OutputError
        If there is a run and `resume` is false, or no run and it is true.
    ConfigError
        If the run was started with another config or other faces, or the faces were loaded with other settings than
        those of `config`.
    """
    _require_loaded_by(config, training_data)
    if not resume:
        require_new(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            config.save(folder / CONFIG_FILE)
            save_sample(folder, validation)
        except BaseException:
            discard_run(folder)
            raise
        return False
    if not (folder / CONFIG_FILE).is_file():
        raise OutputError(f"{folder}: expected a run to resume, found no {CONFIG_FILE}")
    if (saved := FitConfig.load(folder / CONFIG_FILE)) != config:
        raise ConfigError(f"{folder}: was started with another config: {config.difference(saved)}")
    if not (folder / RESUME_FILE).is_file():
        save_sample(folder, validation)  # the run restarts, perhaps with other faces
        return False
    require_same_data(folder, load_card(folder / AVERAGE_FILE).training_data, training_data)
    return True


def _require_loaded_by(config: FitConfig, training_data: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the faces were loaded with the settings of the config."""
    held_out = {} if config.hold_out is None else {"fraction": config.hold_out, "seed": config.hold_out_seed}
    if held_out != (found := training_data.get("held_out", {})):
        raise ConfigError(f"is {held_out or None}, the faces were loaded with {found or None}", parameter="hold_out")
    if config.faces != (taken := training_data.get("faces", ALIGNED)):
        raise ConfigError(f"is {config.faces}, the faces were loaded with {taken}", parameter="faces")
    for name in ("conflicts", "leaks"):
        if (drop := getattr(config, f"drop_{name}")) != (name in training_data.get("dropped", {})):
            raise ConfigError(f"is {drop}, the faces were loaded with {not drop}", parameter=f"drop_{name}")


def discard_run(folder: Path) -> None:
    """Remove the files of a run without a finished epoch."""
    for name in (CONFIG_FILE, SAMPLE_FILE, METRICS_FILE, CURVES_FILE, LAST_FILE, AVERAGE_FILE):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # it contains other files
        folder.rmdir()


def require_new(folder: Path) -> None:
    """Raise OutputError if the run folder exists and is not empty."""
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise OutputError(f"{folder}: exists already; `resume=True` resumes a run")


def require_same_data(folder: Path, trained: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming the difference, if a run was trained on other data than those that were found."""
    for key in sorted({*trained, *found}):
        if trained.get(key) != found.get(key):
            what = {"initial": "initial weights", "teachers": "teachers"}.get(key, "faces")
            expected = f"expected {key} {trained.get(key)}, found {found.get(key)}"
            raise ConfigError(f"{folder}: was started with other {what}: {expected}")


def save_sample(folder: Path, faces: Faces) -> None:
    """Write the first validation faces, for the parity check of the export."""
    sample = faces.take(slice(SAMPLE_ROWS))
    with staged(folder / SAMPLE_FILE, force=True) as stage, stage.open("wb") as file:
        np.savez_compressed(file, images=sample.images, rows=sample.rows, source=np.array(Path(faces.source).name))


def save_epoch(
    folder: Path, card: ModelCard, average: Mapping[str, Tensor], last: Mapping[str, Tensor], metrics: dict[str, Any]
) -> None:
    """Write the metrics of an epoch, the curves, and both sets of weights.

    Parameters
    ----------
    folder : Path
        Run folder.
    card : ModelCard
        Card of `average`.
    average, last : mapping of str to Tensor
        Averaged weights, and weights of the last step.
    metrics : dict
        Row of the table, with the keys of `METRICS`.
    """
    path = folder / METRICS_FILE
    rows = [row for row in read_metrics(folder) if row["epoch"] < metrics["epoch"]] + [metrics]
    with staged(path, force=True) as stage, stage.open("w", newline="") as file:
        writer = csv.DictWriter(file, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
    save_curves(rows, folder / CURVES_FILE, folder.name, card.validation_split)
    save_weights(folder / AVERAGE_FILE, average, card)
    last_card = replace(card, weights_sha256=weights_sha256(last), selection="last epoch's weights", scores={})
    save_weights(folder / LAST_FILE, last, last_card)


def save_end(folder: Path, faces: Faces, known: TrainingFaces | None, *, name: str) -> ModelCard:
    """Evaluate the averaged weights, as they were written, on the validation faces; return their card.

    The evaluation also states the accuracy without the faces that are `known` from Training; `name` titles the figures.
    """
    model, card = load_model_and_card(folder)
    probabilities = softmax(predict_logits(model, faces.images), card.temperature["value"])
    figures = evaluate_predictions(
        faces.require_labels(),
        probabilities,
        card.labels,
        in_training=None if known is None else known.seen(faces.images),
    )
    data = card.training_data
    evaluation = of_original(
        figures,
        card,
        faces.source,
        split=card.validation_split,
        rows_left_out=data.get("rows_left_out", 0),
        taken=data.get("faces", ALIGNED),
    )
    save_evaluation(evaluation, folder, f"{name}: {evaluation.title()}")
    return card


def is_finished(folder: Path) -> bool:
    """Return whether a run is finished."""
    return (folder / END_FILE).is_file()


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Read the `metrics.csv` of a run; an empty list before the first epoch."""
    path = run / METRICS_FILE
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

"""The folder of a run: what is written after each epoch and at the end, so that any interruption can be resumed."""

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
from fer_core.outputs.output_folder import is_empty
from fer_core.outputs.staging import staged
from fer_infer.evaluation.evaluate import of_original, save_evaluation
from fer_infer.evaluation.metrics import evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_train.config import FitConfig
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import AVERAGE_FILE, load_model_and_card, load_weights, save_weights, weights_sha256
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
"""Columns of `metrics.csv`, one row an epoch; `elapsed_s` is training and validation since the run began."""

CONFIG_FILE: Final = "config.json"
METRICS_FILE: Final = "metrics.csv"
CURVES_FILE: Final = "curves.png"
LAST_FILE: Final = "last.safetensors"
RESUME_FILE: Final = "resume.pt"
SAMPLE_FILE: Final = "sample.npz"
"""Validation faces that a run keeps, so that its export can be compared with it on real rows."""
SAMPLE_ROWS: Final = 512


def open_run(folder: Path, config: FitConfig, validation: Faces, training_data: dict[str, Any], resume: bool) -> bool:
    """Make the folder of a new run, or check that an old one can go on.

    Returns
    -------
    bool
        Whether there is a finished epoch to go on from.

    Raises
    ------
    OutputError
        If there is a run and `resume` is false, or none and it is true.
    ConfigError
        If the run was started with other settings or other faces, or of the faces loaded others are left out
        than the settings say.
    """
    held_out = {} if config.hold_out is None else {"fraction": config.hold_out, "seed": config.hold_out_seed}
    if held_out != (found := training_data.get("held_out", {})):
        raise ConfigError(f"hold_out: is {held_out or None}, the faces were loaded with {found or None}")
    for name in ("conflicts", "leaks"):
        if (wanted := getattr(config, f"drop_{name}")) != (name in training_data.get("dropped", {})):
            raise ConfigError(f"drop_{name}: is {wanted}, the faces were loaded with {not wanted}")
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
        raise ConfigError(f"{folder}: was started with other settings: {config.difference(saved)}")
    if not (folder / RESUME_FILE).is_file():
        save_sample(folder, validation)  # the run starts anew, so the sample must be of its own faces
        return False
    require_same_data(folder, load_weights(folder / AVERAGE_FILE)[1].training_data, training_data)
    return True


def discard_run(folder: Path) -> None:
    """Remove what is there of a run without a finished epoch."""
    for name in (CONFIG_FILE, SAMPLE_FILE, METRICS_FILE, CURVES_FILE, LAST_FILE, AVERAGE_FILE):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's files are in it
        folder.rmdir()


def require_new(folder: Path) -> None:
    """Raise OutputError where a run's folder exists and is not empty."""
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise OutputError(f"{folder}: exists already; --resume goes on with a run")


def require_same_data(folder: Path, trained: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ConfigError where a card's record of what was learned from is not what was found, naming what differs."""
    for key in sorted({*trained, *found}):
        if trained.get(key) != found.get(key):
            what = {"initial": "weights to begin with", "teachers": "teachers"}.get(key, "faces")
            expected = f"expected {key} {trained.get(key)}, found {found.get(key)}"
            raise ConfigError(f"{folder}: was started with other {what}: {expected}")


def save_sample(folder: Path, faces: Faces) -> None:
    """Keep some validation faces for the export."""
    sample = faces.take(slice(SAMPLE_ROWS))
    with staged(folder / SAMPLE_FILE, force=True) as stage, stage.open("wb") as file:
        np.savez_compressed(file, images=sample.images, rows=sample.rows, source=np.array(Path(faces.source).name))


def save_epoch(
    folder: Path, card: ModelCard, average: Mapping[str, Tensor], last: Mapping[str, Tensor], metrics: dict[str, Any]
) -> None:
    """Write an epoch's row of metrics, the curves so far, and both sets of weights.

    Parameters
    ----------
    folder : Path
        Of the run.
    card : ModelCard
        Of `average`.
    average, last : mapping of str to Tensor
        The averaged weights, and those of the last step.
    metrics : dict
        The row, with the keys of `METRICS`.
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
    """Evaluate the weights kept, as they were written, on the validation faces; return their card.

    The accuracy without the faces that are `known` from Training stands beside it; pictures are titled by `name`.
    """
    model, card = load_model_and_card(folder)
    probabilities = softmax(predict_logits(model, faces.images), card.temperature["value"])
    figures = evaluate_predictions(
        faces.require_labels(),
        probabilities,
        card.labels,
        in_training=None if known is None else known.seen(faces.images),
    )
    evaluation = of_original(figures, card, faces.source, split=card.validation_split)
    save_evaluation(evaluation, folder, f"{name}: {evaluation.title()}")
    return card


def is_finished(folder: Path) -> bool:
    """Tell whether a run came to its end: the figures of its kept weights are the last that is written."""
    return (folder / "metrics.json").is_file()


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Read a run's `metrics.csv`; an empty list before the first epoch."""
    path = run / METRICS_FILE
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

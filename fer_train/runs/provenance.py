"""Provenance of a model: library versions, commit, training data, and the model card that records them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from fer_core import EXPRESSIONS, IMAGE_SIZE, ModelCard
from fer_core.model_card import unfitted_temperature
from fer_infer.evaluation.chance import Chance
from fer_infer.evaluation.metrics import wilson_interval
from fer_train.config import FitConfig
from fer_train.data.splits import Splits
from fer_train.runs.checkpoint import load_card, weights_path, weights_sha256


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a trained network depends on."""
    return {name: version(name) for name in ("fer-toolkit", "numpy", "onnx", "torch")}


def git_commit() -> str:
    """Return the commit of this code, with `+changes` appended if files differ from it, or `unknown`.

    It is unknown outside a checkout, also if the package is installed in an environment within another checkout.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def accuracy_record(accuracy: float, n: int, chance: Chance | None = None) -> dict[str, Any]:
    """Return the record of an accuracy in a model card: n, 95% interval, and the comparison with chance if known."""
    interval = list(wilson_interval(round(accuracy * n), n))
    record = {"n": n, "accuracy": accuracy, "wilson_95": interval, "tta": "none"}
    return record if chance is None else {**record, "chance": asdict(chance)}


def network_record(card: ModelCard) -> dict[str, Any]:
    """Return the record of an ancestor network in a model card, including its own training data and ancestors."""
    return {
        "architecture": card.architecture,
        "weights_sha256": card.weights_sha256,
        "seeds": list(card.seeds),
        "training_data": dict(card.training_data),
    }


def trained_on_other_faces(record: Mapping[str, Any]) -> list[str]:
    """List the ancestor networks of a training record that had seen other Training faces, one line each.

    They may have learned faces that are left out here, or that validate here; the accuracy does not show it.
    """

    def faces(data: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
        return data["sha256"], data.get("dropped", {})

    ancestors = [
        ("the initial weights", record.get("initial")),
        *(("a teacher", one) for one in record.get("teachers", ())),
    ]
    return [
        f"{what}, {network['architecture']} of sha256 {network['weights_sha256']:.12}, saw other Training faces: "
        f"{network['training_data']['rows']['Training']:,} of {network['training_data']['source']}"
        for what, network in ancestors
        if network is not None and faces(network["training_data"]) != faces(record)
    ]


def training_record(splits: Splits, config: FitConfig) -> dict[str, Any]:
    """Return the record of the training data in a model card: the faces, the initial weights, and the teachers.

    Raises
    ------
    ModelError, CardError
        If the card of the initial weights or of a teacher cannot be loaded.
    """

    def card_of(path: str) -> ModelCard:
        return load_card(weights_path(Path(path)))

    record = splits.training_data()
    if config.initial is not None:
        record["initial"] = network_record(card_of(config.initial))
    if config.distill is not None:
        # with the temperature, which determines how the probabilities of a teacher are averaged
        cards = map(card_of, config.distill.teachers)
        record["teachers"] = [{**network_record(card), "temperature": card.temperature["value"]} for card in cards]
    return record


def make_card(
    config: FitConfig,
    splits: Splits,
    training_data: dict[str, Any],
    state: Mapping[str, Tensor],
    epoch: int,
    accuracy: float,
    chance: Chance | None,
) -> ModelCard:
    """Return the model card of the averaged weights after `epoch`."""
    kept = "moving average of the weights" if config.ema_decay else "weights"
    return ModelCard(
        architecture=config.architecture,
        architecture_arguments=dict(config.architecture_arguments),
        labels=EXPRESSIONS,
        input_size=(IMAGE_SIZE, IMAGE_SIZE),
        standardization={"mean": splits.mean, "std": splits.std},
        temperature=unfitted_temperature(),
        precision="fp32",
        weights_sha256=weights_sha256(state),
        training_data=training_data,
        selection=f"{kept} after epoch {epoch} of {config.epochs}; no epoch was selected on {splits.validation_name}",
        seeds=(config.seed,),
        scores={splits.validation_name: accuracy_record(accuracy, len(splits.validation), chance)},
        versions=library_versions(),
        git_commit=git_commit(),
    )

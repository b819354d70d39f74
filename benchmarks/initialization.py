"""Compare the accuracy of the course networks by their initial weights, over several seeds.

Each network is trained for a few epochs on the first Training faces of DATA, by default drawn ones: with PyTorch's
default weights, with those of He et al. (2015) and of Glorot and Bengio (2010), and with both and a small last layer,
whose weights are normal with a standard deviation of 0.01. Biases are zero except with PyTorch's default.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import click
import torch
from torch import nn

from benchmarks.harness.command import benchmark, count_option, data_argument, faces_option, seeds_option
from benchmarks.harness.faces import splits_of
from benchmarks.harness.report import TEXT, Cell, Report
from fer_train.config import FitConfig
from fer_train.data.splits import Splits
from fer_train.models import build_model
from fer_train.training import trainer
from fer_train.training.seeds import fit_seeds

NETWORKS: Final[dict[str, dict[str, Any]]] = {"course-cnn": {"widths": [16, 32, 64], "dropout": 0.2}, "course-dnn": {}}
SCHEMES: Final = ("PyTorch's default", "He", "He, last layer small", "Glorot", "Glorot, last layer small")
MOST_VALIDATION_FACES: Final = 2000
COLUMNS: Final = {
    "network": TEXT,
    "initialization": TEXT,
    "seeds": "{:d}",
    "mean accuracy": "{:.1%}",
    "standard deviation": "{:.1f}",
    "lowest": "{:.1%}",
}


@torch.no_grad()
def draw_weights(model: nn.Module, scheme: str) -> nn.Module:
    """Replace the weights of a network by those of a scheme."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        layer.reset_parameters()
        if scheme != SCHEMES[0] and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if scheme.startswith("He"):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif scheme.startswith("Glorot"):
            nn.init.xavier_uniform_(layer.weight)
    if scheme.endswith("small"):
        nn.init.normal_(layers[-1].weight, std=0.01)
    return model


def accuracies(splits: Splits, config: FitConfig, scheme: str, seeds: tuple[int, ...]) -> list[float]:
    """Train from the weights of a scheme with every seed; return the validation accuracies."""

    def build(*arguments: Any, **options: Any) -> nn.Module:
        return draw_weights(build_model(*arguments, **options), scheme)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(trainer, "build_model", build):
        return list(fit_seeds(splits, config, folder, seeds).accuracies.values())


def measure(
    splits: Splits, schemes: tuple[str, ...], seeds: tuple[int, ...], settings: dict[str, Any]
) -> Iterator[tuple[Cell, ...]]:
    """Yield one row per network and scheme."""
    for network, arguments in NETWORKS.items():
        for scheme in schemes:
            config = FitConfig(architecture=network, architecture_arguments=arguments, **settings)
            found = accuracies(splits, config, scheme, seeds)
            deviation = 100 * statistics.stdev(found) if len(found) > 1 else None
            yield network, scheme, len(found), statistics.mean(found), deviation, min(found)


@benchmark(
    data_argument,
    faces_option(2000),
    seeds_option,
    count_option("--epochs", 4, "Epochs per run."),
    click.option("--scheme", "schemes", type=click.Choice(SCHEMES), multiple=True, default=SCHEMES, help="Repeatable."),
)
def main(
    report: Report, data: Path | None, faces: int, seeds: tuple[int, ...], epochs: int, schemes: tuple[str, ...]
) -> None:
    """Print the table."""
    splits = splits_of(data, faces, MOST_VALIDATION_FACES)
    settings: dict[str, Any] = {
        "device": report.device,
        "epochs": epochs,
        "batch_size": 32,
        "lr": 1e-3,
        "lr_warmup_epochs": 1,
        "ema_decay": 0.99,
        "augment": None,
    }
    labels = splits.validation.require_labels()
    majority = (labels == statistics.mode(labels.tolist())).mean()
    source = data.name if data else "drawn"
    report.table(
        f"{len(splits.training):,} Training faces ({source}), {epochs} epochs, Adam 1e-3; "
        f"PublicTest, n = {len(labels):,}, majority class {majority:.1%}",
        COLUMNS,
        measure(splits, schemes, seeds, settings),
    )


if __name__ == "__main__":
    main()

"""Accuracy of the course networks by the weights that training starts from, over several seeds.

python benchmarks/initialization.py [fer2013.csv] [--rows 2000] [--seeds 0 1 2 3 4] [--epochs 4] [--schemes He Glorot]

Without a file, faces are drawn. Each network is trained for few epochs on the first `rows` Training faces: with
PyTorch's default weights, with those of He et al. (2015) and of Glorot and Bengio (2010), and with both where the last
layer is small, normal with a standard deviation of 0.01. Biases are zero except with PyTorch's default.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch
from _side_by_side import machine
from torch import nn

from fer_core import Faces, FerError, read_faces
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, pixel_statistics, synthesize
from fer_train.models import build_model
from fer_train.training import trainer

NETWORKS: Final[dict[str, dict[str, Any]]] = {"course-cnn": {"widths": [16, 32, 64], "dropout": 0.2}, "course-dnn": {}}
SCHEMES: Final = ("PyTorch's default", "He", "He, last layer small", "Glorot", "Glorot, last layer small")
MOST_VALIDATION_FACES: Final = 2000


@torch.no_grad()
def draw_weights(model: nn.Module, scheme: str) -> nn.Module:
    """Replace a network's weights by those of a scheme."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        layer.reset_parameters()
        if scheme != SCHEMES[0]:
            nn.init.zeros_(layer.bias)
        if scheme.startswith("He"):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif scheme.startswith("Glorot"):
            nn.init.xavier_uniform_(layer.weight)
    if scheme.endswith("small"):
        nn.init.normal_(layers[-1].weight, std=0.01)
    return model


def splits_of(data: str | None, rows: int) -> Splits:
    """Return the first Training faces, and PublicTest faces to validate on."""
    faces = synthesize(rows * 10 // 8, 123) if data is None else read_faces(data)
    training = faces.of_split("Training").take(slice(rows))
    validation: Faces = faces.of_split("PublicTest").take(slice(MOST_VALIDATION_FACES))
    return Splits(training, validation, *pixel_statistics(training.images))


def accuracy(splits: Splits, config: FitConfig, scheme: str) -> float:
    """Train from the weights of a scheme and return the validation accuracy."""

    def build(*arguments: Any, **options: Any) -> nn.Module:
        return draw_weights(build_model(*arguments, **options), scheme)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(trainer, "build_model", build):
        card = trainer.fit(splits, config, Path(folder) / "run")
    return float(card.scores["PublicTest"]["accuracy"])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=SCHEMES, metavar="SCHEME")
    options = parser.parse_args()
    splits = splits_of(options.data, options.rows)
    labels = splits.validation.require_labels()
    print(machine())
    print(f"\n{len(splits.training):,} faces of {options.data or 'drawn faces'}, {options.epochs} epochs, Adam 1e-3")
    majority = (labels == statistics.mode(labels)).mean()
    print(f"PublicTest, n = {len(splits.validation):,}; majority class {majority:.1%}\n")
    print("| network | initialization | seeds | mean accuracy | standard deviation | lowest |")
    print("|---|---|---:|---:|---:|---:|")
    for name, arguments in NETWORKS.items():
        for scheme in options.schemes:
            found = []
            for seed in options.seeds:
                config = FitConfig(
                    model=name,
                    architecture_arguments=arguments,
                    epochs=options.epochs,
                    batch_size=32,
                    lr=1e-3,
                    lr_warmup_epochs=1,
                    ema_decay=0.99,
                    augment=None,
                    seed=seed,
                )
                found.append(accuracy(splits, config, scheme))
            spread = f"{100 * statistics.stdev(found):.1f}" if len(found) > 1 else ""
            mean = statistics.mean(found)
            print(f"| {name} | {scheme} | {len(found)} | {mean:.1%} | {spread} | {min(found):.1%} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except FerError as error:
        sys.exit(f"initialization: {error}")

"""Train: this toolkit's loop against DataLoader, PIL transforms, float32 and NCHW.

The rates are those of the second epoch of short runs, with augmentation, without validation. DATA is a CSV with
splits, or a folder with fer2013.csv; by default faces are drawn. With --accuracy, both loops are also timed until
the PublicTest accuracy is reached.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import torch

from benchmarks.harness.arithmetic import note_limit
from benchmarks.harness.command import benchmark, data_argument, faces_option, repeats_option
from benchmarks.harness.faces import find_data, splits_of
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.harness.side_by_side import compare_rates
from benchmarks.peers import conventional
from benchmarks.peers.conventional import Epoch
from fer_core.cores import available_cores
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, load_splits
from fer_train.models import build_model, count_multiply_adds
from fer_train.runs.run_folder import read_metrics
from fer_train.training.hardware import precision_note
from fer_train.training.trainer import fit

REFERENCE: Final = "DataLoader, PIL transforms, fp32, NCHW"
MOST_WORKERS: Final = 16
VALIDATION_FACES: Final = 64
"""Enough for runs whose accuracy does not matter."""


def toolkit_rate(splits: Splits, config: FitConfig) -> float:
    """Return the faces per second of the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        fit(splits, config, Path(folder) / "run")
        return float(read_metrics(Path(folder) / "run")[-1]["faces_per_s"])


def conventional_rate(splits: Splits, config: FitConfig, workers: int) -> float:
    """Return the same for the conventional loop."""
    *_, last = conventional.train(splits, config, workers)
    return last.faces_per_s


class _EnoughError(Exception):
    """Ends a run from its report."""


def toolkit_until(splits: Splits, config: FitConfig, enough: Callable[[Epoch], bool]) -> Epoch:
    """Train until `enough` or the end of the config; return the last epoch."""
    epochs: list[Epoch] = []

    def report(row: dict[str, Any]) -> None:
        epochs.append(Epoch(row["epoch"], row["elapsed_s"], row["faces_per_s"], row["validation_accuracy"]))
        if enough(epochs[-1]):
            raise _EnoughError

    with tempfile.TemporaryDirectory() as folder, suppress(_EnoughError):
        fit(splits, config, Path(folder) / "run", report=report)
    return epochs[-1]


def conventional_until(splits: Splits, config: FitConfig, enough: Callable[[Epoch], bool], workers: int) -> Epoch:
    """Return the same for the conventional loop."""
    for epoch in conventional.train(splits, config, workers):
        if enough(epoch):
            break
    return epoch


def time_to_accuracy(
    splits: Splits, config: FitConfig, workers: int, accuracy: float, limit_s: float
) -> Iterator[tuple[Cell, ...]]:
    """Yield the time of each loop until the accuracy, the end of the config or the limit, whichever comes first."""

    def enough(epoch: Epoch) -> bool:
        return 100 * epoch.accuracy >= accuracy or epoch.elapsed_s > limit_s

    for name, until in (("this toolkit", toolkit_until), (REFERENCE, partial(conventional_until, workers=workers))):
        last = until(splits, config, enough)
        yield name, "yes" if 100 * last.accuracy >= accuracy else "no", last.elapsed_s, last.number, last.accuracy


def ways_of(splits: Splits, config: FitConfig, workers: int) -> dict[str, Callable[[], float]]:
    """Return the ways to train, without bf16 where the processor emulates it."""
    ways = {"this toolkit, fp32": partial(toolkit_rate, splits, config)}
    if not precision_note(config.device, "bf16"):
        ways["this toolkit, bf16"] = partial(toolkit_rate, splits, replace(config, precision="bf16"))
    peers: dict[str, Callable[[], float]] = {}
    for number in dict.fromkeys((workers, 0)):  # workers take cores from the training, which waits without them
        name = f"{REFERENCE}, {number or 'no'} worker{'' if number == 1 else 's'}"
        peers[name] = partial(conventional_rate, splits, config, number)
    return ways | peers


@benchmark(
    data_argument,
    faces_option(512),
    repeats_option(2),
    click.option("--architecture", default="course-cnn", show_default=True, help="Architecture to train."),
    click.option(
        "--workers", type=click.IntRange(min=0), help="DataLoader workers.  [default: one per core, at most 16]"
    ),
    click.option(
        "--accuracy", type=click.FloatRange(0, 100), help="Also time both loops to this accuracy, in percent."
    ),
    click.option("--limit-s", type=float, default=240.0, show_default=True, help="Longest run of --accuracy."),
)
def main(
    report: Report,
    data: Path | None,
    faces: int,
    repeats: int,
    architecture: str,
    workers: int | None,
    accuracy: float | None,
    limit_s: float,
) -> None:
    """Print the tables and the goals."""
    path = find_data(data, "fer2013.csv", "icml_face_data.csv", splits=True)
    splits = splits_of(path, faces, VALIDATION_FACES)
    # the first epoch starts workers and chooses algorithms
    config = FitConfig.of(architecture, device=report.device, precision="fp32", epochs=2, mild_epochs=0)
    workers = min(MOST_WORKERS, available_cores()) if workers is None else workers
    source = path.name if path else "drawn"
    rates = compare_rates(
        report,
        f"Training {architecture}, {len(splits.training):,} faces ({source}), augmented, "
        f"batches of {config.batch_size}",
        ways_of(splits, config, workers),
        unit="faces",
        repeats=repeats,
    )
    best = max(rate for name, rate in rates.items() if name.startswith(REFERENCE))
    ours = max(rate for name, rate in rates.items() if not name.startswith(REFERENCE))
    report.goals(Goal("times as fast as the faster conventional loop", ours / best, at_least=4))
    model = build_model(architecture, mean=splits.mean, std=splits.std)
    passes = 3  # forward, and back to the features and to the weights
    dtype = torch.float32 if precision_note(report.device, "bf16") else torch.bfloat16
    note_limit(
        report, "A training step", passes * count_multiply_adds(model), dtype, "the faster conventional loop", best
    )
    if accuracy is not None:
        everything = load_splits(path) if path else splits
        report.table(
            f"Time to {accuracy:g}% on PublicTest, n = {len(everything.validation):,}, {architecture}",
            {"way": TEXT, "reached": TEXT, "s": "{:,.1f}", "epochs": "{:,d}", "accuracy": "{:.2%}"},
            time_to_accuracy(everything, FitConfig.of(architecture, device=report.device), workers, accuracy, limit_s),
        )


if __name__ == "__main__":
    main()

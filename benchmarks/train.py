"""Training on this machine's CPU: this toolkit's loop against DataLoader, PIL transforms, float32 and NCHW.

python benchmarks/train.py [DATA] [--faces N] [--rounds N] [--model NAME]    default: 512 drawn faces, course-cnn
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from _arithmetic import print_limit
from _side_by_side import Goal, machine, print_goals, real_data

from fer_core import FerError
from fer_core.synthetic.data_set import synthesize
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, load_splits, pixel_statistics
from fer_train.models import build_model, count_multiply_adds
from fer_train.runs.run_folder import read_metrics
from fer_train.training.hardware import precision_note
from fer_train.training.trainer import fit

sys.path.insert(0, str(Path(__file__).resolve().parent / "gpu"))
import conventional

GOAL = 4.0
"""Times as many faces a second as the conventional loop."""

REFERENCE = "DataLoader, PIL transforms, fp32, NCHW"


def few(splits: Splits, faces: int) -> Splits:
    """Take some faces of each split: an epoch is to last seconds."""
    return replace(splits, training=splits.training.take(slice(faces)), validation=splits.validation.take(slice(64)))


def toolkit_rate(splits: Splits, config: FitConfig) -> float:
    """Return faces a second of the last epoch, augmentation included, validation and writing not."""
    with tempfile.TemporaryDirectory() as folder:
        fit(splits, config, Path(folder) / "run")
        return read_metrics(Path(folder) / "run")[-1]["faces_per_s"]


def conventional_rate(splits: Splits, config: FitConfig, workers: int) -> float:
    """Return the same of the conventional loop."""
    *_, last = conventional.train(splits, config, workers)
    return last.faces_per_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--faces", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", default="course-cnn")
    chosen = parser.parse_args()
    path = real_data(chosen.data, "fer2013.csv", "icml_face_data.csv", splits=True)
    if path:
        splits = load_splits(path)
    else:
        drawn = synthesize(max(chosen.faces * 10 // 8, 640), 0)
        training = drawn.of_split("Training")
        splits = Splits(training, drawn.of_split("PublicTest"), *pixel_statistics(training.images))
    splits = few(splits, chosen.faces)
    config = FitConfig.of(chosen.model, device="cpu", epochs=2)  # the first starts workers and is not counted
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ways = {
        "this toolkit, fp32": lambda: toolkit_rate(splits, replace(config, precision="fp32")),
        # workers and training share the cores; with none, the training waits for the transforms
        f"{REFERENCE}, {workers} workers": lambda: conventional_rate(splits, config, workers),
        f"{REFERENCE}, no workers": lambda: conventional_rate(splits, config, 0),
    }
    emulated = precision_note("cpu", "bf16")
    if not emulated:
        ways["this toolkit, bf16"] = lambda: toolkit_rate(splits, replace(config, precision="bf16"))
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.rounds + 1):  # the first warms up
        for name, way in ways.items():
            rates[name].append(way())
    median = {name: statistics.median(values[1:]) for name, values in rates.items()}
    best = max(rate for name, rate in median.items() if name.startswith(REFERENCE))
    print(f"\nTraining {chosen.model}, {len(splits.training):,} faces, augmented, batches of {config.batch_size}")
    print(f"{machine()}, median of {chosen.rounds} interleaved runs' second epochs\n")
    print("| way | faces/s | against the faster conventional loop |\n|---|---:|---:|")
    for name, rate in median.items():
        print(f"| {name} | {rate:,.0f} | {rate / best:.2f}x |")
    ours = max(rate for name, rate in median.items() if not name.startswith(REFERENCE))
    print_goals(Goal("times as fast as the faster conventional loop", ours / best, at_least=GOAL))
    # forward, and back to the features and to the weights
    a_face = 3 * count_multiply_adds(build_model(chosen.model, mean=splits.mean, std=splits.std))
    print_limit(
        "a step of training",
        a_face,
        torch.float32 if emulated else torch.bfloat16,
        "the faster conventional loop",
        best,
    )


if __name__ == "__main__":
    try:
        main()
    except FerError as error:
        sys.exit(f"train.py: {error}")

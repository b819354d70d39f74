"""What each change to a recipe gives, alone, over several seeds.

python benchmarks/ablation.py fer2013.csv [--output runs/ablation] [--epochs 30] [--seeds 0 1 2] [--widths [16,32,64]]
python benchmarks/ablation.py fer2013.csv --study speed --output runs/speed
python benchmarks/ablation.py fer2013.csv --study views --output runs/views

The changes to the course CNN are those that the course report proposed and did not try (learning-rate decay, BatchNorm,
removal of the background by normalization), all three together, no augmentation, and Training without its conflicting
duplicates. Those to compact, in a short training, are what speed records use: optimizers, each at the best of
the rates that were tried with another seed, and what convolutions begin with. Those of views say what a small student
of exports/compact loses where its teacher judges the faces of a few epochs alone. Run it again after an interruption:
finished runs are kept and an unfinished one goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from _side_by_side import machine

from fer_core import FerError
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, load_splits
from fer_train.runs.run_folder import read_metrics
from fer_train.training.trainer import fit

BATCH_NORM: Final = {"batch_norm": True}
FACE: Final = {"standardize": "face"}
MUON: Final = {"optimizer": "muon"}
TAUGHT: Final = {"teachers": [str(Path(__file__).resolve().parents[1] / "exports" / "compact")]}


class Study(NamedTuple):
    """What is changed in the recipe of which architecture.

    Attributes
    ----------
    model : str
        The architecture.
    epochs : int
        Of each run, where none are asked for.
    variants : mapping
        Fields of `FitConfig` that each variant changes; the first is the baseline.
    """

    model: str
    epochs: int
    variants: Mapping[str, Mapping[str, Any]]


class Results(NamedTuple):
    """What the runs of a variant gave: its Training faces, and of each seed the accuracy and the seconds it took."""

    n: int
    accuracies: list[float]
    seconds: list[float]


STUDIES: Final[Mapping[str, Study]] = {
    "course": Study(
        "course-cnn",
        30,
        {
            "as in the report": {},
            "learning-rate decay (cosine)": {"schedule": "cosine"},
            "BatchNorm": {"architecture_arguments": BATCH_NORM},
            "each face standardized by itself": {"architecture_arguments": FACE},
            "these three": {"schedule": "cosine", "architecture_arguments": {**BATCH_NORM, **FACE}},
            "no augmentation": {"augment": None},
            "without conflicting duplicates": {"drop_conflicts": True},
        },
    ),
    "speed": Study(
        "compact",
        6,
        {
            "SGD": {},
            "AdamW": {"optimizer": "adamw"},
            "Muon": MUON,
            "Muon and dirac": {**MUON, "dirac": True},
            "Muon and whitening": {**MUON, "whitening": True},
            "Muon and both": {**MUON, "dirac": True, "whitening": True},
        },
    ),
    "views": Study(
        "compact",
        20,
        {
            "taught in every epoch": {"distill": TAUGHT},
            "views of 4 epochs": {"distill": {**TAUGHT, "views": 4}},
            "views of 1 epoch": {"distill": {**TAUGHT, "views": 1}},
            "labels alone": {},
        },
    ),
}


def run_all(
    study: Study,
    whole: Splits,
    cleaned: Splits,
    output: Path,
    variants: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
) -> dict[str, Results]:
    """Return for each variant its Training faces, the accuracies on PublicTest, one a seed, and the seconds of each."""
    results: dict[str, Results] = {}
    for seed in seeds:
        for variant in variants:
            changes = study.variants[variant]
            splits = cleaned if changes.get("drop_conflicts") else whole
            arguments = {**settings["architecture_arguments"], **changes.get("architecture_arguments", {})}
            options = {**settings, **changes, "architecture_arguments": arguments, "seed": seed}
            folder = output / re.sub("[^\\w.]+", "-", variant).strip("-") / f"seed-{seed}"
            accuracy = _accuracy(splits, FitConfig.of(study.model, **options), folder)
            found = results.setdefault(variant, Results(len(splits.training), [], []))
            found.accuracies.append(accuracy)
            found.seconds.append(read_metrics(folder)[-1]["elapsed_s"])
            print(f"{folder}: {accuracy:.2%}", file=sys.stderr)
    return results


def _accuracy(splits: Splits, config: FitConfig, folder: Path) -> float:
    # A finished run has no epoch left: it is checked to be of these settings and faces, and scored again.
    card = fit(splits, config, folder, resume=(folder / "config.json").is_file())
    return float(card.scores["PublicTest"]["accuracy"])


def table(model: str, results: Mapping[str, Results]) -> str:
    """Return the results in Markdown: means and standard deviations over seeds, differences seed by seed, mean seconds.

    The first of the results is the baseline.
    """
    baseline = next(iter(results))
    lines = [
        f"| {model} | Training faces | seeds | mean accuracy | standard deviation | gain (standard error) | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for variant, (n, accuracies, seconds) in results.items():
        points = [100 * accuracy for accuracy in accuracies]
        gains = [mine - 100 * before for mine, before in zip(points, results[baseline].accuracies, strict=True)]
        gain = "" if variant == baseline else f"{statistics.mean(gains):+.2f}"
        deviation = ""
        if len(points) > 1:
            deviation = f"{statistics.stdev(points):.2f}"
            gain += f" ({statistics.stdev(gains) / len(gains) ** 0.5:.2f})" if gain else ""
        cells = [f"{n:,}", len(points), f"{statistics.mean(points):.2f} %", deviation, gain]
        lines.append(f"| {variant} | {' | '.join(map(str, cells))} | {statistics.mean(seconds):,.0f} |")
    return "\n".join(lines)


def _widths(text: str) -> list[Any]:
    try:
        widths = json.loads(text)
    except ValueError:
        widths = None
    if not isinstance(widths, list):
        raise argparse.ArgumentTypeError(f"expected a list such as [16,32,64], found {text!r}")
    return widths


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="with Training and PublicTest rows")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--study", default="course", choices=STUDIES)
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="CHANGE", help="changes of the study")
    parser.add_argument("--epochs", type=int, help="default: as many as the study has")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--widths", type=_widths, metavar="JSON", help="channels, such as [16,32,64]; of compact [[32],[64,64]]"
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    options = parser.parse_args()
    study = STUDIES[options.study]
    changes = list(study.variants)[1:]
    if unknown := set(options.leave_out) - set(changes):
        parser.error(f"--leave-out: expected some of {', '.join(changes)}, found {', '.join(unknown)}")
    if len(set(options.seeds)) < len(options.seeds):
        parser.error(f"--seeds: expected distinct numbers, found {options.seeds}")
    variants = [variant for variant in study.variants if variant not in options.leave_out]
    settings = {name: getattr(options, name) for name in ("batch_size", "device", "precision")}
    settings["epochs"] = study.epochs if options.epochs is None else options.epochs
    settings["architecture_arguments"] = {} if options.widths is None else {"widths": options.widths}
    try:
        whole, cleaned = load_splits(options.data), load_splits(options.data, drop_conflicts=True)
        results = run_all(study, whole, cleaned, options.output, variants, options.seeds, settings)
    except (FerError, OSError) as error:
        sys.exit(f"ablation: {error}")
    except KeyboardInterrupt:
        sys.exit("ablation: interrupted; the same command goes on")
    print(
        f"\nAccuracy on PublicTest, n = {len(whole.validation):,}, of the weights after the last of "
        f"{settings['epochs']} epochs of batches of {options.batch_size}, no test-time augmentation; "
        f"{'its own' if options.widths is None else options.widths} widths, seeds {options.seeds}\n"
        f"{machine()}, device {options.device}\n"
    )
    print(table(study.model, results))


if __name__ == "__main__":
    main()

r"""Train variants of a config over several seeds, and compare their accuracy with that of the baseline.

\b
python -m benchmarks.ablation fer2013.csv
python -m benchmarks.ablation fer2013.csv --study speed --output runs/speed

DATA has Training and PublicTest rows. The study `course` changes the course CNN as its report proposed without trying
it: learning-rate decay, BatchNorm, per-face standardization, these three together, no augmentation, and Training
without conflicting duplicates. The study `speed` changes short trainings of compact as CIFAR-10 speed records do:
optimizers, each at the best rate found with another seed, and initializations. The study `views` measures what a small
student of exports/compact loses if its teacher's outputs are computed in a few epochs only. Rerun the command after an
interruption: finished runs are kept and an unfinished run is resumed.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from benchmarks import EXPORTS
from benchmarks.harness.command import benchmark, count_option, seeds_option
from benchmarks.harness.report import TEXT, Cell, Report
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, load_splits
from fer_train.runs.run_folder import read_metrics
from fer_train.training.trainer import fit

BATCH_NORM: Final = {"batch_norm": True}
FACE: Final = {"standardize": "face"}
MUON: Final = {"optimizer": "muon"}
TAUGHT: Final = {"teachers": [str(EXPORTS / "compact")]}


class Study(NamedTuple):
    """Variants of the config of one architecture.

    Attributes
    ----------
    model : str
        The architecture.
    epochs : int
        Default number of epochs.
    variants : mapping
        Fields of `FitConfig` that each variant changes; the first variant is the baseline.
    """

    model: str
    epochs: int
    variants: Mapping[str, Mapping[str, Any]]


class Results(NamedTuple):
    """Runs of a variant: number of Training faces, and accuracy and seconds per seed."""

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
            "BatchNorm": {"model_arguments": BATCH_NORM},
            "each face standardized separately": {"model_arguments": FACE},
            "these three": {"schedule": "cosine", "model_arguments": {**BATCH_NORM, **FACE}},
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
            "labels only": {},
        },
    ),
}

COLUMNS: Final = {
    "variant": TEXT,
    "Training faces": "{:,d}",
    "seeds": "{:d}",
    "mean accuracy": "{:.2%}",
    "standard deviation": "{:.2f}",
    "gain": "{:+.2f}",
    "standard error": "{:.2f}",
    "seconds": "{:,.0f}",
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
    """Train every variant with every seed; return the results by variant."""
    results: dict[str, Results] = {}
    for seed in seeds:
        for variant in variants:
            changes = study.variants[variant]
            splits = cleaned if changes.get("drop_conflicts") else whole
            arguments = {**settings["model_arguments"], **changes.get("model_arguments", {})}
            options = {**settings, **changes, "model_arguments": arguments, "seed": seed}
            folder = output / re.sub("[^\\w.]+", "-", variant).strip("-") / f"seed-{seed}"
            accuracy = _accuracy(splits, FitConfig.of(study.model, **options), folder)
            found = results.setdefault(variant, Results(len(splits.training), [], []))
            found.accuracies.append(accuracy)
            found.seconds.append(read_metrics(folder)[-1]["elapsed_s"])
            click.echo(f"{folder}: {accuracy:.2%}", err=True)
    return results


def _accuracy(splits: Splits, config: FitConfig, folder: Path) -> float:
    # A finished run has no epoch left: its config and faces are checked, and it is scored again.
    card = fit(splits, config, folder, resume=(folder / "config.json").is_file())
    return float(card.scores["PublicTest"]["accuracy"])


def rows(results: Mapping[str, Results]) -> list[tuple[Cell, ...]]:
    """Return the rows of the table: statistics over seeds, and of the differences from the baseline seed by seed."""
    baseline = next(iter(results))
    table: list[tuple[Cell, ...]] = []
    for variant, (n, accuracies, seconds) in results.items():
        pairs = zip(accuracies, results[baseline].accuracies, strict=True)
        gains = [] if variant == baseline else [100 * (accuracy - before) for accuracy, before in pairs]
        table.append(
            (
                variant,
                n,
                len(accuracies),
                statistics.mean(accuracies),
                _deviation([100 * accuracy for accuracy in accuracies]),
                statistics.mean(gains) if gains else None,
                None if (deviation := _deviation(gains)) is None else deviation / len(gains) ** 0.5,
                statistics.mean(seconds),
            )
        )
    return table


def _deviation(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _widths(_: click.Context, __: click.Parameter, text: str | None) -> list[Any] | None:
    try:
        widths = None if text is None else json.loads(text)
    except ValueError:
        widths = text
    if widths is not None and not isinstance(widths, list):
        raise click.BadParameter(f"expected a list, e.g. [16,32,64], found {text!r}")
    return widths


@benchmark(
    click.argument("data", type=click.Path(path_type=Path)),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=Path("runs/ablation"),
        show_default=True,
        help="Run folders.",
    ),
    click.option("--study", "name", type=click.Choice(list(STUDIES)), default="course", show_default=True),
    click.option("--leave-out", multiple=True, metavar="VARIANT", help="Variant to leave out; repeatable."),
    count_option("--epochs", None, "Epochs per run.  [default: those of the study]"),
    seeds_option,
    click.option(
        "--widths", callback=_widths, metavar="JSON", help="Channels, e.g. [16,32,64], or [[32],[64,64]] for compact."
    ),
    count_option("--batch-size", 128, "Batch size."),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True),
)
def main(
    report: Report,
    data: Path,
    output: Path,
    name: str,
    leave_out: tuple[str, ...],
    seeds: tuple[int, ...],
    epochs: int | None,
    widths: list[Any] | None,
    **settings: Any,
) -> None:
    """Train what is missing and print the table."""
    study = STUDIES[name]
    changes = list(study.variants)[1:]
    if unknown := set(leave_out) - set(changes):
        raise click.UsageError(f"--leave-out: expected one of {', '.join(changes)}, found {', '.join(unknown)}")
    variants = [variant for variant in study.variants if variant not in leave_out]
    settings |= {
        "device": report.device,
        "epochs": study.epochs if epochs is None else epochs,
        "model_arguments": {} if widths is None else {"widths": widths},
    }
    whole, cleaned = load_splits(data), load_splits(data, drop_conflicts=True)
    results = run_all(study, whole, cleaned, output, variants, seeds, settings)
    report.table(
        f"Ablation of {study.model}: PublicTest, n = {len(whole.validation):,}, without test-time augmentation",
        COLUMNS,
        rows(results),
        conditions=f"{settings['epochs']} epochs, batches of {settings['batch_size']}, "
        f"widths {'of the architecture' if widths is None else widths}, seeds {', '.join(map(str, seeds))}",
    )


if __name__ == "__main__":
    main()

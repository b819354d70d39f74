r"""Train variants of a config over several seeds, and compare their accuracy with that of the baseline.

\b
python -m benchmarks.ablation fer2013.csv
python -m benchmarks.ablation fer2013.csv --study speed --output runs/speed

DATA has Training and PublicTest rows. The study `course` changes the course CNN as its report proposed without trying
it: learning-rate decay, BatchNorm, per-face standardization, these three together, no augmentation, and Training
without conflicting duplicates. The study `speed` changes short trainings of compact as CIFAR-10 speed records do:
optimizers, each at the best rate found with another seed, and initializations. The study `teacher-epochs` measures
what a small student of exports/compact loses if its teacher's outputs are computed in a few epochs only. Rerun the
command after an interruption: finished runs are kept and an unfinished run is resumed.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from benchmarks import EXPORTS
from benchmarks.harness.command import benchmark, count_option, seeds_option
from benchmarks.harness.report import TEXT, Cell, Report
from fer_train.config import FitConfig
from fer_train.data.splits import load_splits
from fer_train.runs.run_folder import read_metrics
from fer_train.training.seeds import fit_seeds, seed_folder

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


STUDIES: Final[Mapping[str, Study]] = {
    "course": Study(
        "course-cnn",
        30,
        {
            "as in the report": {},
            "learning-rate decay (cosine)": {"schedule": "cosine"},
            "BatchNorm": {"architecture_arguments": BATCH_NORM},
            "each face standardized separately": {"architecture_arguments": FACE},
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
    "teacher-epochs": Study(
        "compact",
        20,
        {
            "taught in every epoch": {"distill": TAUGHT},
            "4 teacher epochs": {"distill": {**TAUGHT, "teacher_epochs": 4}},
            "1 teacher epoch": {"distill": {**TAUGHT, "teacher_epochs": 1}},
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


def measure(
    study: Study, data: Path, output: Path, variants: Sequence[str], seeds: Sequence[int], settings: Mapping[str, Any]
) -> Iterator[tuple[Cell, ...]]:
    """Train each variant with all seeds, and yield its row."""
    whole, cleaned = load_splits(data), load_splits(data, drop_conflicts=True)
    baseline: list[float] = []
    for variant in variants:
        changes = study.variants[variant]
        splits = cleaned if changes.get("drop_conflicts") else whole
        arguments = {**settings["architecture_arguments"], **changes.get("architecture_arguments", {})}
        config = FitConfig.of(study.model, **{**settings, **changes, "architecture_arguments": arguments})
        folder = output / re.sub("[^\\w.]+", "-", variant).strip("-")
        found = fit_seeds(splits, config, folder, seeds, resume=True).accuracies
        accuracies = [found[str(seed)] for seed in seeds]
        seconds = [read_metrics(seed_folder(folder, seed))[-1]["elapsed_s"] for seed in seeds]
        yield variant, len(splits.training), *statistics_of(accuracies, baseline), statistics.mean(seconds)
        baseline = baseline or accuracies


def statistics_of(accuracies: Sequence[float], baseline: Sequence[float]) -> tuple[Cell, ...]:
    """Return n, mean and deviation over seeds, and mean and standard error of the gains in points, seed by seed.

    The baseline itself has no gains; its `baseline` is empty.
    """
    pairs = zip(accuracies, baseline, strict=True) if baseline else ()
    gains = [100 * (accuracy - before) for accuracy, before in pairs]
    error = _deviation(gains)
    return (
        len(accuracies),
        statistics.mean(accuracies),
        _deviation([100 * accuracy for accuracy in accuracies]),
        statistics.mean(gains) if gains else None,
        None if error is None else error / len(gains) ** 0.5,
    )


def _deviation(values: Sequence[float]) -> float | None:
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
        "architecture_arguments": {} if widths is None else {"widths": widths},
    }
    report.table(
        f"Ablation of {study.model}: PublicTest accuracy without test-time augmentation",
        COLUMNS,
        measure(study, data, output, variants, seeds, settings),
        conditions=f"{settings['epochs']} epochs, batches of {settings['batch_size']}, "
        f"widths {'of the architecture' if widths is None else widths}, seeds {', '.join(map(str, seeds))}",
    )


if __name__ == "__main__":
    main()

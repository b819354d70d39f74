"""Options of the commands that train, generated from the settings, and the config that they make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fer_core.terminal.options import columns_option, combined, data_argument, settings_options
from fer_train.config import AugmentConfig, DistillConfig, FitConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

AUGMENT: Final = ("rotation_degrees", "shift", "zoom", "brightness", "contrast", "erasing", "mixup")
NETWORK: Final = ("initial", "dirac", "whitening")
DATA: Final = ("faces", "validation", "hold_out", "drop_conflicts", "drop_leaks", "on_error")
OPTIMIZATION: Final = (
    *("epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "lr_warmup_epochs"),
    *("label_smoothing", "ema_decay"),
)
COMPUTATION: Final = ("device", "precision", "compile")


def _key_value(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any] | None:
    table = {}
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            table[key] = json.loads(value)
        except (ValueError, RecursionError):  # not JSON, or numbers and brackets beyond what Python reads
            equals = ""
        if not equals:
            raise click.BadParameter(f"expected KEY=JSON, e.g. batch_norm=true, found {text!r:.80}")
    return table or None


def _seeds(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    seeds = [int(word) for word in words if word.isdecimal() and len(word) <= 20]  # FitConfig checks their limit
    if len(set(seeds)) < len(words):
        raise click.BadParameter(f"expected distinct numbers, e.g. 0,1,2, found {text!r:.80}")
    return tuple(seeds)


training_options = combined(
    data_argument,
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="Run folder to write.  [default: runs/ARCHITECTURE-DATE-TIME]",
    ),
    settings_options(FitConfig, only=("architecture",)),
    click.option(
        "--architecture-argument",
        "architecture_arguments",
        multiple=True,
        callback=_key_value,
        metavar="KEY=JSON",
        help="Argument of the architecture, e.g. batch_norm=true or widths=[16,32,64]. Repeatable.",
    ),
    settings_options(FitConfig, only=NETWORK),
    settings_options(FitConfig, only=DATA),
    columns_option,
    settings_options(FitConfig, only=OPTIMIZATION),
    click.option("--augment/--no-augment", default=None, help="Augment the training images.  [default: augment]"),
    settings_options(AugmentConfig, only=AUGMENT),
    settings_options(FitConfig, only=("mild_epochs", "seed")),
    click.option(
        "--seeds",
        callback=_seeds,
        metavar="N,N...",
        help="Train one run per seed, in OUTPUT/seed-N, and write their mean accuracy to OUTPUT/summary.json.",
    ),
    settings_options(FitConfig, only=COMPUTATION),
    click.option("--resume", is_flag=True, help="Resume the run in OUTPUT with its saved settings."),
)
"""Argument and options of `fit` and `distill`."""

distillation_options = combined(
    click.option(
        "--teachers",
        multiple=True,
        metavar="RUN",
        help="Run or exports folder of a teacher. Repeatable; required unless --resume is given.",
    ),
    settings_options(DistillConfig, without=("teachers",)),
)
"""Further options of `distill`."""


def config_of(options: dict[str, Any]) -> FitConfig:
    """Return the config that the given options make, by their names."""
    if "hold_out" in options:
        options["hold_out_seed"] = options.get("seed", 0)
    limits = {name: options.pop(name) for name in AUGMENT if name in options}
    augment = options.pop("augment", True)
    if limits and not augment:
        raise click.UsageError(f"--no-augment cannot be combined with {', '.join(map(_spelled, limits))}")
    return FitConfig.of(**options, augment=limits if augment else None)


def saved_config(output: Path | None, seeds: Sequence[int], options: dict[str, Any]) -> FitConfig:
    """Return the config of the run to resume; no other option may be given."""
    from fer_train.runs.run_folder import CONFIG_FILE
    from fer_train.training.seeds import load_seeds_config

    if output is None:
        raise click.UsageError("--resume requires --output, the run to resume")
    if options:
        names = [*options.pop("distill", ()), *options]  # its settings are options, too
        given = ", ".join(map(_spelled, names))
        raise click.UsageError(f"--resume uses the saved settings of the run; leave out {given}")
    return load_seeds_config(output, seeds) if seeds else FitConfig.load(output / CONFIG_FILE)


def _spelled(name: str) -> str:
    """Return an option as it was typed."""
    context = click.get_current_context()
    option = next(option for option in context.command.params if option.name == name)
    return (option.secondary_opts if context.params.get(name) is False else option.opts)[0]

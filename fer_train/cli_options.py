"""The options of the commands that train, and the recipe that they make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_core.terminal.options import columns_option, on_error_option
from fer_train.config import OPTIMIZERS

if TYPE_CHECKING:
    from fer_train.config import FitConfig

DATA = click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
AUGMENT_OPTIONS = ("rotation_degrees", "shift", "zoom", "erasing", "mixup")


def _key_value(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    table = {}
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            table[key] = json.loads(value)
        except (ValueError, RecursionError):  # no JSON, or numbers and brackets beyond what Python reads
            equals = ""
        if not equals:
            raise click.BadParameter(f"expected KEY=JSON, such as batch_norm=true, found {text!r:.80}")
    return table


def _seeds(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    seeds = [int(word) for word in words if word.isdecimal() and len(word) <= 20]  # FitConfig knows their limit
    if len(set(seeds)) < len(words):
        raise click.BadParameter(f"expected distinct numbers, such as 0,1,2, found {text!r:.80}")
    return tuple(seeds)


def _by_optimizer(name: str) -> str:
    """Return the defaults of a setting: that of the default optimizer, and those of the others."""
    defaults = {optimizer: f"{values[name]:g}" for optimizer, values in OPTIMIZERS.items()}
    own = defaults.pop("adam")
    return f"[default: {own}; {', '.join(f'{optimizer} {value}' for optimizer, value in defaults.items())}]"


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that trains its argument and options, in the order in which its help lists them."""
    options = [
        DATA,
        click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder to make."),
        click.option(
            "--validation",
            metavar="SPLIT|DATA",
            help="Split of DATA to validate on, such as test, or other faces; ./test is the file or folder `test`.  "
            "[default: PublicTest, else validation]",
        ),
        click.option(
            "--hold-out",
            type=float,
            metavar="FRACTION",
            help="Validate on this fraction of the Training rows (of all rows if DATA has no splits), stratified by "
            "label and drawn by --seed; with --seeds, by seed 0.",
        ),
        columns_option,
        on_error_option,
        click.option("--model", help="Architecture; `fer-train models` lists them.  [default: course-cnn]"),
        click.option(
            "--model-argument",
            "model_arguments",
            multiple=True,
            callback=_key_value,
            metavar="KEY=JSON",
            help="Of the architecture, such as batch_norm=true or widths=[16,32,64]; may be repeated.",
        ),
        click.option("--initial", metavar="RUN", help="Begin with the weights of a run or an exports folder."),
        click.option("--dirac", is_flag=True, default=None, help="Begin with convolutions that pass their inputs on."),
        click.option(
            "--whitening", is_flag=True, default=None, help="Begin with a first convolution that decorrelates pixels."
        ),
        click.option(
            "--drop-conflicts", is_flag=True, default=None, help="Leave out equal Training faces whose labels differ."
        ),
        click.option(
            "--drop-leaks",
            is_flag=True,
            default=None,
            help="Leave out Training faces that are also in the validation split.",
        ),
        click.option("--epochs", type=int, help="Passes over the Training rows.  [default: 100]"),
        click.option("--batch-size", type=int, help="Faces a step.  [default: 128]"),
        click.option("--lr", type=float, help=f"Peak learning rate.  {_by_optimizer('lr')}"),
        click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="[default: adam]"),
        click.option(
            "--weight-decay",
            type=float,
            help=f"Of weights, never of biases.  {_by_optimizer('weight_decay')}",
        ),
        click.option("--schedule", type=click.Choice(["constant", "cosine", "one-cycle"]), help="[default: constant]"),
        click.option("--lr-warmup-epochs", type=float, help="Linear warm-up before constant or cosine.  [default: 0]"),
        click.option("--label-smoothing", type=float, help="Of the target.  [default: 0]"),
        click.option("--ema", "ema_decay", type=float, help="Decay of the weight average.  [default: 0.999]"),
        click.option("--augment/--no-augment", "augment", default=None, help="[default: augment]"),
        click.option("--rotation", "rotation_degrees", type=float, help="Largest turn, in degrees.  [default: 10]"),
        click.option("--shift", type=float, help="Largest shift, as a share of the side.  [default: 0.1]"),
        click.option("--zoom", type=float, help="Largest change of the scale, as a share.  [default: 0.1]"),
        click.option("--erasing", type=float, help="Share of images with an erased rectangle.  [default: 0]"),
        click.option("--mixup", type=float, help="Largest share of another image mixed in.  [default: 0]"),
        click.option("--mild-epochs", type=int, help="Last epochs, with half the augmentation.  [default: 0]"),
        click.option("--seed", type=int, help="Of weights, order, augmentation and dropout.  [default: 0]"),
        click.option(
            "--seeds", callback=_seeds, metavar="N,N...", help="One run a seed, in OUTPUT/seed-N, and their summary."
        ),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]"),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="[default: auto]"),
        click.option("--compile", is_flag=True, default=None, help="Train by torch.compile; does not pay on CPUs."),
        click.option("--resume", is_flag=True, help="Go on with the run in OUTPUT, by its own settings."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def config_of(output: Path, resume: bool, options: dict[str, Any], seeds: tuple[int, ...]) -> FitConfig:
    """Return the recipe that the options make, or the one of the run to resume.

    Parameters
    ----------
    output : Path
        The run folder, or that of a run a seed.
    resume : bool
        Take the recipe of what is there, beside which no option may stand.
    options : dict
        Those that were given, by their names.
    seeds : tuple of int
        Of runs in `output`; empty for one run.
    """
    from fer_train.config import FitConfig
    from fer_train.training.seeds import load_seeds_config

    if resume:
        if options:
            given = [*options.pop("distill", ()), *options]  # which is no option, but holds some
            names = ", ".join(map(_flag, given))
            raise click.UsageError(f"--resume goes on by the run's own settings; leave out {names}")
        return load_seeds_config(output, seeds) if seeds else FitConfig.load(output / "config.json")
    if "hold_out" in options:
        options["hold_out_seed"] = options.get("seed", 0)
    limits = {name: options.pop(name) for name in AUGMENT_OPTIONS if name in options}
    if not options.pop("augment", True):
        if limits:
            raise click.UsageError(f"--no-augment leaves nothing for {', '.join(map(_flag, limits))} to change")
        return FitConfig.of(options.pop("model", "course-cnn"), **options, augment=None)
    return FitConfig.of(options.pop("model", "course-cnn"), **options, augment=limits)


def _flag(name: str) -> str:
    """Return an option as it is typed."""
    context = click.get_current_context()
    option = next(option for option in context.command.params if option.name == name)
    return (option.secondary_opts if context.params.get(name) is False else option.opts)[0]

"""Commands that compute attribution maps, and those that describe the methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core.errors import ConfigError
from fer_core.settings import Setting, settings_of
from fer_core.terminal.options import (
    columns_option,
    data_argument,
    faces_option,
    force_option,
    given,
    limit_option,
    on_error_option,
    output_option,
    range_option,
    rows_option,
    setting_option,
    settings_options,
    split_option,
)
from fer_explain.attribution.registry import METHODS, Method, find_method, table_rows
from fer_explain.commands.options import model_option
from fer_explain.config import MEMORY_MB, TARGET_HELP, AttributionConfig

INEXACT = 0.01
"""Median relative convergence delta from which on a warning is printed."""
PIPED_WIDTH = 160
"""Width of the table of methods outside a terminal, in characters."""


def _known(_: click.Context, __: click.Parameter, name: str) -> str:
    try:
        return find_method(name).name
    except ConfigError as error:
        raise click.BadParameter(error.message) from None


@click.command()
@data_argument
@model_option
@click.option(
    "--method",
    default="saliency",
    show_default=True,
    metavar="NAME",
    callback=_known,
    help="Attribution method; `fer-explain methods` lists them.",
)
@output_option("The .npz file to write: attributions, targets, logits, rows.")
@click.option(
    "--target",
    default="predicted",
    show_default=True,
    metavar="CLASS",
    help=f"Class whose output is explained: {TARGET_HELP}",
)
@settings_options(AttributionConfig)
@rows_option
@split_option
@limit_option
@range_option(
    "--memory-mb",
    "memory_mb",
    float,
    Setting("Memory limit of the passes through the network, in MiB; affects speed, not results.", above=0),
    default=MEMORY_MB,
    shown_default=f"{MEMORY_MB:g}",
)
@faces_option
@columns_option
@on_error_option
@force_option
def attribute(data: Path, model: Path, method: str, output: Path, **options: Any) -> None:
    """Compute attribution maps of the faces in DATA: how much the prediction depends on each pixel.

    `fer-explain methods` lists the methods and the options that each of them uses.

    \b
    Example:
      fer-explain attribute faces.csv --model exports/compact --method grad-cam --output maps.npz
    """
    settings = given({name: options.pop(name) for name in settings_of(AttributionConfig)})
    find_method(method).require_names(settings)
    from fer_explain.attribution.map_file import attribute as attribute_file
    from fer_infer.scoring.writers.rejects import REJECTS

    written = attribute_file(data, model, method, output, config=AttributionConfig(**settings), **options)
    for caution in written.cautions:
        click.echo(f"fer-explain: {method}: {caution.message}", err=True)
    if written.unfinished:
        shortfall = _shortfall(METHODS[method], AttributionConfig(**settings))
        maps = f"{written.unfinished:,} of {written.faces:,} maps"
        click.echo(f"fer-explain: {method}: {maps}: {shortfall}", err=True)
    elif written.missed >= INEXACT:
        click.echo(
            f"fer-explain: {method}: the sums of the maps differ from the differences of outputs by "
            f"{written.missed:.0%} (median)",
            err=True,
        )
    click.echo(f"{written.path}: {', '.join(written.arrays)}")
    if written.rows_left_out:
        click.echo(f"rows left out: {written.rows_left_out:,}, listed in {written.path}{REJECTS}")


def _shortfall(method: Method, config: AttributionConfig) -> str:
    """Say which error the maps exceed, and what helps."""
    number = config.samples or config.max_samples
    what = "error of the sum" if "tolerance" in method.uses else "standard error"
    remedy = "--max-samples" if config.samples is None else "--samples"
    return f"{what} above {100 * (method.bound(config) or 0):.3g}% after {number:,} samples; increase {remedy}"


@click.command()
def methods() -> None:
    """List the attribution methods: paper, requirements, meaning of the values, passes per face and settings.

    \b
    Example:
      fer-explain methods
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "paper", "needs", "values", "passes", "settings", box=box.SIMPLE_HEAD, show_lines=True)
    table.columns[0].no_wrap = True
    for row in table_rows():
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)


@click.command()
@model_option
@setting_option(AttributionConfig, "layer")
def preflight(model: Path, layer: str | None) -> None:
    """Check which attribution methods suit a model, and which would give wrong maps.

    \b
    Example:
      fer-explain preflight --model exports/compact
    """
    from fer_explain.attribution.preflight import find_cautions, verdict_lines
    from fer_explain.verification import load_verified

    for line in verdict_lines(find_cautions(load_verified(model).network, layer)):
        click.echo(line)

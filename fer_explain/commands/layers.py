"""Commands that show the layers of a network, their filters and their outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core.terminal.options import (
    columns_option,
    data_argument,
    faces_option,
    force_option,
    given,
    numbers_option,
    on_error_option,
    output_option,
    settings_options,
    split_option,
)
from fer_explain.commands.options import file_of, layer_option, model_option
from fer_explain.config import FilterConfig

PIPED_WIDTH = 120
"""Width of the table of layers outside a terminal, in characters."""


@click.command()
@model_option
def layers(model: Path) -> None:
    """List the layers of a network: index, name, kind, output shape, units, parameters and receptive field.

    The index or the name is the value of --layer in other commands.

    \b
    Example:
      fer-explain layers --model exports/compact
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from fer_core import ModelError
    from fer_explain.layers.receptive_field import receptive_fields
    from fer_explain.layers.structure import Layers, list_layers
    from fer_train import load_model

    network = load_model(model)
    found = list_layers(network)
    fields = {}
    try:
        for name, field in receptive_fields(network):
            fields[name] = str(field)
    except ModelError as error:
        click.echo(f"fer-explain: {error}; receptive fields of later layers are unknown", err=True)
    table = Table(*Layers.HEADINGS, "receptive field", box=box.SIMPLE_HEAD)
    for heading, column in zip((*Layers.HEADINGS, ""), table.columns, strict=True):
        column.justify = "right" if heading in ("index", "units", "parameters") else "left"
        column.no_wrap = True
    for layer, cells in zip(found, found.cells(), strict=True):
        table.add_row(*cells, fields.get(layer.name, "unknown"))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)


@click.command()
@data_argument
@model_option
@layer_option
@output_option(
    "Folder to create: patches.png, filters.csv, duplicates.csv, filters.npz and, if they are images, weights.png."
)
@settings_options(FilterConfig)
@numbers_option("--inputs", "Input channels whose weights are drawn.  [default: the only one]", metavar="CHANNELS")
@split_option
@faces_option
@columns_option
@on_error_option
@force_option
def filters(
    data: Path,
    model: Path,
    layer: str,
    output: Path,
    inputs: tuple[int, ...] | None,
    force: bool,
    **settings: Any,
) -> None:
    """Show the image patches that activate each filter of a layer, and report dead and duplicate filters.

    \b
    Example:
      fer-explain filters faces.csv --model exports/compact --layer 0 --output filters
    """
    from fer_explain.layers.filters import draw_filters

    source = file_of(data, settings)
    config = FilterConfig(**given(settings))
    report = draw_filters(source, model, layer, output, inputs=inputs, config=config, force=force)
    click.echo(f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
    dead, rare = report.states.count("dead"), report.states.count("rare")
    click.echo(f"{report.layer}, receptive field {report.field}, {report.faces:,} faces: {dead} dead, {rare} rare")
    weights, outputs = len(report.duplicate_weights), len(report.duplicate_outputs)
    click.echo(f"pairs of duplicate filters: {weights} by weights, {outputs} by outputs")


@click.command("feature-maps")
@data_argument
@click.option("--row", type=int, metavar="N", help="Row number; the header of a CSV is row 1.  [default: first face]")
@model_option
@layer_option
@output_option("Folder to create: sheet.png and feature_maps.npz.")
@faces_option
@columns_option
@on_error_option
@force_option
def feature_maps(
    data: Path,
    row: int | None,
    model: Path,
    layer: str,
    output: Path,
    force: bool,
    **options: Any,
) -> None:
    """Draw the output of a layer for one face in DATA.

    \b
    Example:
      fer-explain feature-maps faces.csv --row 17 --model exports/compact --layer 2 --output maps
    """
    from fer_explain.layers.feature_maps import draw_feature_maps

    source = file_of(data, options)
    folder = draw_feature_maps(source, model, layer, output, row=row, force=force)
    click.echo(f"{folder}: sheet.png, feature_maps.npz")

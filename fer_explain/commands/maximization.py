"""The command that maximizes activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core.io.crop import ALIGNED
from fer_core.settings import settings_of
from fer_core.terminal.options import (
    columns_option,
    faces_option,
    force_option,
    given,
    numbers_option,
    on_error_option,
    output_option,
    setting_option,
    settings_options,
    split_option,
)
from fer_explain.commands.options import file_of, model_option
from fer_explain.config import AscentConfig, FilterConfig


@click.command()
@model_option
@click.option(
    "--layer",
    metavar="NAME|INDEX",
    help="Layer name or index, required unless --class is given; `fer-explain layers` lists them.",
)
@output_option("Folder to create: sheet.png and maximization.npz.")
@numbers_option("--channels", "Channels or units, e.g. 0,3,5-9.  [default: all]", metavar="CHANNELS")
@click.option("--class", "class_name", metavar="NAME", help="Maximize the logit of this class.")
@click.option(
    "--direction",
    type=click.Path(path_type=Path),
    help="Maximize a direction in channel space, a vector in this .npy file.",
)
@click.option(
    "--position", metavar="Y,X|center", help="Maximize the neuron at this position.  [default: mean over all positions]"
)
@click.option(
    "--start",
    default="noise",
    show_default=True,
    metavar="noise|mean|row:N",
    help="Start image: noise, mean or a face.",
)
@click.option(
    "--data", type=click.Path(path_type=Path, allow_dash=True), help="Faces for comparison and for the start image."
)
@split_option
@setting_option(FilterConfig, "limit")
@faces_option
@columns_option
@on_error_option
@settings_options(AscentConfig)
@force_option
def maximize(
    model: Path,
    data: Path | None,
    limit: int | None,
    **options: Any,
) -> None:
    """Synthesize images that maximize a channel, neuron, class or direction (activation maximization).

    With --data, the activation of each image is compared with the highest activation on real faces, which shows whether
    the optimization succeeded.

    \b
    Example:
      fer-explain maximize --model exports/compact --layer 2 --data faces.csv --output ascent
    """
    if data is None and (options["split"] is not None or options["faces"] != ALIGNED or options["input_columns"]):
        raise click.UsageError("--split, --faces and --column require --data")
    from fer_explain.maximization.maximize import maximize as maximize_model

    faces = file_of(data, options)
    config = AscentConfig(**given({name: options.pop(name) for name in settings_of(AscentConfig)}))
    folder = maximize_model(model, data=faces, limit=limit, config=config, **options)
    click.echo(f"{folder}: sheet.png, maximization.npz")

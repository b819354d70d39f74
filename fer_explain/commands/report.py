"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core.settings import settings_of
from fer_core.terminal.options import (
    columns_option,
    data_argument,
    faces_option,
    force_option,
    given,
    on_error_option,
    output_option,
    rows_option,
    settings_options,
    split_option,
)
from fer_explain.commands.options import file_of, methods_option, model_option
from fer_explain.config import ReportConfig


@click.command()
@data_argument
@model_option
@output_option("Folder to create: index.html, figures/ and attributions.npz.")
@rows_option
@settings_options(ReportConfig)
@methods_option(
    "Comma-separated attribution methods; the first one is used for masked faces and mean maps.  "
    "[default: saliency, integrated-gradients, grad-cam, occlusion, smoothgrad]",
    required=False,
)
@click.option(
    "--layer",
    metavar="NAME|INDEX",
    help="Layer to show; `fer-explain layers` lists them.  [default: activation before the first pooling]",
)
@split_option
@faces_option
@columns_option
@on_error_option
@force_option
def report(
    data: Path,
    model: Path,
    output: Path,
    **options: Any,
) -> None:
    """Write a self-contained page that explains the decisions of a model on the faces in DATA.

    By default it shows 12 faces of all classes and, if DATA has labels, the 6 most confident mistakes and faces of the
    two most confused pairs of classes. Each map of a predicted class is compared with random control maps, unless the
    model is not better than chance. The weights must be those of the exported graph.

    \b
    Example:
      fer-explain report faces.csv --model exports/compact --output report
    """
    from fer_core.outputs.rejects import REJECTS_FILE
    from fer_explain.report.report import write_report

    config = ReportConfig(**given({name: options.pop(name) for name in settings_of(ReportConfig)}))
    page = write_report(file_of(data, options), model, output, config=config, **options)
    click.echo(f"{page}: open it in a browser")
    click.echo(f"{output}: figures/, attributions.npz")
    rejects = output / REJECTS_FILE
    if rejects.is_file():
        click.echo(f"{rejects}: rows that could not be read")

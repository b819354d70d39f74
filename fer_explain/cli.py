"""The program `fer-explain`: each command parses, calls one function of this package and says where the results are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fer_core.program import Program

# Whatever takes long to import is imported inside the commands, so that --help answers at once.

model_option = click.option(
    "--model", type=click.Path(path_type=Path), required=True, help="An exports folder or a run."
)
usage_option = click.option(
    "--usage", metavar="SPLIT", help="Use this split alone, such as PublicTest.  [default: all rows]"
)
layer_option = click.option(
    "--layer", metavar="NAME|INDEX", required=True, help="Such as features.0 or 0; a wrong one lists those there are."
)
rows_option = click.option(
    "--rows", metavar="ROWS", help="Row numbers such as 2,17,30-40; the header of a CSV is row 1."
)
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")


Command = TypeVar("Command", bound=Callable[..., Any])


def output_option(what: str) -> Callable[[Command], Command]:
    """Return the option that names what is written."""
    return click.option("--output", type=click.Path(path_type=Path), required=True, help=what)


@click.group(name="fer-explain", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-explain")
def main() -> None:
    """Show what a model sees in faces, and prove that it is the model that scores."""


@main.command()
@click.argument("data")
@model_option
@output_option("The folder to make: index.html, figures/ and attributions.npz.")
@rows_option
@click.option("--worst", type=click.IntRange(min=1), metavar="N", help="Show the N most confident mistakes.")
@usage_option
@click.option("--layer", metavar="NAME|INDEX", help="The layer to look into.  [default: before the first pooling]")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.2,
    show_default=True,
    help="Share of the pixels that the masked faces keep.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the gradient ascent.")
@force_option
def report(data: str, model: Path, output: Path, rows: str | None, **settings: Any) -> None:
    """Write one self-contained page on how a model sees the faces in DATA.

    Without --rows and --worst it shows 12 faces spread over the classes and, if DATA has labels, the 6 most confident
    mistakes. It refuses a weights file that is not the one its ONNX graph was made from.
    """
    from fer_explain.report import report as run
    from fer_explain.rows import parse_numbers

    chosen = None if rows is None else parse_numbers(rows, "rows")
    page = run(data, model, output, rows=chosen, **settings)
    click.echo(f"{page}: open it in a browser")
    click.echo(f"{output}: figures/, attributions.npz")


@main.command()
@click.argument("data")
@model_option
@click.option("--method", default="saliency", show_default=True, help="How to attribute; a wrong one lists them all.")
@output_option("The .npz to write: attributions, targets, logits, rows.")
@click.option(
    "--target",
    default="predicted",
    show_default=True,
    metavar="CLASS",
    help="Whose logit is explained: predicted, true, or the name of a class.",
)
@rows_option
@usage_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Faces explained at once. It changes speed and memory, not the results.",
)
@force_option
def attribute(data: str, model: Path, method: str, output: Path, rows: str | None, **settings: Any) -> None:
    """Write which pixels each decision about the faces in DATA depends on, as numbers."""
    from fer_explain.attribution import attribute as run
    from fer_explain.rows import parse_numbers

    chosen = None if rows is None else parse_numbers(rows, "rows")
    written = run(data, model, method, output, rows=chosen, **settings)
    click.echo(f"{written}: attributions, targets, logits, rows")


@main.command()
@model_option
@layer_option
@output_option("The folder to make: sheet.png and maximization.npz.")
@click.option("--channels", metavar="CHANNELS", help="Numbers such as 0,3,5-9.  [default: all]")
@click.option("--steps", type=click.IntRange(min=1), default=64, show_default=True, help="Of the ascent.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise at the start.")
@force_option
def maximize(model: Path, layer: str, output: Path, channels: str | None, steps: int, seed: int, force: bool) -> None:
    """Climb to the images that a layer's channels answer to most."""
    from fer_explain.ascent import AscentConfig
    from fer_explain.maximization import maximize as run
    from fer_explain.rows import parse_numbers

    chosen = None if channels is None else parse_numbers(channels, "channels")
    folder = run(model, layer, output, channels=chosen, config=AscentConfig(steps=steps, seed=seed), force=force)
    click.echo(f"{folder}: sheet.png, maximization.npz")


@main.command("feature-maps")
@click.argument("data")
@click.option("--row", type=int, metavar="N", required=True, help="Row number; the header of a CSV is row 1.")
@model_option
@layer_option
@output_option("The folder to make: sheet.png and feature_maps.npz.")
@force_option
def feature_maps(data: str, row: int, model: Path, layer: str, output: Path, force: bool) -> None:
    """Draw what a layer makes of one face in DATA."""
    from fer_explain.feature_maps import feature_maps as run

    folder = run(data, row, model, layer, output, force=force)
    click.echo(f"{folder}: sheet.png, feature_maps.npz")

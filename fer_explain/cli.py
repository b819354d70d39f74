"""The program `fer-explain`: each command parses, calls one function of this package and says where the results are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fer_core.terminal.program import Program
from fer_explain.commands.attribution import attribute, methods, preflight
from fer_explain.commands.evaluation import faithfulness, ground_truth, sanity
from fer_infer.cli import column_option, on_error_option

SEED = click.IntRange(0, 2**32 - 1)

# Whatever takes long to import is imported inside the commands, so that --help answers at once.

model_option = click.option(
    "--model", type=click.Path(path_type=Path), required=True, help="An exports folder or a run."
)
split_option = click.option(
    "--split",
    "--usage",
    "split",
    metavar="SPLIT",
    help="Use this split alone, such as PublicTest.  [default: all rows]",
)
layer_option = click.option(
    "--layer", metavar="NAME|INDEX", required=True, help="Such as features.0 or 0; a wrong one lists those there are."
)
rows_option = click.option(
    "--rows", metavar="ROWS", help="Row numbers such as 2,17,30-40; the header of a CSV is row 1."
)
most_faces_option = click.option(
    "--most-faces",
    type=click.IntRange(min=1),
    help="Look at so many faces, the first of them.  [default: 4096]",
)
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")
TARGET_OPTIONS = ("layer", "class_name", "direction", "place", "start", "data", "split", "most_faces")
"""Options of `maximize` that say what is climbed for and from; the others are those of `AscentConfig`."""

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
@split_option
@click.option(
    "--methods", metavar="NAMES", help="How to attribute; the first leads.  [default: five, those that suit the model]"
)
@click.option("--layer", metavar="NAME|INDEX", help="The layer to look into.  [default: before the first pooling]")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.2,
    show_default=True,
    help="Share of the pixels that the masked faces keep.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of all chance.")
@column_option
@on_error_option
@force_option
def report(data: str, model: Path, output: Path, rows: str | None, methods: str | None, **settings: Any) -> None:
    """Write one self-contained page on how a model sees the faces in DATA.

    Without --rows and --worst it shows 12 faces spread over the classes and, if DATA has labels, the 6 most confident
    mistakes; with labels also faces of the two most confused pairs of classes. If the model is better than chance, each
    map of a predicted class is compared with random control maps of the same roughness and centering. It refuses a
    weights file that is not the one its ONNX graph was made from.
    """
    from fer_core.io.rejects import REJECTS_FILE
    from fer_core.terminal.options import parse_numbers
    from fer_explain.evaluation.method_names import parse_methods
    from fer_explain.report import report as run

    chosen = None if rows is None else parse_numbers(rows)
    named = None if methods is None else parse_methods(methods)
    page = run(data, model, output, rows=chosen, methods=named, **settings)
    click.echo(f"{page}: open it in a browser")
    click.echo(f"{output}: figures/, attributions.npz")
    rejects = output / REJECTS_FILE
    if rejects.is_file():
        click.echo(f"{rejects}: rows left out, and why")


@main.command()
@model_option
@click.option("--layer", metavar="NAME|INDEX", help="Such as features.0 or 0; needed but with --class.")
@output_option("The folder to make: sheet.png and maximization.npz.")
@click.option("--channels", metavar="CHANNELS", help="Numbers such as 0,3,5-9.  [default: all]")
@click.option("--class", "class_name", metavar="NAME", help="Climb for the logit of this class instead.")
@click.option(
    "--direction", type=click.Path(path_type=Path), help="Climb along this vector (.npy) of channels instead."
)
@click.option("--place", metavar="Y,X|centre", help="The one neuron that counts.  [default: the mean over all places]")
@click.option("--data", help="Faces to compare with and to start from.")
@split_option
@most_faces_option
@click.option(
    "--start", default="noise", show_default=True, metavar="noise|mean|row:N", help="The image to begin with."
)
@click.option("--space", type=click.Choice(["fourier", "pixel"]), help="Where the steps are taken.  [default: fourier]")
@click.option("--steps", type=int, help="Of the ascent.  [default: 64]")
@click.option("--step-size", type=float, help="Of the first step, gray levels in pixel space; it falls.  [default: 12]")
@click.option("--noise", type=float, help="Added to the start, in gray levels.  [default: 12]")
@click.option("--decay", type=float, help="Share of the way back to the start at each step.  [default: 0.01]")
@click.option("--total-variation", type=float, help="Weight of the smoothness.  [default: 0.1]")
@click.option("--jitter", type=int, help="Largest shift before a step, in pixels.  [default: 2]")
@click.option("--rotation", type=float, help="Largest turn before a step, in degrees.  [default: 5]")
@click.option("--zoom", type=float, help="Largest change of the scale before a step.  [default: 0.05]")
@click.option("--images", type=int, metavar="N", help="Images for each channel.  [default: 1]")
@click.option("--diversity", type=float, help="Weight of what drives these apart.  [default: 0.5]")
@click.option("--seed", type=int, help="Of noise and transforms.  [default: 0]")
@column_option
@force_option
def maximize(
    model: Path,
    output: Path,
    channels: str | None,
    input_columns: dict[str, str],
    force: bool,
    **settings: Any,
) -> None:
    """Climb to the images that a layer's channels, a neuron, a class or a direction answers to most.

    With --data each image is compared with the face that raises the same most: a weak ascent shows.
    """
    from fer_core.terminal.options import parse_numbers
    from fer_explain.maximization.ascent import AscentConfig
    from fer_explain.maximization.maximize import maximize as run

    what = {name: settings.pop(name) for name in TARGET_OPTIONS}
    config = AscentConfig(**{name: value for name, value in settings.items() if value is not None})
    chosen = None if channels is None else parse_numbers(channels)
    folder = run(model, output=output, channels=chosen, config=config, input_columns=input_columns, force=force, **what)
    click.echo(f"{folder}: sheet.png, maximization.npz")


@main.command()
@click.argument("data")
@model_option
@layer_option
@output_option("The folder to make: patches.png, filters.csv, duplicates.csv, filters.npz and, if 2-D, weights.png.")
@split_option
@most_faces_option
@click.option("--inputs", metavar="CHANNELS", help="Input channels to draw weights of.  [default: the only one]")
@click.option("--top", type=int, metavar="N", help="Faces shown for each filter.  [default: 9]")
@click.option("--rare", type=float, help="Share of places below which a filter is rare.  [default: 0.001]")
@click.option("--cosine", type=float, help="Of the weights of duplicates, at least.  [default: 0.95]")
@click.option("--correlation", type=float, help="Of the outputs of duplicates, at least.  [default: 0.95]")
@column_option
@force_option
def filters(
    data: str,
    model: Path,
    layer: str,
    output: Path,
    split: str | None,
    inputs: str | None,
    input_columns: dict[str, str],
    force: bool,
    **settings: Any,
) -> None:
    """Show what in the faces of DATA wakes each filter of a layer, and which filters are dead or duplicates."""
    from fer_core.terminal.options import parse_numbers
    from fer_explain.layers.filters import FilterConfig
    from fer_explain.layers.filters import filters as run

    config = FilterConfig(**{name: value for name, value in settings.items() if value is not None})
    chosen = None if inputs is None else parse_numbers(inputs)
    options: dict[str, Any] = {"split": split, "input_columns": input_columns, "force": force}
    found = run(data, model, layer, output, inputs=chosen, config=config, **options)
    click.echo(f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}")
    dead, rare = found.states.count("dead"), found.states.count("rare")
    click.echo(f"{found.layer}, seeing {found.field}, on {found.faces:,} faces: {dead} dead, {rare} rare;")
    alike = f"{len(found.alike_weights)} in their weights, {len(found.alike_outputs)} in their outputs"
    click.echo(f"pairs of duplicates: {alike}")


@main.command("feature-maps")
@click.argument("data")
@click.option("--row", type=int, metavar="N", required=True, help="Row number; the header of a CSV is row 1.")
@model_option
@layer_option
@output_option("The folder to make: sheet.png and feature_maps.npz.")
@column_option
@force_option
def feature_maps(data: str, row: int, model: Path, layer: str, output: Path, **settings: Any) -> None:
    """Draw what a layer makes of one face in DATA."""
    from fer_explain.layers.feature_maps import feature_maps as run

    folder = run(data, row, model, layer, output, **settings)
    click.echo(f"{folder}: sheet.png, feature_maps.npz")


for command in (attribute, methods, preflight, faithfulness, sanity, ground_truth):
    main.add_command(command)

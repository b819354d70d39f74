"""The program `fer-explain`: each command parses, calls one function of this package and says where the results are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fer_core.terminal.options import columns_option, on_error_option
from fer_core.terminal.program import Program

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
methods_option = click.option(
    "--methods", metavar="NAMES", required=True, help="Such as saliency,occlusion; `fer-explain methods` lists them."
)


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
@columns_option
@on_error_option
@force_option
def report(data: str, model: Path, output: Path, rows: str | None, methods: str | None, **settings: Any) -> None:
    """Write one self-contained page on how a model sees the faces in DATA.

    Without --rows and --worst it shows 12 faces spread over the classes and, if DATA has labels, the 6 most confident
    mistakes; with labels also faces of the two most confused pairs of classes. If the model is better than chance, each
    map of a predicted class is compared with random control maps of the same roughness and centering. It refuses a
    weights file that is not the one its ONNX graph was made from.
    """
    from fer_core.outputs.rejects import REJECTS_FILE
    from fer_explain.cli_types import parse_numbers
    from fer_explain.evaluation.compared_maps import parse_methods
    from fer_explain.report import report as run

    chosen = None if rows is None else parse_numbers(rows, "rows")
    named = None if methods is None else parse_methods(methods)
    page = run(data, model, output, rows=chosen, methods=named, **settings)
    click.echo(f"{page}: open it in a browser")
    click.echo(f"{output}: figures/, attributions.npz")
    rejects = output / REJECTS_FILE
    if rejects.is_file():
        click.echo(f"{rejects}: rows left out, and why")


@main.command()
@click.argument("data")
@model_option
@click.option("--method", default="saliency", show_default=True, help="How to attribute.")
@output_option("The .npz to write: attributions, targets, logits, rows.")
@click.option(
    "--target",
    default="predicted",
    show_default=True,
    metavar="CLASS",
    help="Whose output is explained: predicted, true, or the name of a class.",
)
@click.option("--of", type=click.Choice(["logits", "probabilities"]), help="What is explained.  [default: logits]")
@click.option("--samples", type=int, metavar="N", help="Points at which a face's gradient is taken.  [default: 32]")
@click.option("--baseline", type=float, metavar="GRAY", help="Of no face, 0..255.  [default: mean of Training]")
@click.option("--noise", type=float, metavar="SHARE", help="Of the face's range, as deviation.  [default: 0.15]")
@click.option("--window", type=int, metavar="PIXELS", help="Side of the occluding square.  [default: 8]")
@click.option("--stride", type=int, metavar="PIXELS", help="Steps of the occluding square.  [default: 4]")
@click.option("--layer", metavar="NAME|INDEX", help="Of Grad-CAM.  [default: the last convolution's activation]")
@click.option("--seed", type=int, help="Of all chance, together with the row number.  [default: 0]")
@rows_option
@split_option
@click.option(
    "--memory-mb",
    type=click.FloatRange(0, min_open=True),
    default=512,
    show_default=True,
    help="What the passes through the network may use. It changes speed, not the results.",
)
@columns_option
@force_option
def attribute(
    data: str,
    model: Path,
    method: str,
    output: Path,
    target: str,
    rows: str | None,
    split: str | None,
    memory_mb: float,
    input_columns: dict[str, str],
    force: bool,
    **given: Any,
) -> None:
    """Write which pixels each decision about the faces in DATA depends on, as numbers.

    `fer-explain methods` lists the methods and which of the settings each of them takes.
    """
    from fer_explain.attribution import Settings, find_method
    from fer_explain.attribution.map_file import attribute as run
    from fer_explain.cli_types import parse_numbers

    settings = {name: value for name, value in given.items() if value is not None}
    find_method(method).require_names(settings)
    written = run(
        data,
        model,
        method,
        output,
        target=target,
        settings=Settings(**settings),
        rows=None if rows is None else parse_numbers(rows, "rows"),
        split=split,
        memory_mb=memory_mb,
        input_columns=input_columns,
        force=force,
    )
    for caution in written.cautions:
        click.echo(f"fer-explain: {method}: {caution.message}", err=True)
    if written.missed >= 0.01:
        what = f"half of the maps miss the sum that the method promises by {written.missed:.0%} or more"
        remedy = "; more --samples bring it down" if "samples" in find_method(method).uses else ""
        click.echo(f"fer-explain: {method}: {what}{remedy}", err=True)
    click.echo(f"{written.path}: attributions, targets, logits, rows")


@main.command()
def methods() -> None:
    """List the attribution methods: paper, needs, meaning of the values, passes a face, settings."""
    from fer_explain.attribution import methods_table

    click.echo(methods_table())


@main.command()
@model_option
@click.option("--layer", metavar="NAME|INDEX", help="Of Grad-CAM.  [default: the last convolution's activation]")
def preflight(model: Path, layer: str | None) -> None:
    """Say which attribution methods suit a model, and which would draw wrong maps of it."""
    from fer_explain.attribution.preflight import judgements
    from fer_explain.attribution.preflight import preflight as run
    from fer_explain.verification import load_proven

    for line in judgements(run(load_proven(model).network, layer)):
        click.echo(line)


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
@columns_option
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
    from fer_explain.cli_types import parse_numbers
    from fer_explain.maximization.ascent import AscentConfig
    from fer_explain.maximization.maximize import maximize as run

    what = {name: settings.pop(name) for name in TARGET_OPTIONS}
    config = AscentConfig(**{name: value for name, value in settings.items() if value is not None})
    chosen = None if channels is None else parse_numbers(channels, "channels")
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
@columns_option
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
    from fer_explain.cli_types import parse_numbers
    from fer_explain.layers.filters import FilterConfig
    from fer_explain.layers.filters import filters as run

    config = FilterConfig(**{name: value for name, value in settings.items() if value is not None})
    chosen = None if inputs is None else parse_numbers(inputs, "inputs")
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
@columns_option
@force_option
def feature_maps(data: str, row: int, model: Path, layer: str, output: Path, **settings: Any) -> None:
    """Draw what a layer makes of one face in DATA."""
    from fer_explain.layers.feature_maps import feature_maps as run

    folder = run(data, row, model, layer, output, **settings)
    click.echo(f"{folder}: sheet.png, feature_maps.npz")


def sample_options(faces: int) -> Callable[[Command], Command]:
    """Return the options that say which faces, and which of their classes, maps are tested on."""
    options = (
        click.option(
            "--faces", type=int, default=faces, show_default=True, help="Faces to draw from DATA, without --rows."
        ),
        rows_option,
        split_option,
        click.option(
            "--target",
            default="predicted",
            show_default=True,
            metavar="CLASS",
            help="Whose logit is explained: predicted, true, or the name of a class.",
        ),
        click.option("--seed", type=SEED, default=0, show_default=True, help="Of all chance."),
        columns_option,
        force_option,
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@main.command()
@click.argument("data")
@model_option
@methods_option
@output_option("The folder to make: faithfulness.json and .csv, scores.npz, curves.png, ranking.png.")
@click.option("--steps", type=int, default=16, show_default=True, help="Of deletion and of insertion.")
@click.option(
    "--sensitivity-faces",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Faces that max-sensitivity is measured on; each costs five more maps a method.",
)
@click.option(
    "--controls",
    type=click.IntRange(min=1),
    help="Control maps per face and method. [default: as many as make 300 per method, at most 39]",
)
@sample_options(faces=300)
def faithfulness(
    data: str,
    model: Path,
    methods: str,
    output: Path,
    steps: int,
    sensitivity_faces: int,
    controls: int | None,
    rows: str | None,
    seed: int,
    **settings: Any,
) -> None:
    """Measure how faithful attribution maps are (deletion, insertion, infidelity, max-sensitivity, sparsity).

    Each map is compared with random control maps of the same roughness and centering: a method is better, no
    different or worse than its controls, by a 95% bootstrap interval over faces. Methods are ranked by insertion minus
    deletion.
    """
    from fer_explain.cli_types import parse_numbers
    from fer_explain.evaluation.compared_maps import parse_methods
    from fer_explain.evaluation.faithfulness import faithfulness as run
    from fer_explain.evaluation.metrics.faithfulness import RANKED_BY, FaithfulnessConfig

    config = FaithfulnessConfig(steps=steps, sensitivity_faces=sensitivity_faces, controls=controls, seed=seed)
    chosen = None if rows is None else parse_numbers(rows, "rows")
    for line in run(data, model, parse_methods(methods), output, rows=chosen, config=config, **settings):
        if line.score == RANKED_BY:
            click.echo(str(line))
    click.echo(f"{output}: faithfulness.json, faithfulness.csv, scores.npz, curves.png, ranking.png")


@main.command()
@click.argument("data")
@model_option
@methods_option
@output_option("The folder to make: sanity.json and .csv, similarity.npz, cascading.png, independent.png.")
@sample_options(faces=24)
def sanity(data: str, model: Path, methods: str, output: Path, rows: str | None, **settings: Any) -> None:
    """Test whether maps of the faces in DATA depend on what the model has learned.

    The weights of a copy are drawn anew, layer by layer. A method whose map stays the same has failed; the controls
    `random` and `centre`, which do not depend on the model, are expected to fail.
    """
    from fer_explain.cli_types import parse_numbers
    from fer_explain.evaluation.compared_maps import parse_methods
    from fer_explain.evaluation.sanity import sanity as run

    chosen = None if rows is None else parse_numbers(rows, "rows")
    for verdict in run(data, model, parse_methods(methods), output, rows=chosen, **settings):
        click.echo(str(verdict))
    click.echo(f"{output}: sanity.json, sanity.csv, similarity.npz, cascading.png, independent.png")


@main.command("ground-truth")
@model_option
@methods_option
@output_option("The folder to make: ground_truth.json and .csv, scores.npz, ranking.png.")
@click.option("--faces", type=int, default=300, show_default=True, help="Faces to draw.")
@click.option("--seed", type=SEED, default=1000, show_default=True, help="Of the faces.")
@force_option
def ground_truth(model: Path, methods: str, output: Path, faces: int, seed: int, force: bool) -> None:
    """Test whether maps lie where the truth does, on drawn faces whose expression is known region by region.

    It takes a model trained on drawn faces, such as `fer-train synthesize` makes with another seed.
    """
    from fer_explain.evaluation.compared_maps import parse_methods
    from fer_explain.evaluation.ground_truth import RANKED_BY
    from fer_explain.evaluation.ground_truth import ground_truth as run

    compared = run(model, parse_methods(methods), output, faces=faces, seed=seed, force=force)
    click.echo(f"{compared[0].value.n} of {faces} drawn faces recognized")
    for line in compared:
        if line.score == RANKED_BY:
            click.echo(str(line))
    click.echo(f"{output}: ground_truth.json, ground_truth.csv, scores.npz, ranking.png")

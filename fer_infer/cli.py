"""The program `fer-infer`: each command parses, calls one function of this package and says where the results are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core import FerError
from fer_core.extras import needed_from
from fer_core.io.columns import ROLES
from fer_core.terminal.program import Program

# Whatever takes long to import is imported inside the commands, so that --help answers at once.

MODEL_HELP = "An exports folder, or an ONNX file of one."
DEVICE_HELP = "auto takes CUDA where the session gets it and says why not; cuda fails where it does not."
THREADS_HELP = "CPU threads, each of which runs faces of its own.  [default: one a physical core]"


def _by_role(ctx: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Turn ROLE=NAME pairs into a dictionary; raise click.BadParameter where one is malformed."""
    columns: dict[str, str] = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        if not equals or role not in ROLES:
            raise click.BadParameter(f"expected ROLE=NAME with one of {', '.join(ROLES)}, found {pair!r}")
        if role in columns:
            raise click.BadParameter(f"expected one column of {role}, found {columns[role]!r} and {name!r}")
        columns[role] = name
    return columns


device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help=DEVICE_HELP
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Faces scored at once. It changes speed and memory, and logits by rounding alone.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "int8", "fp16"]),
    default="auto",
    show_default=True,
    help="Of the graph; auto takes fp16 on CUDA, int8 on a CPU, where MODEL holds them, and fp32 with --engine ray.",
)
tta_option = click.option(
    "--tta",
    type=click.Choice(["none", "flip", "flip-shift"]),
    default="none",
    show_default=True,
    help="Test-time augmentation, probabilities averaged over views: flip is each face and its mirror image and costs "
    "2 times as much; flip-shift these moved to 4 corners as well, 10 times.",
)
threads_option = click.option("--threads", type=click.IntRange(min=1), metavar="N", help=THREADS_HELP)
column_option = click.option(
    "--column",
    "input_columns",
    multiple=True,
    metavar="ROLE=NAME",
    callback=_by_role,
    help="Read the column NAME of DATA as ROLE: pixels, label, split or id. Repeatable.  [default: recognized by name]",
)
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At a row that cannot be read, stop, or leave it out; rows left out are counted and listed in "
    "OUTPUT/rejects.csv.",
)
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")


def _file(**options: Any) -> click.Path:
    return click.Path(path_type=Path, **options)


@click.group(name="fer-infer", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-infer")
def main() -> None:
    """Score and evaluate exported models with ONNX Runtime; torch is never needed."""


@main.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--model", type=_file(), required=True, help=MODEL_HELP)
@click.option(
    "--output",
    type=click.Path(),
    required=True,
    help="The file to write, whole or not at all: .csv, .csv.gz, .csv.zst or .parquet. With --engine ray, a folder.",
)
@click.option(
    "--columns",
    type=click.Choice(["id-label", "probabilities", "logits"]),
    default="id-label",
    show_default=True,
    help="id-label writes `id,label` alone; the others add one column a class.",
)
@column_option
@tta_option
@device_option
@precision_option
@batch_size_option
@threads_option
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At a wrong row, stop and leave no output, or list it in OUTPUT.rejects.csv and go on.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray scores many files on a cluster, into parts in the folder OUTPUT; the same command again goes on.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of --engine ray, each with a GPU or --threads CPUs.  [default: all that the cluster has room for]",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Of the cluster for --engine ray.  [default: RAY_ADDRESS, else a cluster on this machine]",
)
@force_option
def score(data: tuple[str, ...], engine: str, workers: int | None, ray_address: str | None, **settings: Any) -> None:
    """Predict the expression of every face in DATA.

    DATA is a CSV with a column `pixels` or `feature` (plain, gzip or zstandard), `-` for such a CSV on standard
    input, a Parquet file, or a folder of images, SPLIT/LABEL/*.png or *.png. Ids are those of the column `id`, the
    names of images, else rows counted from 0. With --engine ray, DATA are such files, folders of them, patterns and
    URIs.
    """
    if engine == "ray":
        _score_on_ray(data, workers=workers, ray_address=ray_address, **settings)
        return
    if workers is not None or ray_address is not None:
        raise click.UsageError("--workers and --ray-address are for --engine ray")
    if len(data) != 1:
        raise click.UsageError(f"--engine local takes one DATA, found {len(data)}; --engine ray takes several")
    from fer_infer.scoring.pipeline import score as run

    done = run(data[0], **settings)
    click.echo(f"{done.output}: {done.rows:,} rows in {done.elapsed_s:.2f} s, {done.faces_per_s:,.0f} faces/s")
    if done.rejects is not None:
        click.echo(f"{done.rejects}: rows left out: {done.rejected:,}")
    if not done.rows:
        click.echo(f"fer-infer: {data[0]}: holds no face, so {done.output} holds no prediction", err=True)
    click.echo("predicted: " + ", ".join(f"{name} {count:,}" for name, count in done.label_counts.items()))
    click.echo(_provider(done.provider, done.provider_note, done.precision, done.tta))


def _score_on_ray(data: tuple[str, ...], **settings: Any) -> None:
    with needed_from("ray"):
        from fer_infer.cluster.engine import score_files

    done = score_files(data, **settings)
    speed = f"{done.elapsed_s:.2f} s, {done.faces_per_s:,.0f} faces/s"
    click.echo(f"{done.output}: {done.rows:,} rows of {done.files:,} files in {speed}")
    if done.reused:
        click.echo(f"{done.output}: parts of an earlier run kept: {done.reused:,}")
    if done.rejected:
        click.echo(f"{done.output}: rows left out: {done.rejected:,}, listed in rejects-*.csv")
    click.echo("predicted: " + ", ".join(f"{name} {count:,}" for name, count in done.label_counts.items()))
    for provider, note in done.providers.items():
        click.echo(_provider(provider, note, done.precision, done.tta))


def _provider(provider: str, note: str, precision: str, tta: str = "none") -> str:
    why = "" if provider == "CUDAExecutionProvider" else "not CUDA: "
    augmented = "" if tta == "none" else f", test-time augmentation {tta}"
    return f"ran on {provider} in {precision}" + (f" ({why}{note})" if note else "") + augmented


@main.command()
@click.argument("data")
@click.option("--model", type=_file(), required=True, help=MODEL_HELP)
@click.option("--output", type=_file(), required=True, help="The folder to make, whole or not at all.")
@click.option(
    "--split",
    "--usage",
    "split",
    metavar="SPLIT",
    help="Evaluate this split alone, such as PublicTest.  [default: all rows]",
)
@click.option(
    "--training",
    metavar="DATA",
    help="The Training faces, of which the evaluated ones may be repeats.  [default: Training rows of DATA, if any]",
)
@column_option
@on_error_option
@tta_option
@device_option
@precision_option
@batch_size_option
@threads_option
@force_option
def evaluate(**settings: Any) -> None:
    """Compare a model's predictions with the labels in DATA.

    Accuracy and recalls come with 95 % intervals; the accuracy also without the faces whose pixels stand in Training,
    and, with --tta, without augmentation. Writes metrics.json, per_class.csv, confusion.csv, confusion.png and
    reliability.png into the folder OUTPUT. DATA is as for `score`, with labels: a column `emotion` or `label`, or label
    folders.
    """
    from fer_core.outputs.rejects import REJECTS_FILE
    from fer_infer.evaluation.evaluate import FILES
    from fer_infer.evaluation.evaluate import evaluate as run

    done = run(**settings)
    click.echo(done.to_text())
    click.echo(_provider(done.provider, done.provider_note, done.precision))
    files = (*FILES, REJECTS_FILE) if done.rows_left_out else FILES
    click.echo(f"{settings['output']}: {', '.join(files)}")


@main.command()
@click.argument("data")
@click.option("--model", type=_file(), required=True, help=MODEL_HELP)
@click.option(
    "--rows", type=click.IntRange(min=1), default=1000, show_default=True, help="Take the first rows of DATA only."
)
@device_option
@precision_option
@batch_size_option
@threads_option
@click.option(
    "--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Timed calls after each part's first."
)
@click.option("--json", "output", type=_file(), help="Write all figures to this file as well.")
@force_option
def bench(**settings: Any) -> None:
    """Time what scoring DATA takes, part by part and together.

    DATA is a CSV. The parts are reading it, loading the model, copying faces to a GPU, running the model and writing;
    `together` is `score`, which does all of them. Prints, for each, its first call and the median and spread of those
    after it; the model alone also at batches of 1, 8, 32, 128 and 512 faces. MB are of text for decode, write and
    together, of pixels for copy and run, and of the file for load.
    """
    from rich.console import Console

    from fer_infer.diagnostics.bench import bench as run

    done = run(**settings)
    console = Console()
    console.width = max(console.width, 100)  # a narrower table would lose figures
    console.print(done.to_table())
    click.echo(_provider(done.provider, done.provider_note, done.precision))
    if settings["output"] is not None:
        click.echo(f"{settings['output']}: all figures")


@main.command()
@click.option("--model", type=_file(), help=f"{MODEL_HELP} It is loaded and checked; else a built-in graph is.")
def doctor(model: Path | None) -> None:
    """Say what runs here, on which provider, and why not on CUDA.

    Lists versions, the NVIDIA driver, the CUDA and cuDNN libraries that were found or are missing, and the provider
    that a real session got. The exit code is 1 where something is broken; that CUDA is missing breaks nothing.
    """
    from fer_infer.diagnostics.doctor import diagnose

    found = diagnose(model)
    click.echo(found.to_text())
    if found.problems:
        raise FerError("; ".join(f"{finding.subject}: {finding.text}" for finding in found.problems))

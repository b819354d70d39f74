"""The program `fer-infer`: each command parses, calls one function of this package and says where the results are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core import FerError
from fer_core.program import Program

# Whatever takes long to import is imported inside the commands, so that --help answers at once.

MODEL_HELP = "An exports folder, or an ONNX file of one."
DEVICE_HELP = "auto takes CUDA where the session gets it and says why not; cuda fails where it does not."
THREADS_HELP = "CPU threads within one operation.  [default: one a physical core]"

device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help=DEVICE_HELP
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Faces scored at once. It changes speed and memory, not the results.",
)
threads_option = click.option("--threads", type=click.IntRange(min=1), metavar="N", help=THREADS_HELP)
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")


def _file(**options: Any) -> click.Path:
    return click.Path(path_type=Path, **options)


@click.group(name="fer-infer", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-infer")
def main() -> None:
    """Score and evaluate exported models with ONNX Runtime; torch is never needed."""


@main.command()
@click.argument("data")
@click.option("--model", type=_file(), required=True, help=MODEL_HELP)
@click.option("--output", type=_file(), required=True, help="The CSV to write, whole or not at all.")
@click.option(
    "--columns",
    type=click.Choice(["id-label", "probabilities", "logits"]),
    default="id-label",
    show_default=True,
    help="id-label writes `id,label` alone; the others add one column a class.",
)
@device_option
@batch_size_option
@threads_option
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At a wrong row, stop and leave no output, or list it in OUTPUT.rejects.csv and go on.",
)
@force_option
def score(**settings: Any) -> None:
    """Predict the expression of every face in DATA.

    DATA is a CSV with a column `pixels` or `feature` (plain, gzip or zstandard), `-` for such a CSV on standard
    input, or a folder of images SPLIT/LABEL/*.png. Ids are those of the column `id`, else rows counted from 0.
    """
    from fer_infer.pipeline import score as run

    done = run(**settings)
    click.echo(f"{done.output}: {done.rows:,} rows in {done.elapsed_s:.2f} s, {done.faces_per_s:,.0f} faces/s")
    if done.rejects is not None:
        click.echo(f"{done.rejects}: rows left out: {done.rejected:,}")
    click.echo("predicted: " + ", ".join(f"{name} {count:,}" for name, count in done.label_counts.items()))
    click.echo(_provider(done.provider, done.provider_note))


def _provider(provider: str, note: str) -> str:
    return f"ran on {provider}" + (f" (not CUDA: {note})" if note else "")


@main.command()
@click.argument("data")
@click.option("--model", type=_file(), required=True, help=MODEL_HELP)
@click.option("--output", type=_file(), required=True, help="The folder to make, whole or not at all.")
@click.option("--usage", metavar="SPLIT", help="Evaluate this split alone, such as PublicTest.  [default: all rows]")
@device_option
@batch_size_option
@threads_option
@force_option
def evaluate(**settings: Any) -> None:
    """Compare a model's predictions with the labels in DATA.

    Writes metrics.json, per_class.csv, confusion.csv and confusion.png into the folder OUTPUT. DATA is as for
    `score`, with labels: a column `emotion` or `label`, or label folders.
    """
    from fer_infer.evaluation import evaluate as run

    click.echo(run(**settings).to_text())
    click.echo(f"{settings['output']}: metrics.json, per_class.csv, confusion.csv, confusion.png")


@main.command()
@click.option("--model", type=_file(), help=f"{MODEL_HELP} It is loaded and checked; else a built-in graph is.")
def doctor(model: Path | None) -> None:
    """Say what runs here, on which provider, and why not on CUDA.

    Lists versions, the NVIDIA driver, the CUDA and cuDNN libraries that were found or are missing, and the provider
    that a real session got. The exit code is 1 where something is broken; that CUDA is missing breaks nothing.
    """
    from fer_infer.doctor import diagnose

    found = diagnose(model)
    click.echo(found.to_text())
    if found.problems:
        raise FerError("; ".join(f"{finding.subject}: {finding.text}" for finding in found.problems))

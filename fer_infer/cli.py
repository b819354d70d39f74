"""The program `fer-infer`: each command parses its options, calls one function and prints where the results are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fer_core import FerError
from fer_core.extras import needed_from
from fer_core.io.crop import ALIGNED
from fer_core.settings import Setting
from fer_core.terminal.options import (
    columns_option,
    data_argument,
    force_option,
    given,
    model_option,
    output_option,
    range_option,
    settings_options,
    split_option,
)
from fer_core.terminal.program import Program
from fer_infer.config import (
    BenchmarkConfig,
    CropConfig,
    EvaluationConfig,
    ExplainConfig,
    FilmConfig,
    InferenceConfig,
    PhotoConfig,
    ScoreConfig,
    SiteConfig,
)

# Heavy imports are inside the commands, so that --help is fast.


@click.group(name="fer-infer", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-infer")
def main() -> None:
    """Score and evaluate exported models with ONNX Runtime; PyTorch is not needed."""


@main.command()
@click.argument("data", nargs=-1, required=True)
@model_option
@click.option(
    "--output",
    type=click.Path(),
    required=True,
    help="File to write: .csv, .csv.gz, .csv.zst or .parquet. With --engine ray, a folder.",
)
@settings_options(ScoreConfig, only=("faces",))
@split_option
@settings_options(ScoreConfig, only=("columns", "names", "tta"))
@columns_option
@settings_options(PhotoConfig, without=("faces",))
@settings_options(FilmConfig)
@settings_options(ExplainConfig, only=("explain", "method", "target"))
@settings_options(ExplainConfig, without=("explain", "method", "target"))
@settings_options(InferenceConfig, without=("tta", "split"))
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray scores many files on a cluster, in fp32 unless --precision is given, and writes one part per file into "
    "the folder OUTPUT; rerun the command to resume.",
)
@range_option(
    "--workers",
    "workers",
    int,
    Setting("Number of workers for --engine ray, each with a GPU or --threads CPUs.", at_least=1, metavar="N"),
    shown_default="as many as fit",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Address of the cluster for --engine ray.  [default: RAY_ADDRESS, else a cluster on this machine]",
)
@force_option
def score(data: tuple[str, ...], engine: str, workers: int | None, ray_address: str | None, **settings: Any) -> None:
    """Predict the expression of every face in DATA.

    DATA is a CSV with a column `pixels` or `feature` (plain or compressed), `-` for a CSV on standard input, a Parquet
    file, an image, or a folder of images. Ids are those in the column `id`, the names of images, or row positions from
    0. With --on-error skip, rejects.csv is named OUTPUT.rejects.csv. With --engine ray, DATA are files, folders,
    patterns and URIs.

    With --faces detect, DATA are photos, folders of photos at any depth, patterns, or `-` for one photo. OUTPUT has
    one row per face, with its box, and one row with a `reason` for each photo without a face; the defaults are then
    --columns probabilities and --on-error skip, and --limit counts photos. A film is scored frame by frame; its faces
    are followed, and their probabilities smoothed.

    With --explain, the same pass also writes an attribution map of each face; `fer-explain` has more methods, and tests
    them.

    \b
    Examples:
      fer-infer score test.csv --model exports/best --output predictions.csv
      fer-infer score test.csv --model exports/best --output predictions.csv --explain maps.npz
      fer-infer score photos --faces detect --model exports/best --output faces.csv
      fer-infer score film.mp4 --faces detect --model exports/best --output film.csv --overlay seen.mp4
    """
    if engine == "ray":
        with needed_from("ray"):
            from fer_infer.cluster.engine import score_files
        click.echo(score_files(data, workers=workers, ray_address=ray_address, **given(settings)).to_text())
        return
    if workers is not None or ray_address is not None:
        raise click.UsageError("--workers and --ray-address require --engine ray")
    if len(data) != 1 and settings["faces"] in (None, ALIGNED):
        several = "--engine ray and photos (--faces detect) may be several"
        raise click.UsageError(f"expected one DATA, found {len(data)}; {several}")
    from fer_infer.scoring.pipeline import score as run

    click.echo(run(data, **given(settings)).to_text())


@main.command()
@click.argument("photos", nargs=-1, required=True)
@output_option("Folder of PNG images to create, or a table: .csv, .csv.gz, .csv.zst or .parquet.")
@settings_options(CropConfig)
@force_option
def crop(photos: tuple[str, ...], output: Path, force: bool, **settings: Any) -> None:
    """Cut the faces from PHOTOS and write them as a data set of 48x48 faces.

    PHOTOS are photos, folders of photos at any depth, patterns, or `-` for one photo. A folder of label folders, such
    as happy and sad, gives labeled faces, one per photo; from other photos, every face is taken. OUTPUT.boxes.csv lists
    the box of each face, and the photos without a face.

    \b
    Example:
      fer-infer crop photos --output faces.csv
    """
    from fer_infer.scoring.crop import crop as run

    click.echo(run(photos, output, force=force, **given(settings)).to_text())


@main.command()
@data_argument
@model_option
@output_option("Folder to create; it appears complete or not at all.")
@split_option
@click.option(
    "--training",
    metavar="DATA",
    help="Training set to check for duplicates of evaluated faces.  [default: the Training rows of DATA, if any]",
)
@settings_options(EvaluationConfig, only=("tta",))
@columns_option
@settings_options(EvaluationConfig, without=("tta", "split"))
@force_option
def evaluate(**settings: Any) -> None:
    """Evaluate a model on the labeled faces in DATA.

    Reports accuracy and recalls with 95% confidence intervals, the accuracy on the faces that do not occur in Training,
    calibration, the most confused classes and, with --tta, the accuracy without augmentation. Writes metrics.json,
    per_class.csv, confusion.csv, confusion.png and reliability.png into the folder OUTPUT. DATA is as for `score`, with
    labels in a column `emotion` or `label`, or as folder names.

    \b
    Example:
      fer-infer evaluate fer2013.csv --split PublicTest --model exports/best --output evaluation
    """
    from fer_core.outputs.rejects import REJECTS_FILE
    from fer_infer.evaluation.evaluate import FILES
    from fer_infer.evaluation.evaluate import evaluate as run
    from fer_infer.runtime.session import provider_text

    done = run(**given(settings))
    click.echo(done.to_text())
    click.echo(provider_text(done.provider, done.provider_note, done.precision))
    files = (*FILES, REJECTS_FILE) if done.rows_left_out else FILES
    click.echo(f"{settings['output']}: {', '.join(files)}")


@main.command()
@data_argument
@model_option
@settings_options(BenchmarkConfig)
@click.option("--json", "output", type=click.Path(path_type=Path), help="JSON file to write all timings to.")
@force_option
def bench(data: Path, model: Path, output: Path | None, force: bool, **settings: Any) -> None:
    """Benchmark scoring of DATA, stage by stage and end to end.

    DATA is a CSV. The stages are `decode` (read the CSV), `load` (the model), `copy` (faces to a GPU), `run` (the
    model) and `write` (predictions); `together` is the whole command `score`. Prints the time of the first call and
    the median and range of the others; `run` is also measured with batches of 1, 8, 32, 128 and 512 faces. MB are
    megabytes of text for decode, write and together, of pixels for copy and run, and of the graph for load.

    \b
    Example:
      fer-infer bench test.csv --model exports/best --limit 2000
    """
    from rich.console import Console

    from fer_infer.diagnostics.bench import bench as run
    from fer_infer.runtime.session import provider_text

    config = BenchmarkConfig(**given(settings))
    done = run(data, model, output=output, force=force, **asdict(config))
    console = Console()
    console.width = max(console.width, 100)  # a narrower table would lose digits
    console.print(done.to_table())
    click.echo(provider_text(done.provider, done.provider_note, done.precision))
    if output is not None:
        click.echo(f"{output}: all timings")


@main.command()
@click.option("--model", type=click.Path(path_type=Path), required=True, help="Exports folder.")
@output_option("Folder to create; it appears complete or not at all.")
@settings_options(SiteConfig)
@force_option
def web(model: Path, output: Path, force: bool, **settings: Any) -> None:
    """Write a page that finds, scores and explains faces in the visitor's browser.

    The folder OUTPUT is a static site, which any web server can serve from any path. It runs the model in ONNX Runtime
    Web on the visitor's device, sends nothing anywhere, and works offline once it is loaded. Finding faces needs the
    extra `photos`, and the first call needs npm, unless --runtime is given.

    \b
    Example:
      fer-infer web --model exports/compact --output site
    """
    from fer_infer.web.site import write_site

    click.echo(write_site(model, output, force=force, **given(settings)).to_text())


@main.command()
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Exports folder or ONNX file to load and check.  [default: a built-in graph]",
)
def doctor(model: Path | None) -> None:
    """Report the available execution providers and why CUDA is unavailable.

    Lists versions, the NVIDIA driver, the CUDA and cuDNN libraries, and the provider that a session uses. The exit code
    is 1 if something is broken; missing CUDA is not an error.

    \b
    Example:
      fer-infer doctor --model exports/best
    """
    from fer_infer.diagnostics.doctor import diagnose

    found = diagnose(model)
    click.echo(found.to_text())
    if found.problems:
        raise FerError("; ".join(f"{finding.subject}: {finding.text}" for finding in found.problems))

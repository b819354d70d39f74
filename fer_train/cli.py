"""The program `fer-train`: each command parses, calls one function of the library, and prints the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_core.settings import Setting
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
    seed_option,
    settings_options,
    split_option,
)
from fer_core.terminal.program import Program
from fer_infer.config import EvaluationConfig
from fer_train.cli_options import config_of, distillation_options, saved_config, training_options
from fer_train.exporting.config import ExportConfig

if TYPE_CHECKING:
    from fer_core import ModelCard


@click.group(name="fer-train", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-train")
def main() -> None:
    """Train classifiers of facial expressions, evaluate them and export them to ONNX."""


@main.command()
@click.argument("output", type=click.Path(path_type=Path))
@range_option("--faces", "faces", int, Setting("Number of faces.", at_least=10, metavar="N"), default=5000)
@seed_option
@force_option
def synthesize(output: Path, faces: int, seed: int, force: bool) -> None:
    """Draw synthetic faces into the CSV file OUTPUT, in the layout of fer2013.csv.

    80% of the rows are Training, 10% PublicTest and 10% PrivateTest.

    \b
    Example:
      fer-train synthesize faces.csv --faces 5000
    """
    from fer_core.io.csv.writer import write_csv
    from fer_core.synthetic.data_set import synthesize

    write_csv(synthesize(faces, seed), output, force=force)
    click.echo(f"{output}: {faces:,} drawn faces")


@main.command()
@data_argument
@click.option("--output", type=click.Path(path_type=Path), help="Folder for findings.csv, audit.json and pictures.")
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    show_default=True,
    help="Compare all pairs of faces; the time grows with the square of their number.",
)
@limit_option
@faces_option
@columns_option
@on_error_option
@force_option
def audit(data: Path, output: Path | None, **settings: Any) -> None:
    """Find duplicates, conflicting labels, leaks across splits and blank faces in DATA.

    Near duplicates show the same picture, but shifted, mirrored, compressed or with other brightness or contrast.
    OUTPUT contains a table and contact sheets of the findings.

    \b
    Example:
      fer-train audit fer2013.csv --output audit
    """
    from fer_core.outputs.rejects import rejects_text
    from fer_train.audit.audit import audit

    found = audit(data, output, **settings)
    rejects = [rejects_text(found.faces.rejected, output)] if found.faces.rejected else []
    click.echo("\n".join([found.to_text(), *rejects]))
    if output is not None:
        click.echo(f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


@main.command()
@click.argument("name", required=False)
def architectures(name: str | None) -> None:
    """List the architectures, or describe the architecture NAME.

    The description has the arguments with their defaults, the default settings of training, and how well the network
    suits int8: the fraction of its multiply-adds in dense layers and ungrouped convolutions, which have full int8
    kernels, and the fraction of its activations that a convolution writes fused with BatchNorm and ReLU.

    \b
    Example:
      fer-train architectures compact
    """
    from fer_train.models.description import architecture_table, architecture_text

    if name is not None:
        click.echo(architecture_text(name))
        return
    from rich.console import Console

    console = Console()
    console.width = max(console.width, 100)  # a narrower table would cut the figures
    console.print(architecture_table())


@main.command()
@training_options
def fit(**options: Any) -> None:
    """Train a network on the Training rows of DATA.

    The run folder OUTPUT is written after each epoch; the weights for export are the moving average after the last
    epoch. Each epoch is evaluated on the validation split: the PublicTest rows of DATA, else its validation rows, or
    faces chosen by --validation or --hold-out. PrivateTest rows are never used. After Ctrl-C, --resume continues the
    run. The defaults below are those of course-cnn and course-dnn; `fer-train architectures NAME` prints those of the
    other architectures.

    \b
    Example:
      fer-train fit fer2013.csv --architecture compact --output runs/compact
    """
    _train(options, "fit")


@main.command()
@training_options
@distillation_options
def distill(teachers: tuple[str, ...], temperature: float, weight: float, teacher_epochs: int, **options: Any) -> None:
    """Train a student network by knowledge distillation from one or more teachers.

    The teachers predict the same augmented faces as the student, which learns the mean of their probabilities in
    addition to the labels. With --teacher-epochs, the teachers run only in the first epochs, and later epochs repeat
    these faces. All other options are those of `fit`.

    \b
    Example:
      fer-train distill fer2013.csv --teachers exports/best --architecture compact --output runs/student
    """
    settings = {"temperature": temperature, "weight": weight, "teacher_epochs": teacher_epochs}
    distilled = given({"teachers": teachers or None, **settings})
    if not options["resume"] and not teachers:
        raise click.UsageError("expected --teachers, a run or an exports folder to learn from")
    _train({**options, "distill": distilled or None}, "distill")


def _train(options: dict[str, Any], command: str) -> None:
    from fer_core import ConfigError
    from fer_core.outputs.rejects import rejects_text
    from fer_train.training.fit import fit, load_splits_of
    from fer_train.training.seeds import fit_seeds, seed_folder

    data, output, seeds, resume = (options.pop(key) for key in ("data", "output", "seeds", "resume"))
    options = given({**options, "input_columns": options["input_columns"] or None})
    if seeds and ("seed" in options or output is None):
        raise click.UsageError("--seeds requires --output and replaces --seed")
    config = saved_config(output, seeds, options) if resume else config_of(options)
    actual = "fit" if config.distill is None else "distill"
    if command != actual:
        raise ConfigError(f"{output}: was not created by `{command}`; resume it with `fer-train {actual} --resume`")
    if seeds:
        splits = load_splits_of(data, config)

        def report(metrics: dict[str, Any]) -> None:
            _print_epoch({**metrics, "validation_split": splits.validation_name})

        summary = fit_seeds(splits, config, output, seeds, resume=resume, report=report)
        click.echo(summary.to_text())
        click.echo(f"{output}: summary.json, one run per seed")
        rows_left_out, folder = len(splits.rejected), seed_folder(output, seeds[0])
    else:
        run = fit(data, output, config=config, resume=resume, report=_print_epoch)
        _print_run(run.card)
        click.echo(f"{run.path}: ema.safetensors, metrics.csv, curves.png, confusion.png")
        rows_left_out, folder = run.rows_left_out, run.path
    if rows_left_out:
        click.echo(rejects_text(rows_left_out, folder))


def _print_epoch(metrics: dict[str, Any]) -> None:
    split = metrics["validation_split"]
    click.echo(
        f"epoch {metrics['epoch']:.0f}: training loss {metrics['train_loss']:.4f}, accuracy "
        f"{metrics['train_accuracy']:.2%}; {split} loss {metrics['validation_loss']:.4f}, accuracy "
        f"{metrics['validation_accuracy']:.2%}; {metrics['faces_per_s']:,.0f} faces/s"
    )


def _print_run(card: ModelCard) -> None:
    from fer_infer.evaluation.chance import chance_note

    score = card.scores[card.validation_split]
    low, high = score["wilson_95"]
    of = f"{score['accuracy']:.2%} of {score['n']:,} faces"
    click.echo(f"{card.validation_split} accuracy {of}, 95% interval {low:.2%} to {high:.2%}")
    if note := chance_note(card.scores):
        click.echo(note)


@main.command()
@data_argument
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@output_option("Run folder to write.")
@faces_option
@columns_option
@on_error_option
@force_option
def ensemble(data: Path, runs: tuple[Path, ...], output: Path, **settings: Any) -> None:
    """Combine two or more RUNs into one ensemble that averages their probabilities.

    The ensemble is evaluated on the validation faces of the RUNs, which DATA must contain. Like any run, it can be
    evaluated, exported, explained and used as a teacher.

    \b
    Example:
      fer-train ensemble fer2013.csv exports/best exports/compact --output runs/both
    """
    from fer_train.runs.ensembling import ensemble

    _print_run(ensemble(data, runs, output, **settings))
    click.echo(f"{output}: ema.safetensors, confusion.png")


@main.command()
@data_argument
@click.option("--model", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Run or exports folder.")
@output_option("Folder for figures and tables.")
@split_option
@settings_options(EvaluationConfig, only=("faces", "limit", "tta"))
@click.option(
    "--training",
    metavar="DATA",
    help="Training set to check for duplicates of evaluated faces.  [default: the Training rows of DATA, if any]",
)
@columns_option
@on_error_option
@force_option
def evaluate(data: Path, model: Path, output: Path, **settings: Any) -> None:
    """Evaluate a run or an exports folder on the labeled faces of DATA, in PyTorch.

    Prints and writes the same as `fer-infer evaluate`.

    \b
    Example:
      fer-train evaluate fer2013.csv --model exports/compact --split PublicTest --output evaluation
    """
    from fer_core.outputs.rejects import REJECTS_FILE
    from fer_infer.evaluation.evaluate import FILES
    from fer_train.evaluation import evaluate

    done = evaluate(data, model, output, **given(settings))
    click.echo(done.to_text())
    files = (*FILES, REJECTS_FILE) if done.rows_left_out else FILES
    click.echo(f"{output}: {', '.join(files)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@output_option("Exports folder to write.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Faces to check parity on.  [default: sample of validation faces in RUN]",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Faces to fit the temperature and to calibrate int8; required for --int8.",
)
@settings_options(ExportConfig)
@faces_option
@columns_option
@on_error_option
@force_option
def export(run: Path, output: Path, **settings: Any) -> None:
    """Export RUN to ONNX and verify that it reproduces the PyTorch model's outputs.

    RUN is a run or an exports folder. Before OUTPUT is written, ONNX Runtime and PyTorch must agree on real faces. The
    temperature, by which the graph divides its logits before the softmax, is fitted on the labeled validation rows of
    --calibration. An int8 graph is calibrated on the Training rows and selected on the validation rows. To add a graph
    to an exports folder, pass the folder as both RUN and --output, with --force.

    \b
    Example:
      fer-train export runs/compact --output exports/mine --int8 --calibration fer2013.csv
    """
    from fer_core import ModelCard
    from fer_core.exports_folder import ExportsFolder
    from fer_train.exporting.export import export

    parity, folder = export(run, output, **given(settings)), ExportsFolder(output)
    click.echo(f"{ModelCard.load_json(folder.card).temperature_text()}\n{parity.to_text()}")
    click.echo(f"{output}: {', '.join(parity.graph_sha256)}, weights.safetensors, card.json, parity.json")

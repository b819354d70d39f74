"""The program `fer-train`: each command parses, calls one function of the library, and says where its results are."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_core.terminal.options import columns_option, given, on_error_option, setting_option
from fer_core.terminal.program import Program
from fer_infer.config import EvaluationConfig
from fer_train.cli_options import DATA, config_of, recipe_options

if TYPE_CHECKING:
    from fer_core import ModelCard
    from fer_train.data.splits import Splits

SKIP = click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="At a row that cannot be read, stop, or leave it out.",
)
FORCE = click.option("--force", is_flag=True, help="Replace an existing output.")


@click.group(name="fer-train", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-train")
def main() -> None:
    """Train classifiers of facial expressions, evaluate them and export them to ONNX."""


@main.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--rows", default=5000, show_default=True, type=click.IntRange(min=10), help="Faces to draw.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the drawing.")
@FORCE
def synthesize(output: Path, rows: int, seed: int, force: bool) -> None:
    """Draw faces into the CSV file OUTPUT, in the layout of fer2013.csv.

    80 % of the rows are Training, 10 % PublicTest, 10 % PrivateTest.
    """
    from fer_core.io.csv.writer import write_csv
    from fer_train.data.splits import synthesize

    write_csv(synthesize(rows, seed), output, force=force)
    click.echo(f"{output}: {rows:,} drawn faces")


@main.command()
@DATA
@click.option("--output", type=click.Path(path_type=Path), help="Folder to make: findings.csv, audit.json, pictures.")
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    show_default=True,
    help="Compare all pairs of faces, in time that grows with their square.",
)
@columns_option
@on_error_option
@FORCE
def audit(data: Path, output: Path | None, **settings: Any) -> None:
    """Look for duplicates, conflicting labels, leaks across splits and blank faces in DATA.

    A near duplicate is the same picture in other pixels: shifted, lit, compressed or mirrored. The pictures in OUTPUT
    are contact sheets that show what was found.
    """
    from fer_core.io.rejects import rejects_text
    from fer_train.audit.audit import audit

    found = audit(data, output, **settings)
    click.echo(found.to_text())
    if found.faces.rejected:
        click.echo(rejects_text(found.faces.rejected, output))
    if output is not None:
        click.echo(f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}")


@main.command()
def models() -> None:
    """List the architectures: parameters, multiply-adds a face, and how well they are made for int8.

    Full int8 kernels are those of convolutions that mix all channels, and of dense layers. Values are fused where a
    convolution writes them together with BatchNorm and ReLU; each shortcut, attention or pool goes through memory once
    more.
    """
    from fer_train.models import ARCHITECTURES, as_json, build_model, count_parameters
    from fer_train.models.int8_suitability import int8_friendliness

    click.echo(f"{'name':12} {'parameters':>12} {'multiply-adds':>14}  architecture")
    for name, architecture in ARCHITECTURES.items():
        model = build_model(name, mean=0.0, std=1.0)
        int8 = int8_friendliness(model)
        click.echo(f"{name:12} {count_parameters(model):12,} {int8.multiply_adds:14,}  {architecture.summary}")
        click.echo(f"{'':42}{int8.to_text()}")
        click.echo(f"{'':42}--model-argument {as_json(architecture.arguments())}")


@main.command()
@recipe_options
def fit(**options: Any) -> None:
    """Train a network on the Training rows of DATA.

    The run folder OUTPUT is written after each epoch; the weights kept are the last moving average. After each epoch
    the validation split is scored: the PublicTest rows of DATA, else its validation rows, else those that --validation
    or --hold-out choose. PrivateTest rows are never used. Ctrl-C leaves a run that --resume goes on with. Each
    architecture has a recipe of its own; the defaults shown are those of the course networks.
    """
    _train(options, taught=False)


@main.command()
@recipe_options
@click.option("--teachers", multiple=True, metavar="RUN", help="A run or an exports folder; may be repeated.")
@click.option("--temperature", type=float, help="That softens what is taught.  [default: 2]")
@click.option("--weight", type=float, help="Share of the loss that is the teachers'.  [default: 0.7]")
@click.option("--views", type=int, help="Epochs that teachers judge, and later ones repeat.  [default: all]")
def distill(
    teachers: tuple[str, ...], temperature: float | None, weight: float | None, views: int | None, **options: Any
) -> None:
    """Train a network on the Training rows of DATA and on what its teachers say of them.

    The teachers see the same augmented faces as the student; it learns the mean of their probabilities beside the
    labels. With --views they judge the faces of the first epochs alone, and later epochs show these again: faster by
    the teachers' share of the time. All else is as for `fit`.
    """
    asked = {"teachers": teachers, "temperature": temperature, "weight": weight, "views": views}
    distilled = {key: value for key, value in asked.items() if value not in (None, ())}
    if not options["resume"] and not teachers:
        raise click.UsageError("expected --teachers: a run or an exports folder to learn from")
    _train({**options, "distill": distilled}, taught=True)


def _train(options: dict[str, Any], *, taught: bool) -> None:
    from fer_core import ConfigError
    from fer_train.data.splits import load_splits
    from fer_train.runs.provenance import trained_on_other_faces, training_record
    from fer_train.training.hardware import precision_note
    from fer_train.training.seeds import fit_seeds
    from fer_train.training.trainer import fit

    data, output, validation, resume = (options.pop(key) for key in ("data", "output", "validation", "resume"))
    reading = {"on_error": options.pop("on_error"), "columns": options.pop("input_columns")}
    seeds = options.pop("seeds")
    given = {key: value for key, value in options.items() if value not in (None, {})}
    if seeds and "seed" in given:
        raise click.UsageError("--seeds takes the place of --seed; leave out one of them")
    config = config_of(output, resume, given, seeds)
    if taught != (config.distill is not None):
        program, other = ("fit", "distill") if taught else ("distill", "fit")
        raise ConfigError(f"{output}: is no run of `{other}`; `fer-train {program} --resume` goes on with it")
    if note := precision_note(config.device, config.precision):
        click.echo(f"fer-train: {note}", err=True)
    splits = load_splits(
        data,
        validation,
        drop_conflicts=config.drop_conflicts,
        drop_leaks=config.drop_leaks,
        hold_out=config.hold_out,
        hold_out_seed=config.hold_out_seed,
        **reading,
    )
    report = partial(_print_epoch, splits.validation_name)
    for note in trained_on_other_faces(training_record(splits, config)):
        click.echo(f"fer-train: {note}", err=True)
    if seeds:
        summary = fit_seeds(splits, config, output, seeds, resume=resume, report=report)
        click.echo(summary.to_text())
        click.echo(f"{output}: summary.json, a run a seed")
        _report_rejects(splits, output)
        return
    card = fit(splits, config, output, resume=resume, report=report)
    _print_run(card)
    click.echo(f"{output}: ema.safetensors, metrics.csv, curves.png, confusion.png")
    _report_rejects(splits, output)


def _report_rejects(splits: Splits, output: Path) -> None:
    from fer_core.io.rejects import rejects_text, save_rejects
    from fer_train.training.distributed import is_first

    if splits.rejected and is_first():
        save_rejects(output, splits.rejected)
        click.echo(rejects_text(splits.rejected, output))


def _print_run(card: ModelCard) -> None:
    from fer_infer.evaluation.chance import chance_note

    score = card.scores[card.validation_split]
    low, high = score["wilson_95"]
    of = f"{score['accuracy']:.2%} of {score['n']:,} faces"
    click.echo(f"{card.validation_split} accuracy {of}, 95% interval {low:.2%} to {high:.2%}")
    if note := chance_note(card.scores):
        click.echo(note)


@main.command()
@DATA
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@columns_option
@SKIP
@FORCE
def ensemble(data: Path, runs: tuple[Path, ...], output: Path, **settings: Any) -> None:
    """Make of two or more RUNs one network that gives the mean of their probabilities.

    It is evaluated on the faces in DATA that the RUNs were validated on, and exported, scored, explained and taught
    from like any other.
    """
    from fer_train.runs.ensembling import ensemble

    _print_run(ensemble(data, runs, output, **settings))
    click.echo(f"{output}: ema.safetensors, confusion.png")


def _print_epoch(validation: str, metrics: dict[str, Any]) -> None:
    click.echo(
        f"epoch {metrics['epoch']:.0f}: training loss {metrics['train_loss']:.4f}, accuracy "
        f"{metrics['train_accuracy']:.2%}; {validation} loss {metrics['validation_loss']:.4f}, accuracy "
        f"{metrics['validation_accuracy']:.2%}; {metrics['faces_per_s']:,.0f} faces/s"
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@DATA
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--split", "--usage", metavar="SPLIT", help="Use only this split, e.g. PublicTest.  [default: all rows]")
@click.option("--training", metavar="DATA", help="The Training faces.  [default: Training rows of DATA, if any]")
@columns_option
@on_error_option
@setting_option(EvaluationConfig, "tta")
@FORCE
def evaluate(run: Path, data: Path, output: Path, **settings: Any) -> None:
    """Evaluate RUN, a run or an exports folder, on the labelled faces of DATA, in PyTorch.

    Figures and files are those of `fer-infer evaluate`.
    """
    from fer_core.io.rejects import REJECTS_FILE
    from fer_infer.evaluation.evaluate import FILES
    from fer_train.evaluation import evaluate

    done = evaluate(run, data, output, **given(settings))
    click.echo(done.to_text())
    files = (*FILES, REJECTS_FILE) if done.rows_left_out else FILES
    click.echo(f"{output}: {', '.join(files)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Exports folder to make.")
@click.option("--data", type=click.Path(path_type=Path), help="Faces to check parity on, if not the run's own sample.")
@click.option("--atol", default=1e-4, show_default=True, help="Largest difference of a logit that passes.")
@click.option("--int8", is_flag=True, help="Make model.int8.onnx too, for CPUs.")
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="Fits the temperature; calibrates and chooses int8."
)
@click.option("--int8-tolerance", default=0.3, show_default=True, help="Points of accuracy that int8 may lose.")
@click.option("--fp16", is_flag=True, help="Make model.fp16.onnx too, for GPUs.")
@columns_option
@SKIP
@FORCE
def export(run: Path, output: Path, **settings: Any) -> None:
    """Export RUN, a run or an exports folder, to ONNX, proven to compute the same.

    The graph is compared with the PyTorch original on real faces by the production scorer; only then is OUTPUT written.
    The labelled validation rows of --calibration fit the temperature by which the graph divides its logits before the
    softmax, so that it is as sure as it is right. An int8 graph is calibrated on its Training rows and chosen by its
    validation rows. To add to an exports folder, export the folder onto itself with --force.
    """
    from fer_core import ModelCard
    from fer_core.exports_folder import CARD_FILE
    from fer_train.exporting.export import export

    parity = export(run, output, **settings)
    click.echo(ModelCard.load_json(output / CARD_FILE).temperature_text())
    click.echo(
        f"parity on {parity.n:,} faces, {', '.join(parity.providers)}: max |d logit| "
        f"{parity.max_absolute_difference:.1e}, {parity.changed_predictions} predictions changed"
    )
    files = ["model.onnx"]
    if parity.int8 is not None:
        click.echo(f"int8 on {parity.int8.chosen.agreement.n:,} faces: {parity.int8.chosen.agreement.to_text()}")
        files.append("model.int8.onnx")
    if parity.fp16 is not None:
        click.echo(f"fp16 on {parity.fp16.n:,} faces: {parity.fp16.to_text()}")
        files.append("model.fp16.onnx")
    click.echo(f"{output}: {', '.join(files)}, weights.safetensors, card.json, parity.json")

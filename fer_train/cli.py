"""The program `fer-train`: each command parses, calls one function of the library, and says where its results are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_core.program import Program
from fer_infer.cli import tta_option
from fer_train.config import OPTIMIZERS

if TYPE_CHECKING:
    from fer_core import ModelCard
    from fer_train.config import FitConfig

DATA = click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
AUGMENT_OPTIONS = ("alternating_flip", "rotation_degrees", "shift", "zoom", "erasing", "mixup")
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
    from fer_core.csv_writer import write_csv
    from fer_train.data import synthesize

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
@FORCE
def audit(data: Path, output: Path | None, near_duplicates: bool, force: bool) -> None:
    """Look for duplicates, conflicting labels, leaks across splits and blank faces in DATA.

    A near duplicate is the same picture in other pixels: shifted, lit, compressed or mirrored. The pictures in OUTPUT
    are contact sheets that show what was found.
    """
    from fer_train.audit import audit

    click.echo(audit(data, output, near_duplicates=near_duplicates, force=force).to_text())
    if output is not None:
        click.echo(f"{output}: findings.csv, audit.json, contact sheets")


@main.command()
def models() -> None:
    """List the architectures: parameters, multiply-adds a face, and how well they are made for int8.

    Full int8 kernels are those of convolutions that mix all channels, and of dense layers. Values are fused where a
    convolution writes them together with BatchNorm and ReLU; each shortcut, attention or pool goes through memory once
    more.
    """
    from fer_train.models import ARCHITECTURES, as_json, build_model, count_parameters
    from fer_train.models.int8 import int8_friendliness

    click.echo(f"{'name':12} {'parameters':>12} {'multiply-adds':>14}  architecture")
    for name, architecture in ARCHITECTURES.items():
        model = build_model(name, mean=0.0, std=1.0)
        int8 = int8_friendliness(model)
        click.echo(f"{name:12} {count_parameters(model):12,} {int8.multiply_adds:14,}  {architecture.summary}")
        click.echo(f"{'':42}{int8.to_text()}")
        click.echo(f"{'':42}--model-argument {as_json(architecture.arguments())}")


def _key_value(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    table = {}
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            table[key] = json.loads(value)
        except json.JSONDecodeError:
            equals = ""
        if not equals:
            raise click.BadParameter(f"expected KEY=JSON, such as batch_norm=true, found {text!r}")
    return table


def _seeds(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words) or len({int(word) for word in words}) < len(words):
        raise click.BadParameter(f"expected distinct numbers, such as 0,1,2, found {text!r}")
    return tuple(int(word) for word in words)


def _by_optimizer(name: str) -> str:
    """Return the defaults of a setting: that of the default optimizer, and those of the others."""
    defaults = {optimizer: f"{values[name]:g}" for optimizer, values in OPTIMIZERS.items()}
    own = defaults.pop("adam")
    return f"[default: {own}; {', '.join(f'{optimizer} {value}' for optimizer, value in defaults.items())}]"


def _recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that trains its argument and options, in the order in which its help lists them."""
    options = [
        DATA,
        click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder to make."),
        click.option(
            "--validation", type=click.Path(path_type=Path), help="Faces to validate on, if not DATA's PublicTest."
        ),
        click.option("--model", help="Architecture; `fer-train models` lists them.  [default: course-cnn]"),
        click.option(
            "--model-argument",
            "model_arguments",
            multiple=True,
            callback=_key_value,
            metavar="KEY=JSON",
            help="Of the architecture, such as batch_norm=true or widths=[16,32,64]; may be repeated.",
        ),
        click.option("--initial", metavar="RUN", help="Begin with the weights of a run or an exports folder."),
        click.option("--dirac", is_flag=True, default=None, help="Begin with convolutions that pass their inputs on."),
        click.option(
            "--whitening", is_flag=True, default=None, help="Begin with a first convolution that decorrelates pixels."
        ),
        click.option(
            "--drop-conflicts", is_flag=True, default=None, help="Leave out equal Training faces whose labels differ."
        ),
        click.option(
            "--drop-leaks", is_flag=True, default=None, help="Leave out Training faces that also stand in PublicTest."
        ),
        click.option("--epochs", type=int, help="Passes over the Training rows.  [default: 100]"),
        click.option("--batch-size", type=int, help="Faces a step.  [default: 128]"),
        click.option("--lr", type=float, help=f"Peak learning rate.  {_by_optimizer('lr')}"),
        click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="[default: adam]"),
        click.option(
            "--weight-decay",
            type=float,
            help=f"Of weights, never of biases.  {_by_optimizer('weight_decay')}",
        ),
        click.option("--norm-bias-rate", type=float, help="Times the rate, for biases of BatchNorm.  [default: 1]"),
        click.option("--schedule", type=click.Choice(["constant", "cosine", "one-cycle"]), help="[default: constant]"),
        click.option("--lr-warmup-epochs", type=float, help="Linear warm-up before constant or cosine.  [default: 0]"),
        click.option("--label-smoothing", type=float, help="Of the target.  [default: 0]"),
        click.option("--ema", "ema_decay", type=float, help="Decay of the weight average.  [default: 0.999]"),
        click.option("--augment/--no-augment", "augment", default=None, help="[default: augment]"),
        click.option(
            "--alternating-flip", is_flag=True, default=None, help="Mirror each image in every other epoch, undrawn."
        ),
        click.option("--rotation", "rotation_degrees", type=float, help="Largest turn, in degrees.  [default: 10]"),
        click.option("--shift", type=float, help="Largest shift, as a share of the side.  [default: 0.1]"),
        click.option("--zoom", type=float, help="Largest change of the scale, as a share.  [default: 0.1]"),
        click.option("--erasing", type=float, help="Share of images with an erased rectangle.  [default: 0]"),
        click.option("--mixup", type=float, help="Largest share of another image mixed in.  [default: 0]"),
        click.option("--mild-epochs", type=int, help="Last epochs, with half the augmentation.  [default: 0]"),
        click.option("--seed", type=int, help="Of weights, order, augmentation and dropout.  [default: 0]"),
        click.option(
            "--seeds", callback=_seeds, metavar="N,N...", help="One run a seed, in OUTPUT/seed-N, and their summary."
        ),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]"),
        click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="[default: auto]"),
        click.option("--compile", is_flag=True, default=None, help="Train by torch.compile; does not pay on CPUs."),
        click.option("--resume", is_flag=True, help="Go on with the run in OUTPUT, by its own settings."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@_recipe
def fit(**options: Any) -> None:
    """Train a network on the Training rows of DATA.

    The run folder OUTPUT is written after each epoch; the weights kept are the last moving average. PublicTest rows are
    scored after each epoch, PrivateTest rows are never used. Ctrl-C leaves a run that --resume goes on with. Each
    architecture has a recipe of its own; the defaults shown are those of the course networks.
    """
    _train(options)


@main.command()
@_recipe
@click.option("--teachers", multiple=True, metavar="RUN", help="A run or an exports folder; may be repeated.")
@click.option("--temperature", type=float, help="That softens what is taught.  [default: 2]")
@click.option("--weight", type=float, help="Share of the loss that is the teachers'.  [default: 0.7]")
def distill(teachers: tuple[str, ...], temperature: float | None, weight: float | None, **options: Any) -> None:
    """Train a network on the Training rows of DATA and on what its teachers say of them.

    The teachers see the same augmented faces as the student; it learns the mean of their probabilities beside the
    labels. All else is as for `fit`.
    """
    asked = {"teachers": teachers, "temperature": temperature, "weight": weight}
    distilled = {key: value for key, value in asked.items() if value not in (None, ())}
    if not options["resume"] and not teachers:
        raise click.UsageError("expected --teachers: a run or an exports folder to learn from")
    _train({**options, "distill": distilled})


def _train(options: dict[str, Any]) -> None:
    from fer_train.data import load_splits
    from fer_train.seeds import fit_seeds
    from fer_train.trainer import fit, precision_note

    data, output, validation, resume = (options.pop(key) for key in ("data", "output", "validation", "resume"))
    seeds = options.pop("seeds")
    given = {key: value for key, value in options.items() if value not in (None, {})}
    if seeds and "seed" in given:
        raise click.UsageError("--seeds takes the place of --seed; leave out one of them")
    config = _fit_config(output, resume, given, seeds)
    if note := precision_note(config):
        click.echo(f"fer-train: {note}", err=True)
    splits = load_splits(data, validation, drop_conflicts=config.drop_conflicts, drop_leaks=config.drop_leaks)
    if seeds:
        summary = fit_seeds(splits, config, output, seeds, resume=resume, report=_print_epoch)
        click.echo(summary.to_text())
        click.echo(f"{output}: summary.json, a run a seed")
        return
    card = fit(splits, config, output, resume=resume, report=_print_epoch)
    _print_run(output, card)
    click.echo(f"{output}: ema.safetensors, metrics.csv, curves.png, confusion.png")


def _print_run(output: Path, card: ModelCard) -> None:
    score = card.scores["PublicTest"]
    low, high = score["wilson_95"]
    click.echo(f"accuracy {score['accuracy']:.2%} of {score['n']:,} faces, 95% interval {low:.2%} to {high:.2%}")


@main.command()
@DATA
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder to make.")
@FORCE
def ensemble(data: Path, runs: tuple[Path, ...], output: Path, force: bool) -> None:
    """Make of two or more RUNs one network that gives the mean of their probabilities.

    It is evaluated on the PublicTest rows of DATA, and exported, scored, explained and taught from like any other.
    """
    from fer_train.ensemble import ensemble

    _print_run(output, ensemble(data, runs, output, force=force))
    click.echo(f"{output}: ema.safetensors, confusion.png")


def _fit_config(output: Path, resume: bool, options: dict[str, Any], seeds: tuple[int, ...]) -> FitConfig:
    from fer_train.config import FitConfig
    from fer_train.seeds import load_seeds_config

    if resume:
        if options:
            given = [*options.pop("distill", ()), *options]  # which is no option, but holds some
            names = ", ".join(map(_flag, given))
            raise click.UsageError(f"--resume goes on by the run's own settings; leave out {names}")
        return load_seeds_config(output, seeds) if seeds else FitConfig.load(output / "config.json")
    limits = {name: options.pop(name) for name in AUGMENT_OPTIONS if name in options}
    if not options.pop("augment", True):
        if limits:
            raise click.UsageError(f"--no-augment leaves nothing for {', '.join(map(_flag, limits))} to change")
        return FitConfig.of(options.pop("model", "course-cnn"), **options, augment=None)
    return FitConfig.of(options.pop("model", "course-cnn"), **options, augment=limits)


def _flag(name: str) -> str:
    """Return an option as it is typed."""
    context = click.get_current_context()
    option = next(option for option in context.command.params if option.name == name)
    return (option.secondary_opts if context.params.get(name) is False else option.opts)[0]


def _print_epoch(metrics: dict[str, Any]) -> None:
    click.echo(
        f"epoch {metrics['epoch']:.0f}: training loss {metrics['train_loss']:.4f}, accuracy "
        f"{metrics['train_accuracy']:.2%}; PublicTest loss {metrics['validation_loss']:.4f}, accuracy "
        f"{metrics['validation_accuracy']:.2%}; {metrics['faces_per_s']:,.0f} faces/s"
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@DATA
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--usage", help="Evaluate this split of DATA only, such as PublicTest.")
@click.option("--training", metavar="DATA", help="The Training faces.  [default: Training rows of DATA, if any]")
@tta_option
@FORCE
def evaluate(run: Path, data: Path, output: Path, **settings: Any) -> None:
    """Evaluate RUN, a run or an exports folder, on the labelled faces of DATA, in PyTorch.

    Figures and files are those of `fer-infer evaluate`.
    """
    from fer_infer.evaluation import FILES
    from fer_train.evaluation import evaluate

    click.echo(evaluate(run, data, output, **settings).to_text())
    click.echo(f"{output}: {', '.join(FILES)}")


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
@FORCE
def export(run: Path, output: Path, **settings: Any) -> None:
    """Export RUN, a run or an exports folder, to ONNX, proven to compute the same.

    The graph is compared with the PyTorch original on real faces by the production scorer; only then is OUTPUT written.
    The labelled PublicTest rows of --calibration fit the temperature by which the graph divides its logits before the
    softmax, so that it is as sure as it is right. An int8 graph is calibrated on its Training rows and chosen by its
    PublicTest rows. To add to an exports folder, export the folder onto itself with --force.
    """
    from fer_core import ModelCard
    from fer_train.export import export

    parity = export(run, output, **settings)
    click.echo(ModelCard.load_json(output / "card.json").temperature_text())
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

"""Training of one network: prepare, open or resume the run folder, train, evaluate."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from fer_core import EXPRESSIONS, IMAGE_SIZE, ConfigError, ModelCard, TrainingWarning
from fer_core.errors import first_line
from fer_core.outputs.claims import claimed
from fer_core.outputs.rejects import save_rejects
from fer_core.terminal.progress import progress
from fer_infer.evaluation.chance import Chance
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, to_device
from fer_train.models import build_model
from fer_train.optim.optimizer import WeightAverage, make_optimizer
from fer_train.prediction import true_float32
from fer_train.runs.checkpoint import begin_with
from fer_train.runs.provenance import make_card, training_record
from fer_train.runs.run_folder import METRICS, RESUME_FILE, discard_run, open_run, save_end, save_epoch
from fer_train.runs.run_state import RunState
from fer_train.training.allocator import freed_memory_kept
from fer_train.training.diagnosis import diagnose
from fer_train.training.distill import Teachers
from fer_train.training.distributed import first_only, join_processes, share_batch_norm
from fer_train.training.epoch import require_finite, train_epoch
from fer_train.training.hardware import lack_of_memory_named, pick_device, pick_precision, require_compiler
from fer_train.training.initialization import initialize
from fer_train.training.validation import validate

CHECKED_EPOCH: Final = 3
"""Epoch after which a network that has learned nothing is reported."""

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """A prepared training run, before its folder exists.

    Attributes
    ----------
    fabric : Fabric
        Device and processes.
    config : FitConfig
        Settings, with the device and precision that were selected.
    splits : Splits
        Faces to train on and to validate on.
    training_data : dict
        Record of them in the model card.
    training, validation : tuple of Tensor
        Images and labels on the device.
    teachers : Teachers or None
        Teachers of a distillation.
    state : RunState
        Network, optimizer, average and finished epochs.
    """

    fabric: Fabric
    config: FitConfig
    splits: Splits
    training_data: dict[str, Any]
    training: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    teachers: Teachers | None
    state: RunState


@lack_of_memory_named()
def fit(
    splits: Splits,
    config: FitConfig,
    output: str | Path,
    *,
    resume: bool = False,
    report: Report = lambda metrics: None,
) -> ModelCard:
    """Train a network on loaded splits and write its run folder after every epoch.

    Processes started by torchrun share every batch of `batch_size` faces: all of them draw the same randomness for the
    whole batch, augment it, and train on their part. Only dropout and stochastic depth are drawn separately.

    Parameters
    ----------
    splits : Splits
        Faces from `load_splits`.
    config : FitConfig
        Settings.
    output : str or Path
        Run folder to write: `config.json`, `metrics.csv`, `curves.png`, `last.safetensors`, `ema.safetensors`,
        `resume.pt`, `sample.npz`, and at the end `metrics.json`, `confusion.png`, `confusion.csv`,
        `per_class.csv`, `reliability.png`, and `rejects.csv` if rows were left out.
    resume : bool
        Resume the run in `output`, whose `config.json` must equal `config`. On the CPU the result is the same to the
        bit as without the interruption.
    report : callable
        Called with each epoch's row of `metrics.csv`.

    Returns
    -------
    ModelCard
        Card of the averaged weights after the last epoch.

    Raises
    ------
    OutputError
        If `output` exists and `resume` is false, or the other way round, if another process writes it, or if it cannot
        be written. A run without a finished epoch is removed after an error.
    ConfigError
        If the run to resume was started with another config, other faces, or other initial weights or teachers.
    DeviceError
        If the device is not available, or memory does not suffice.
    ModelError
        If the loss is not finite.
    """
    folder = Path(output)
    device = pick_device(config.device)
    config = replace(config, device=device.type, precision=pick_precision(config.precision, device))
    fabric = join_processes(config.device, config.precision)
    with ExitStack() as claim:
        first_only(fabric, claim.enter_context, claimed(folder))
        job = prepare(fabric, splits, config)
        open_or_resume(job, folder, resume)
        train(job, folder, report)
        return first_only(fabric, finish, job, folder)


def prepare(fabric: Fabric, splits: Splits, config: FitConfig) -> Job:
    """Build the network and load the data, so that wrong settings and a lack of memory leave no folder."""
    device = fabric.device
    torch.manual_seed(config.seed)
    model = build_model(config.architecture, mean=splits.mean, std=splits.std, **config.architecture_arguments)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # faster on CPUs too
    _try_smallest_batch(model, config, len(splits.training), device)
    initialize(model, config, splits.training.images)
    model = share_batch_norm(model, fabric)
    teachers = None if config.distill is None else Teachers(config.distill, splits.validation, EXPRESSIONS, device)
    if config.compile:
        require_compiler(device)
    if config.initial is not None:
        begin_with(model, config.initial, config.architecture)
    training_data = training_record(splits, config)
    state = RunState(model, make_optimizer(model, config), WeightAverage(model, config.ema_decay))
    training, validation = (to_device(faces, device) for faces in (splits.training, splits.validation))
    return Job(fabric, config, splits, training_data, training, validation, teachers, state)


def open_or_resume(job: Job, folder: Path, resume: bool) -> None:
    """Make the run folder, or load the state of the run in it."""
    validation = job.splits.validation
    if first_only(job.fabric, open_run, folder, job.config, validation, job.training_data, resume):
        job.state.load(folder / RESUME_FILE, job.fabric.device)


def train(job: Job, folder: Path, report: Report) -> None:
    """Train the remaining epochs; after each, write the folder and report the metrics."""
    config, fabric, state = job.config, job.fabric, job.state
    model: nn.Module = torch.compile(state.model) if config.compile else state.model  # type: ignore[assignment]
    network, optimizer = fabric.setup(model, state.optimizer)
    faces, note = len(job.splits.training), ""
    shown = progress(f"fit {folder.name}", config.epochs * faces, done=state.epoch * faces)
    kept = freed_memory_kept() if fabric.device.type == "cpu" else true_float32()
    with kept, shown if fabric.is_global_zero else nullcontext(lambda n, note="": None) as advance:
        while state.epoch < config.epochs:
            try:
                metrics, chance = _one_epoch(job, network, optimizer, partial(advance, note=note))
                first_only(fabric, _save, job, folder, metrics, chance, report)
            except Exception:
                if fabric.is_global_zero and not (folder / RESUME_FILE).is_file():
                    discard_run(folder)  # nothing to resume: the next attempt may use the folder
                raise
            accuracy = metrics["validation_accuracy"]
            if state.epoch == CHECKED_EPOCH and fabric.is_global_zero:
                _warn_unless_learning(job, chance, accuracy)
            note = f"epoch {state.epoch}: loss {metrics['train_loss']:.3f}, {job.splits.validation_name} {accuracy:.1%}"


def finish(job: Job, folder: Path) -> ModelCard:
    """Evaluate the averaged weights, as they were written, on the validation faces."""
    save_rejects(folder, job.splits.rejected)
    known = TrainingFaces([job.splits.training.images])
    return save_end(folder, job.splits.validation, known, name=folder.name)


def _one_epoch(
    job: Job, network: nn.Module, optimizer: torch.optim.Optimizer, advance: Callable[[int], None]
) -> tuple[dict[str, Any], Chance | None]:
    """Train and validate once; return a row of `metrics.csv` and the comparison with chance."""
    start, state = time.perf_counter(), job.state
    loss, accuracy = train_epoch(job.fabric, network, optimizer, state, job.training, job.config, job.teachers, advance)
    train_s = time.perf_counter() - start
    # without autocast, since the average is deployed in float32
    validation_loss, validation_accuracy, chance = validate(job.fabric, state.average.module, job.validation)
    require_finite(f"{job.splits.validation_name} ", validation_loss, state.epoch)
    state.epoch += 1
    state.elapsed_s += time.perf_counter() - start
    lr, speed = optimizer.param_groups[0]["lr"], len(job.splits.training) / train_s
    row = (state.epoch, lr, loss, accuracy, validation_loss, validation_accuracy, state.elapsed_s, speed)
    return dict(zip(METRICS, row, strict=True)), chance


def _save(job: Job, folder: Path, metrics: dict[str, Any], chance: Chance | None, report: Report) -> None:
    averaged = job.state.averaged()
    accuracy = metrics["validation_accuracy"]
    card = make_card(job.config, job.splits, job.training_data, averaged, job.state.epoch, accuracy, chance)
    save_epoch(folder, card, averaged, job.state.model.state_dict(), metrics)
    job.state.save(folder / RESUME_FILE)  # last, so that an interrupted run resumes from a whole epoch
    report(metrics)


@torch.no_grad()
def _try_smallest_batch(model: nn.Module, config: FitConfig, faces: int, device: torch.device) -> None:
    """Raise ConfigError if a network cannot be trained on 48x48 pixels, or on the last batch of an epoch.

    BatchNorm at 1x1 pixels takes its statistics over the faces of a batch, and a single face has none.
    """
    copy = deepcopy(model).train()
    size = 1 if faces % config.batch_size == 1 else 2
    try:
        with lack_of_memory_named():
            copy(torch.zeros(size, 1, IMAGE_SIZE, IMAGE_SIZE, device=device))
    except ValueError:
        expected = f"expected a last batch of at least two faces, which {config.architecture} needs to normalize"
        found = f"found {faces:,} faces in batches of {config.batch_size}"
        raise ConfigError(f"{expected}, {found}", parameter="batch_size") from None
    except RuntimeError as error:
        expected = "expected a network for 48x48 pixels"
        raise ConfigError(f"architecture {config.architecture}: {expected}: {first_line(error)}") from None


def _warn_unless_learning(job: Job, chance: Chance | None, accuracy: float) -> None:
    """Warn once, in one line, if the network is not better than chance or has layers that cannot learn."""
    findings = diagnose(job.state.model, *job.training)
    if chance is not None and not chance.beaten:
        findings.insert(0, f"{accuracy:.2%} of {len(job.validation[0]):,} validation faces, {chance.to_text()}")
    if findings:
        remedy = "try another `lr`, the architecture argument batch_norm=true, or `fer-train audit` on the labels"
        warnings.warn(f"epoch {job.state.epoch}: {'; '.join(findings)}; {remedy}", TrainingWarning, stacklevel=3)

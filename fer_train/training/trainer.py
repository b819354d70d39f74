"""The training loop: model, optimizer, one straight read, and a run folder that can always go on."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from fer_core import EXPRESSIONS, IMAGE_SIZE, ConfigError, ModelCard, ModelError, TrainingWarning
from fer_core.errors import first_line
from fer_core.outputs.claims import claimed
from fer_core.terminal.progress import progress
from fer_infer.evaluation.chance import Chance, class_frequencies_nll, compare_with_chance
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_train.config import FitConfig
from fer_train.data.augment import augment, mixup
from fer_train.data.splits import Splits, to_device
from fer_train.models import build_model
from fer_train.optim.optimizer import WeightAverage, learning_rate, make_optimizer
from fer_train.prediction import true_float32
from fer_train.runs.checkpoint import begin_with
from fer_train.runs.provenance import make_card, training_record
from fer_train.runs.run_folder import METRICS, RESUME_FILE, discard_run, open_run, save_end, save_epoch
from fer_train.runs.run_state import RunState
from fer_train.training.allocator import freed_memory_kept
from fer_train.training.diagnosis import diagnose
from fer_train.training.distill import Teachers
from fer_train.training.distributed import first_only, join_processes, share, share_batch_norm
from fer_train.training.hardware import lack_of_memory_named, pick_device, pick_precision, require_compiler
from fer_train.training.initialization import initialize

CHECKED_EPOCH: Final = 3
"""The epoch after which a network that has learned nothing is reported."""


@lack_of_memory_named()
def fit(
    splits: Splits,
    config: FitConfig,
    output: str | Path,
    *,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda metrics: None,
) -> ModelCard:
    """Train a network and write its run folder after every epoch.

    Started by torchrun, processes share every batch of `batch_size` faces: all draw the same randomness for the whole
    of it, augment it, and train on their part. Only dropout and stochastic depth draw for that part alone.

    Parameters
    ----------
    splits : Splits
        From `load_splits`.
    config : FitConfig
        The recipe.
    output : str or Path
        The run folder: `config.json`, `metrics.csv`, `curves.png`, `last.safetensors`, `ema.safetensors`,
        `resume.pt`, `sample.npz`, and at the end `metrics.json`, `confusion.png`, `confusion.csv`,
        `per_class.csv`, `reliability.png`.
    resume : bool
        Go on with the run in `output`, whose `config.json` must be `config`. On the CPU the result is the
        same to the bit as without the interruption.
    report : callable
        Gets each epoch's row of `metrics.csv`.

    Returns
    -------
    ModelCard
        Of the last epoch's averaged weights.

    Raises
    ------
    OutputError
        If `output` exists and `resume` is false, or the other way round, if another run writes it, or if it cannot be
        written. A run without a finished epoch is removed after an error.
    ConfigError
        If the run to resume was started with other settings, other faces, or other weights to begin with or learn from.
    DeviceError
        If there is no such device, or not memory enough.
    ModelError
        If the loss is not finite.
    """
    folder = Path(output)
    device = pick_device(config.device)
    config = replace(config, device=device.type, precision=pick_precision(config.precision, device))
    fabric = join_processes(config.device, config.precision)
    with ExitStack() as claim:
        first_only(fabric, claim.enter_context, claimed(folder))
        return _fit(fabric, splits, config, folder, resume, report)


def _fit(
    fabric: Fabric,
    splits: Splits,
    config: FitConfig,
    folder: Path,
    resume: bool,
    report: Callable[[dict[str, Any]], None],
) -> ModelCard:
    """Train on the device of `fabric`, in a folder that no other run writes; parameters as for `fit`."""
    device = fabric.device
    torch.manual_seed(config.seed)
    # Two of them: one is trained, the other holds the average, without autocast, since it will be deployed in float32.
    model, shadow = (
        _place(build_model(config.model, mean=splits.mean, std=splits.std, **config.model_arguments), device)
        for _ in range(2)
    )
    _try_smallest_batch(shadow, config, len(splits.training), device)
    initialize(model, config, splits.training.images)
    model = share_batch_norm(model, fabric)
    teachers = None if config.distill is None else Teachers(config.distill, splits.validation, EXPRESSIONS, device)
    if config.compile:
        require_compiler(device)
    if config.initial is not None:
        begin_with(model, config.initial, config.model)
    data_record = training_record(splits, config)
    run = RunState(model, make_optimizer(model, config), WeightAverage(model, config.ema_decay))
    training, validation = (to_device(faces, device) for faces in (splits.training, splits.validation))
    # only now, so that wrong settings and a lack of memory leave no folder
    resumable = first_only(fabric, open_run, folder, config, splits.validation, data_record, resume)
    if resumable:
        run.load(folder / RESUME_FILE, device)
    trained: nn.Module = torch.compile(model) if config.compile else model  # type: ignore[assignment] # stays a module
    network, optimizer = fabric.setup(trained, run.optimizer)

    faces, note = len(training[0]), ""

    def write(metrics: dict[str, Any], chance: Chance | None) -> None:
        accuracy = metrics["validation_accuracy"]
        card = make_card(config, splits, data_record, run.average.state, run.epoch, accuracy, chance)
        save_epoch(folder, card, run.average.state, model.state_dict(), metrics)
        run.save(folder / RESUME_FILE)  # last, so that whatever interrupts, the run goes on from a whole epoch
        report(metrics)

    shown = progress(f"fit {folder.name}", config.epochs * faces, done=run.epoch * faces)
    kept = freed_memory_kept() if device.type == "cpu" else true_float32()
    with kept, shown if fabric.is_global_zero else nullcontext(lambda n, note="": None) as advance:
        while run.epoch < config.epochs:
            start = time.perf_counter()
            said = partial(advance, note=note)
            try:
                train_loss, train_accuracy = _train_epoch(
                    fabric, network, optimizer, run, training, config, teachers, said
                )
                train_s = time.perf_counter() - start
                shadow.load_state_dict(run.average.state)
                loss, accuracy, chance = _validate(fabric, shadow, validation)
                _require_finite(f"{splits.validation_name} ", loss, run.epoch)
                run.epoch += 1
                run.elapsed_s += time.perf_counter() - start
                lr = optimizer.param_groups[0]["lr"]
                values = (run.epoch, lr, train_loss, train_accuracy, loss, accuracy, run.elapsed_s, faces / train_s)
                first_only(fabric, write, dict(zip(METRICS, values, strict=True)), chance)
            except Exception:
                if fabric.is_global_zero and not (folder / RESUME_FILE).is_file():
                    discard_run(folder)  # nothing to go on from: the next try may take the folder
                raise
            if run.epoch == CHECKED_EPOCH and fabric.is_global_zero:
                _warn_unless_learning(model, training, chance, run.epoch, accuracy, len(validation[0]))
            note = f"epoch {run.epoch}: loss {train_loss:.3f}, {splits.validation_name} {accuracy:.1%}"
    known = TrainingFaces([splits.training.images])
    return first_only(fabric, save_end, folder, splits.validation, known, name=folder.name)


def _place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to the device, in NHWC memory: faster on CPUs, and tensor cores take it without transposes."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def _try_smallest_batch(model: nn.Module, config: FitConfig, faces: int, device: torch.device) -> None:
    """Raise ConfigError where a network cannot be trained on 48x48 pixels, or not on an epoch's last batch.

    BatchNorm at 1x1 pixels takes its statistics over the faces of the batch alone, of which one has none.
    """
    model.train()
    size = 1 if faces % config.batch_size == 1 else 2
    try:
        with lack_of_memory_named():
            model(torch.zeros(size, 1, IMAGE_SIZE, IMAGE_SIZE, device=device))
    except ValueError:
        raise ConfigError(
            f"batch_size: expected a last batch of two faces at least, by which this {config.model} can normalize, "
            f"found {faces:,} faces in batches of {config.batch_size}"
        ) from None
    except RuntimeError as error:
        raise ConfigError(f"model {config.model}: expected a network of 48x48 pixels: {first_line(error)}") from None


def stream_seed(*key: int) -> int:
    """Return a seed for the stream of random numbers that a key names, unlike those of all other keys.

    The key is hashed (`numpy.random.SeedSequence`): PyTorch's generator on the CPU takes the lowest 32 bits of a seed
    alone, so that of numbers put side by side in 64 bits the upper ones would go unheard.
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _train_epoch(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: RunState,
    data: tuple[Tensor, Tensor],
    config: FitConfig,
    teachers: Teachers | None,
    advance: Callable[[int], None],
) -> tuple[float, float]:
    """Pass once over the data; return mean loss and accuracy, as seen while training."""
    images, labels = data
    batches = math.ceil(len(images) / config.batch_size)
    # All randomness of an epoch follows from seed and epoch: a resumed run repeats it without stored state. What layers
    # draw for their share of a batch differs from process to process, the rest does not.
    mild = run.epoch >= config.epochs - config.mild_epochs
    view = None if teachers is None or mild else teachers.view(run.epoch)
    torch.manual_seed(stream_seed(config.seed, run.epoch, 1 + fabric.global_rank))
    drawn = run.epoch if view is None else view
    generator = torch.Generator(images.device).manual_seed(stream_seed(config.seed, drawn, 0))
    order = torch.randperm(len(images), generator=generator, device=images.device)
    totals = torch.zeros(2, device=images.device)  # stays on the device: reading it would wait for the GPU
    limits = config.augment.mild() if mild and config.augment is not None else config.augment
    network.train()
    for number, chosen in enumerate(torch.split(order, config.batch_size)):
        lr = learning_rate(run.epoch * batches + number, config.epochs * batches, batches, config)
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch, target = images[chosen].float(), labels[chosen]
        goal = target
        if limits is not None:
            batch = augment(batch, limits, generator)
            if limits.mixup > 0:
                goal = functional.one_hot(target, len(EXPRESSIONS)).float()
                batch, goal = mixup(batch, goal, limits.mixup, generator)
        mine = share(len(chosen), fabric)
        batch, target, goal = batch[mine], target[mine], goal[mine]
        batch = batch.contiguous(memory_format=torch.channels_last)
        logits = network(batch)
        loss = functional.cross_entropy(logits, goal, label_smoothing=config.label_smoothing)
        if teachers is not None:
            with fabric.autocast():
                loss = teachers.loss(batch, logits, loss, None if view is None else (view, number))
        if not len(target):  # more processes than faces: the others still wait for this one's gradients, zeros
            loss = logits.sum()
        optimizer.zero_grad()
        # Processes average their gradients, so each loss weighs as many faces as it stands for.
        fabric.backward(loss * (fabric.world_size * len(target) / len(chosen)))
        optimizer.step()
        run.average.update(run.model)
        totals += torch.stack([loss.detach() * len(target), (logits.detach().argmax(1) == target).sum()])
        advance(len(chosen))
    fabric.all_reduce(totals, reduce_op="sum")  # in place
    mean_loss, accuracy = (totals / len(images)).tolist()
    _require_finite("", mean_loss, run.epoch)
    return mean_loss, accuracy


def _require_finite(split: str, loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise ModelError(f"epoch {epoch + 1}: the {split}loss is {loss}; a lower --lr or --precision fp32 may help")


@torch.no_grad()
def _validate(
    fabric: Fabric, network: nn.Module, data: tuple[Tensor, Tensor], batch_size: int = 512
) -> tuple[float, float, Chance | None]:
    """Return mean cross-entropy, accuracy and chance on a split, of which each process takes its share."""
    network.eval()
    n, classes = len(data[0]), len(EXPRESSIONS)
    counts = torch.bincount(data[1], minlength=classes).cpu().numpy()
    guessed = torch.from_numpy(class_frequencies_nll(data[1].cpu(), classes)).to(data[0].device)
    mine = share(n, fabric)
    totals = torch.zeros(4, dtype=torch.float64, device=data[0].device)
    for images, labels in _batches((data[0][mine], data[1][mine]), batch_size):
        logits = network(images.float().contiguous(memory_format=torch.channels_last))
        losses = functional.cross_entropy(logits, labels, reduction="none").double()
        excess = losses - guessed[labels]
        correct = (logits.argmax(1) == labels).sum()
        totals += torch.stack([losses.sum(), correct, excess.sum(), excess.square().sum()])
    fabric.all_reduce(totals, reduce_op="sum")  # in place
    loss, accuracy, mean, square = (totals / n).tolist()
    chance = compare_with_chance(counts, round(accuracy * n), mean, max(square - mean**2, 0) ** 0.5, EXPRESSIONS)
    return loss, accuracy, chance


def _warn_unless_learning(
    model: nn.Module, training: tuple[Tensor, Tensor], chance: Chance | None, epoch: int, accuracy: float, n: int
) -> None:
    """Warn once, in one line, of a network that is no better than chance or has layers that cannot learn."""
    findings = diagnose(model, *training)
    if chance is not None and not chance.beaten:
        findings.insert(0, f"{accuracy:.2%} of {n:,} validation faces, {chance.to_text()}")
    if findings:
        remedy = "try another --lr, --model-argument batch_norm=true, or `fer-train audit` on the labels"
        warnings.warn(f"epoch {epoch}: {'; '.join(findings)}; {remedy}", TrainingWarning, stacklevel=3)


def _batches(data: tuple[Tensor, Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(data[0], size), torch.split(data[1], size), strict=True)

"""One epoch of training: its batches, and the steps that they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from fer_core import EXPRESSIONS, ModelError
from fer_train.config import FitConfig
from fer_train.data.augment import augment, mixup
from fer_train.optim.optimizer import learning_rate
from fer_train.runs.run_state import RunState
from fer_train.training.distill import Teachers
from fer_train.training.distributed import share


@dataclass(frozen=True)
class Batch:
    """Share of a batch that this process trains on.

    Attributes
    ----------
    images : Tensor
        float32 (n, 1, 48, 48) in 0..255, augmented, in NHWC memory.
    labels : Tensor
        int64 (n,).
    target : Tensor
        Labels, or after mixup float32 (n, classes).
    faces : int
        Size of the whole batch over all processes.
    lr : float
        Learning rate of the step.
    teacher_key : tuple of int or None
        View and number of a batch whose faces later epochs repeat.
    """

    images: Tensor
    labels: Tensor
    target: Tensor
    faces: int
    lr: float
    teacher_key: tuple[int, int] | None


def stream_seed(*key: int) -> int:
    """Return the seed of a random stream, different for every key.

    The key is hashed (`numpy.random.SeedSequence`), because PyTorch's generator on the CPU uses only the lowest 32
    bits of a seed: upper bits would be ignored.
    """
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def epoch_batches(
    data: tuple[Tensor, Tensor], config: FitConfig, epoch: int, fabric: Fabric, teachers: Teachers | None
) -> Iterator[Batch]:
    """Yield the batches of an epoch, shuffled and augmented.

    The randomness of an epoch follows from seed and epoch, so that a resumed run repeats it without stored state. All
    processes draw the same order and augmentation; only what layers draw, such as dropout, differs between them.

    Parameters
    ----------
    data : tuple of Tensor
        Images, uint8 (N, 1, 48, 48), and labels, int64 (N,).
    config : FitConfig
        Settings of the run.
    epoch : int
        Number of the epoch, from 0.
    fabric : Fabric
        Processes that share each batch.
    teachers : Teachers or None
        Teachers, which decide which epochs repeat the faces of earlier ones.
    """
    images, labels = data
    mild = epoch >= config.epochs - config.mild_epochs
    limits = config.augment.mild() if mild and config.augment is not None else config.augment
    view = None if teachers is None or mild else teachers.view(epoch)
    torch.manual_seed(stream_seed(config.seed, epoch, 1 + fabric.global_rank))
    drawn = epoch if view is None else view
    generator = torch.Generator(images.device).manual_seed(stream_seed(config.seed, drawn, 0))
    order = torch.randperm(len(images), generator=generator, device=images.device)
    batches = math.ceil(len(images) / config.batch_size)
    for number, chosen in enumerate(torch.split(order, config.batch_size)):
        batch, target = images[chosen].float(), labels[chosen]
        if limits is not None:
            batch = augment(batch, limits, generator)
            if limits.mixup > 0:
                one_hot = functional.one_hot(target, len(EXPRESSIONS)).float()
                batch, target = mixup(batch, one_hot, limits.mixup, generator)
        local = share(len(chosen), fabric)
        yield Batch(
            images=batch[local].contiguous(memory_format=torch.channels_last),
            labels=labels[chosen][local],
            target=target[local],
            faces=len(chosen),
            lr=learning_rate(epoch * batches + number, config.epochs * batches, batches, config),
            teacher_key=None if view is None else (view, number),
        )


def train_epoch(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: RunState,
    data: tuple[Tensor, Tensor],
    config: FitConfig,
    teachers: Teachers | None,
    advance: Callable[[int], None],
) -> tuple[float, float]:
    """Train for one epoch; return mean loss and accuracy, as seen during training.

    Parameters
    ----------
    fabric : Fabric
        Device and processes.
    network, optimizer : Module, Optimizer
        Those of `state`, as `fabric.setup` wraps them.
    state : RunState
        State of the run; its average is updated after each step.
    data, config, teachers
        Parameters of `epoch_batches`.
    advance : callable
        Called with the number of faces after each step.
    """
    totals = torch.zeros(2, device=data[0].device)  # stays on the device: reading it would wait for the GPU
    network.train()
    for batch in epoch_batches(data, config, state.epoch, fabric, teachers):
        for group in optimizer.param_groups:
            group["lr"] = batch.lr
        logits = network(batch.images)
        loss = _loss(fabric, batch, logits, config, teachers)
        optimizer.zero_grad()
        # Processes average their gradients, so each loss is weighted by its number of faces.
        fabric.backward(loss * (fabric.world_size * len(batch.labels) / batch.faces))
        optimizer.step()
        state.average.update(state.model)
        correct = (logits.detach().argmax(1) == batch.labels).sum()
        totals += torch.stack([loss.detach() * len(batch.labels), correct])
        advance(batch.faces)
    fabric.all_reduce(totals, reduce_op="sum")  # in place
    mean_loss, accuracy = (totals / len(data[0])).tolist()
    require_finite("", mean_loss, state.epoch)
    return mean_loss, accuracy


def _loss(fabric: Fabric, batch: Batch, logits: Tensor, config: FitConfig, teachers: Teachers | None) -> Tensor:
    if not len(batch.labels):  # more processes than faces: the others still wait for zero gradients from this one
        return logits.sum()
    loss = functional.cross_entropy(logits, batch.target, label_smoothing=config.label_smoothing)
    if teachers is not None:
        with fabric.autocast():
            loss = teachers.loss(batch.images, logits, loss, batch.teacher_key)
    return loss


def require_finite(split: str, loss: float, epoch: int) -> None:
    """Raise ModelError if the loss of a split is NaN or infinite."""
    if not math.isfinite(loss):
        remedy = "a lower `lr` or `precision='fp32'` may help"
        raise ModelError(f"epoch {epoch + 1}: the {split}loss is {loss}; {remedy}")

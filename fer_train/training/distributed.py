"""Processes that train one network together, as torchrun starts them: each takes its share of every batch."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, ParamSpec, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from fer_core import ConfigError, DeviceError, FerError

P = ParamSpec("P")
T = TypeVar("T")


def join_processes(accelerator: str, precision: str) -> Fabric:
    """Meet the other processes that torchrun started, or stand alone where it started none.

    Parameters
    ----------
    accelerator : {"cpu", "cuda"}
        Where to train: gloo connects CPUs, NCCL GPUs, one a process.
    precision : {"fp32", "bf16"}
        Of the arithmetic.

    Raises
    ------
    DeviceError
        If there are more processes on this machine than GPUs.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if precision == "bf16" else "32-true"
    world = int(os.environ["WORLD_SIZE"]) if _by_torchrun() else 1
    if world == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=kind)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if accelerator == "cuda" and here > torch.cuda.device_count():
        raise DeviceError(f"{here} processes on this machine: expected a GPU each, found {torch.cuda.device_count()}")
    # No buffer needs sending: those that change are statistics that synchronized BatchNorm makes equal.
    strategy = DDPStrategy(forward_sync_buffers=False)
    fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=here, num_nodes=world // here, precision=kind)
    fabric.launch()
    return fabric


def is_first() -> bool:
    """Tell whether this process is the one that writes and prints."""
    return not _by_torchrun() or os.environ["RANK"] == "0"


def _by_torchrun() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def first_only(fabric: Fabric, action: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Let the first process alone act, and give its result to all, or its error: none waits for one that has ended."""
    if fabric.world_size == 1:
        return action(*arguments, **options)
    outcome: T | FerError | OSError | None = None
    if fabric.is_global_zero:
        try:
            outcome = action(*arguments, **options)
        except (FerError, OSError) as error:
            outcome = error
    outcome = fabric.broadcast(outcome)
    if isinstance(outcome, (FerError, OSError)):
        raise outcome
    return outcome  # type: ignore[return-value]


def leave_processes(code: str | int | None) -> None:
    """End a process that torchrun started with an exit code, at once; return where it stands alone.

    Nothing destroys gloo's process group before the interpreter's teardown does, and the threads it then still has may
    abort a process that has done all its work: torchrun would call the whole run failed.
    """
    if not _by_torchrun():
        return
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none, or a closed one
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def share(n: int, fabric: Fabric) -> slice:
    """Return which of a batch's `n` faces are this process's: consecutive ones, at most one more than another's."""
    rank, world = fabric.global_rank, fabric.world_size
    return slice(n * rank // world, n * (rank + 1) // world)


def share_batch_norm(model: nn.Module, fabric: Fabric) -> nn.Module:
    """Let BatchNorm take its statistics over the batch of all processes, as one process would.

    Raises
    ------
    ConfigError
        If that is impossible: PyTorch's synchronized BatchNorm is for GPUs alone.
    """
    normalizing = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if fabric.world_size == 1 or not normalizing:
        return model
    if fabric.device.type == "cpu":
        raise ConfigError(
            f"{fabric.world_size} processes: expected a network without BatchNorm, whose statistics processes share "
            "on GPUs only; train this one by one process"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]

"""Processes started by torchrun that train one network together: each takes its share of every batch."""

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
    """Connect to the other processes that torchrun started, if any.

    Parameters
    ----------
    accelerator : {"cpu", "cuda"}
        Device to train on: gloo connects CPUs, NCCL connects GPUs, one per process.
    precision : {"fp32", "bf16"}
        Precision of the arithmetic.

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
        raise DeviceError(f"{here} processes on this machine: expected one GPU each, found {torch.cuda.device_count()}")
    # Buffers need no synchronization: those that change are statistics that synchronized BatchNorm makes equal.
    strategy = DDPStrategy(forward_sync_buffers=False)
    fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=here, num_nodes=world // here, precision=kind)
    fabric.launch()
    return fabric


def is_first() -> bool:
    """Return whether this process is the one that writes and prints."""
    return not _by_torchrun() or os.environ["RANK"] == "0"


def is_alone() -> bool:
    """Return whether this process was not started by torchrun."""
    return not _by_torchrun()


def _by_torchrun() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def first_only(fabric: Fabric, action: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function in the first process only; return its result, or raise its error, in all processes."""
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
    """End a process that torchrun started with an exit code, at once; return in any other process.

    Otherwise the interpreter's teardown would destroy gloo's process group, whose remaining threads may abort a process
    that has finished its work: torchrun would report the run as failed.
    """
    if not _by_torchrun():
        return
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # a stream may be absent or closed
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def share(n: int, fabric: Fabric) -> slice:
    """Return the consecutive faces of a batch of `n` that this process trains on; shares differ by at most one."""
    rank, world = fabric.global_rank, fabric.world_size
    return slice(n * rank // world, n * (rank + 1) // world)


def share_batch_norm(model: nn.Module, fabric: Fabric) -> nn.Module:
    """Synchronize BatchNorm, so that its statistics cover the batch of all processes.

    Raises
    ------
    ConfigError
        If the device is a CPU, which PyTorch's synchronized BatchNorm does not support.
    """
    normalizing = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if fabric.world_size == 1 or not normalizing:
        return model
    if fabric.device.type == "cpu":
        raise ConfigError(
            f"{fabric.world_size} processes: expected a network without BatchNorm, which can be synchronized only on "
            "GPUs; train this network with one process"
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return, no-untyped-call]

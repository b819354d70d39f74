"""Optimizers, the learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn

from fer_train.config import FitConfig
from fer_train.optim.muon import Muon


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """Build the optimizer; weight decay applies only to parameters of two or more dimensions.

    Muon makes orthogonal steps for these, except for the first and the last one, which face pixels and classes.
    """
    parameters = list(model.parameters())
    weights = [parameter for parameter in parameters if parameter.ndim >= 2]
    no_decay = {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0}
    if config.optimizer == "muon":
        outer = {"params": weights if len(weights) < 2 else [weights[0], weights[-1]]}
        groups = [{**outer, "weight_decay": config.weight_decay}, no_decay]
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        return Muon(weights[1:-1], groups, lr=config.lr, weight_decay=config.weight_decay, dtype=dtype)
    groups = [{"params": weights, "weight_decay": config.weight_decay}, no_decay]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, fused=True)


def learning_rate(step: int, steps: int, steps_per_epoch: int, config: FitConfig) -> float:
    """Return the learning rate of a step, counted from 0; a pure function, so that resuming needs no state."""
    warmup = config.lr_warmup_epochs * steps_per_epoch
    if config.schedule == "one-cycle":
        warmup = 0.3 * steps
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


class WeightAverage:
    """Exponential moving average of parameters and buffers (Polyak and Juditsky 1992).

    The decay of step n, counted from 0, is min(decay, (1 + n) / (10 + n)), so that early weights do not stay.
    `torch.optim.swa_utils.AveragedModel` would do the same, but it waits for the GPU at every step to read a counter.

    Parameters
    ----------
    model : torch.nn.Module
        Network to average.
    decay : float
        Decay per step; with 0, the average is the last weights.

    Attributes
    ----------
    module : torch.nn.Module
        Copy of the network with the averaged weights.
    steps : int
        Number of updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the present weights of the network."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.decay else 0.0
        self.steps += 1
        averages, values = [], []
        for average, value in zip(_tensors(self.module), _tensors(model), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())

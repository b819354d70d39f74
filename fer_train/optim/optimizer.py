"""Optimizers, the learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fer_train.config import FitConfig
from fer_train.optim.muon import Muon

Tensors = tuple[Tensor, ...] | list[Tensor]


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


class WeightAverage(AveragedModel):
    """Exponential moving average of parameters and buffers (Polyak and Juditsky 1992).

    The decay after n steps is min(decay, n / (9 + n)), so that the first steps do not keep their weight.

    Parameters
    ----------
    model : torch.nn.Module
        Network to average; `module` is the averaged copy.
    decay : float
        Decay per step; with 0, the average is the last weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay
        self.update_parameters(model)  # the first update only copies

    def _average(self, averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
            return
        steps = int(self.n_averaged)  # on the CPU, so that reading it does not wait for the GPU
        decay = min(self.decay, steps / (9 + steps))
        torch._foreach_lerp_(averages, values, 1 - decay)

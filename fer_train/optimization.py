"""How weights move: the optimizer, its learning rate, and the average of the weights that is kept."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import nn

from fer_core import ConfigError
from fer_train.config import FitConfig
from fer_train.muon import Muon

RATE: Final = "rate"
"""The key under which a group of parameters keeps by what its learning rate is multiplied."""


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """Build the optimizer; weight decay touches only parameters of two or more dimensions.

    Muon makes orthogonal steps for those but the first and the last of them, which meet pixels and classes.

    Raises
    ------
    ConfigError
        If biases of BatchNorm are to have a rate of their own, and there are none.
    """
    parameters = list(model.parameters())
    biases: list[nn.Parameter] = []
    if config.norm_bias_rate != 1:
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        biases = [module.bias for module in norms if module.bias is not None]
        if not biases:
            rate = config.norm_bias_rate
            raise ConfigError(f"norm_bias_rate: expected 1 for {config.model}, without BatchNorm, found {rate:g}")
    weights = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2 and not any(p is bias for bias in biases)]
    ends, hidden = [*weights[:1], *weights[1:][-1:]], weights[1:-1]
    decayed = {"weight_decay": config.weight_decay}
    spared = [{"params": others, "weight_decay": 0.0}]
    if biases:
        spared.append({"params": biases, "weight_decay": 0.0, RATE: config.norm_bias_rate})
    if config.optimizer == "muon":
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        groups = [{"params": ends, **decayed}, *spared]
        return Muon(hidden, groups, lr=config.lr, weight_decay=config.weight_decay, dtype=dtype)
    groups = [{"params": weights, **decayed}, *spared]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, fused=True)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of a step; that of BatchNorm's biases is `FitConfig.norm_bias_rate` times it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(RATE, 1.0)


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

    The decay is min(decay, (1 + step) / (10 + step)), so that the first steps do not weigh for ever.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.step = 0
        self.state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step)) if self.decay else 0.0
        self.step += 1
        average, present = [], []
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                average.append(self.state[name])
                present.append(tensor)
            else:
                self.state[name].copy_(tensor)
        torch._foreach_lerp_(average, present, 1 - decay)

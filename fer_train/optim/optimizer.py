"""How weights move: the optimizer, its learning rate, and the average of the weights that is kept."""

from __future__ import annotations

import math

import torch
from torch import nn

from fer_train.config import FitConfig
from fer_train.optim.muon import Muon


def make_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """Build the optimizer; weight decay touches only parameters of two or more dimensions.

    Muon makes orthogonal steps for those but the first and the last of them, which meet pixels and classes.
    """
    parameters = list(model.parameters())
    weights, others = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    ends, hidden = [*weights[:1], *weights[1:][-1:]], weights[1:-1]
    decayed, spared = {"weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}
    if config.optimizer == "muon":
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        groups = [{"params": ends, **decayed}, spared]
        return Muon(hidden, groups, lr=config.lr, weight_decay=config.weight_decay, dtype=dtype)
    groups = [{"params": weights, **decayed}, spared]
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

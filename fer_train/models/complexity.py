"""Number of parameters and of multiply-adds of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters of a network."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: nn.Module) -> int:
    """Count the multiply-adds of convolutions and dense layers for one face."""
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return total

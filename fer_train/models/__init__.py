"""The registry of architectures: each by name, buildable from the arguments that its card records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_train.models.course import CourseCNN, CourseDNN


@dataclass(frozen=True)
class Architecture:
    """A name of the registry: its constructor and a line on what it is."""

    build: Callable[..., nn.Module]
    summary: str


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "course-cnn": Architecture(CourseCNN, "2, 2 and 3 convolutions, each group max-pooled, dense 256, 256, 7"),
    "course-dnn": Architecture(CourseDNN, "dense 2304-1024-512-256-7"),
}


def build_model(name: str, *, mean: float, std: float, **arguments: Any) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        In `ARCHITECTURES`.
    mean, std : float
        Standardization in pixel units.
    **arguments
        The architecture's own.

    Raises
    ------
    ConfigError
        If there is no such architecture, or it takes no such argument.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(f"model: expected one of {', '.join(ARCHITECTURES)}, found {name!r}")
    try:
        return ARCHITECTURES[name].build(mean, std, **arguments)
    except TypeError as error:
        raise ConfigError(f"model {name}: {error}") from None


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a network."""
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

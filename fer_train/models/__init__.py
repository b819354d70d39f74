"""The registry of architectures: each by name, buildable from the arguments that its card records."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.errors import first_line
from fer_train.models.course import CourseCNN, CourseDNN
from fer_train.models.ensemble import Ensemble
from fer_train.models.plain import PlainNet
from fer_train.models.residual import ResidualNet


@dataclass(frozen=True)
class Architecture:
    """A name of the registry: its constructor, a line on what it is, and the recipe it is trained by.

    Attributes
    ----------
    build : callable
        Takes mean, std and the architecture's arguments.
    summary : str
        A line.
    recipe : mapping of str to Any
        Fields of `FitConfig` and, under "augment", of `AugmentConfig` that differ from their defaults.
    """

    build: Callable[..., nn.Module]
    summary: str
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the architecture's own arguments with their defaults."""
        parameters = inspect.signature(self.build).parameters
        return {name: one.default for name, one in parameters.items() if name not in ("mean", "std")}


_SGD: Final = {
    "epochs": 120,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "lr_warmup_epochs": 2,
    "label_smoothing": 0.1,
    "mild_epochs": 5,
    "augment": {"rotation_degrees": 12.0, "zoom": 0.12, "erasing": 0.25},
}

ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "course-cnn": Architecture(CourseCNN, "2, 2 and 3 convolutions, each group max-pooled, dense 256, 256, 7"),
    "course-dnn": Architecture(CourseDNN, "dense 2304-1024-512-256-7"),
    "best": Architecture(
        ResidualNet,
        "squeeze-excitation residual network, 64/128/256/256 channels at 48/24/12/6",
        {
            **_SGD,
            "batch_size": 512,
            "lr": 0.2,
            "lr_warmup_epochs": 5,
            "mild_epochs": 10,
            "augment": {"rotation_degrees": 15.0, "zoom": 0.15, "erasing": 0.25, "mixup": 0.1},
        },
    ),
    "best-small": Architecture(
        partial(ResidualNet, widths=(48, 96, 192), blocks=(1, 2, 2), stem_kernel=5, stem_stride=2),
        "the same with 48/96/192 channels at 24/12/6, for training on a CPU",
        _SGD,
    ),
    "compact": Architecture(PlainNet, "plain convolutions for int8 on a CPU, 32/32-64/128 channels at 24/12/6", _SGD),
}


ENSEMBLE: Final = "ensemble"
"""The architecture that is made of others, each with its name and arguments; it is put together, never trained."""


def find_architecture(name: str) -> Architecture:
    """Look up an architecture; raise ConfigError naming all where there is none of that name."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"model: expected one of {', '.join(ARCHITECTURES)}, found {name!r}")
    return ARCHITECTURES[name]


def build_model(name: str, *, mean: float, std: float, **arguments: Any) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        In `ARCHITECTURES`, or `ENSEMBLE`.
    mean, std : float
        Standardization in pixel units.
    **arguments
        The architecture's own; of an ensemble `members`, a list of tables with `architecture`, `arguments` and
        `temperature`.

    Raises
    ------
    ConfigError
        If there is no such architecture, or it takes no such argument.
    """
    if name == ENSEMBLE:
        members = arguments.get("members")
        if set(arguments) != {"members"} or not isinstance(members, list) or not members:
            raise ConfigError(f"model {ENSEMBLE}: expected a list of members, found {arguments!r:.80}")
        for member in members:
            _require_member(member)
        return Ensemble(
            [build_model(member["architecture"], mean=mean, std=std, **member["arguments"]) for member in members],
            [member["temperature"] for member in members],
        )
    architecture = find_architecture(name)
    taken = architecture.arguments()
    if unknown := set(arguments) - set(taken):
        raise ConfigError(f"model {name}: takes no {', '.join(sorted(unknown))}, but {as_json(taken)}")
    try:
        return architecture.build(mean, std, **arguments)
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        given = f"cannot be built with {as_json(arguments)}: {first_line(error)}"
        raise ConfigError(f"model {name}: {given}; by itself it has {as_json(taken)}") from None


def _require_member(member: Any) -> None:
    match member:
        case {"architecture": str(), "arguments": dict(), "temperature": float() | int() as temperature}:
            if 0 < temperature < math.inf:
                return
    expected = "expected members of architecture, arguments and a temperature above 0"
    raise ConfigError(f"model {ENSEMBLE}: {expected}, found {member!r:.80}")


def as_json(arguments: Mapping[str, Any]) -> str:
    """Return an architecture's arguments as `--model-argument` takes them."""
    return ", ".join(f"{name}={json.dumps(arguments[name], separators=(',', ':'), default=str)}" for name in arguments)


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

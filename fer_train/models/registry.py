"""The registry of architectures; nothing here imports PyTorch before a network is built."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

from fer_core import ConfigError
from fer_infer.runtime.onnx_runtime import first_line

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """An entry of the registry.

    Attributes
    ----------
    network : str
        Module and class, ``module:Class``; the class takes `mean`, `std` and its own arguments.
    summary : str
        One line.
    parameters : int
        Number of trainable parameters with the default arguments.
    multiply_adds : int
        Multiply-adds of convolutions and dense layers per face, with the default arguments.
    presets : mapping of str to Any
        Arguments whose defaults differ from those of the class.
    config : mapping of str to Any
        Default settings for training this architecture: fields of `FitConfig` and, under "augment", of
        `AugmentConfig` that differ from the defaults of these classes.
    """

    network: str
    summary: str
    parameters: int
    multiply_adds: int
    presets: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the network with their defaults."""
        parameters = inspect.signature(resolve_name(self.network)).parameters
        defaults = {name: one.default for name, one in parameters.items() if name not in ("mean", "std")}
        return {**defaults, **self.presets}

    def build(self, mean: float, std: float, **arguments: Any) -> nn.Module:
        """Build the network; it raises whatever its class raises."""
        network: nn.Module = resolve_name(self.network)(mean, std, **{**self.presets, **arguments})
        return network


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
    "course-cnn": Architecture(
        "fer_train.models.course:CourseCNN",
        "2, 2 and 3 pooled convolutions, dense 256, 256, 7",
        parameters=2_813_207,
        multiply_adds=241_710_848,
    ),
    "course-dnn": Architecture(
        "fer_train.models.course:CourseDNN",
        "dense 2304-1024-512-256-7",
        parameters=3_018_247,
        multiply_adds=3_016_448,
    ),
    "residual": Architecture(
        "fer_train.models.residual:ResidualNet",
        "residual, squeeze-excitation, 64/128/256/256 channels",
        parameters=5_214_455,
        multiply_adds=1_030_057_728,
        config={
            **_SGD,
            "batch_size": 512,
            "lr": 0.2,
            "lr_warmup_epochs": 5,
            "mild_epochs": 10,
            "augment": {"rotation_degrees": 15.0, "zoom": 0.15, "erasing": 0.25, "mixup": 0.1},
        },
    ),
    "residual-small": Architecture(
        "fer_train.models.residual:ResidualNet",
        "residual, squeeze-excitation, 48/96/192 channels",
        parameters=1_546_069,
        multiply_adds=109_538_688,
        presets={"widths": (48, 96, 192), "blocks": (1, 2, 2), "stem_kernel": 5, "stem_stride": 2},
        config=_SGD,
    ),
    "compact": Architecture(
        "fer_train.models.plain:PlainNet",
        "plain convolutions for int8, 32/32-64/128 channels",
        parameters=472_999,
        multiply_adds=28_330_880,
        config=_SGD,
    ),
}

ENSEMBLE: Final = "ensemble"
"""Architecture made of other networks; `fer_train.runs.ensembling` combines them, and it is never trained itself."""


def find_architecture(name: str) -> Architecture:
    """Look up an architecture; raise ConfigError listing all of them if the name is unknown."""
    if name not in ARCHITECTURES:
        raise ConfigError(f"expected one of {', '.join(ARCHITECTURES)}, found {name!r}", parameter="architecture")
    return ARCHITECTURES[name]


def build_model(name: str, *, mean: float, std: float, **arguments: Any) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        Key of `ARCHITECTURES`, or `ENSEMBLE`.
    mean, std : float
        Standardization in pixel units.
    **arguments
        Arguments of the architecture; those of an ensemble are `members`, a list of tables with `architecture`,
        `arguments` and `temperature`.

    Raises
    ------
    ConfigError
        If there is no such architecture, or it does not take these arguments.

    Examples
    --------
    >>> network = build_model("compact", mean=129.0, std=65.0, widths=[[8], [16]])
    >>> sum(parameter.numel() for parameter in network.parameters())
    1519
    """
    if name == ENSEMBLE:
        return _build_ensemble(mean, std, arguments)
    architecture = find_architecture(name)
    defaults = architecture.arguments()
    if unknown := set(arguments) - set(defaults):
        raise ConfigError(f"architecture {name}: no argument {', '.join(sorted(unknown))}; it has {as_json(defaults)}")
    try:
        return architecture.build(mean, std, **arguments)
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        reason = f"cannot be built with {as_json(arguments)}: {first_line(error)}"
        raise ConfigError(f"architecture {name}: {reason}; its defaults are {as_json(defaults)}") from None


def _build_ensemble(mean: float, std: float, arguments: Mapping[str, Any]) -> nn.Module:
    from fer_train.models.ensemble import Ensemble

    members = arguments.get("members")
    if set(arguments) != {"members"} or not isinstance(members, list) or not members:
        raise ConfigError(f"architecture {ENSEMBLE}: expected a list of members, found {arguments!r:.80}")
    for member in members:
        _require_member(member)
    return Ensemble(
        [build_model(member["architecture"], mean=mean, std=std, **member["arguments"]) for member in members],
        [member["temperature"] for member in members],
    )


def _require_member(member: Any) -> None:
    match member:
        case {"architecture": str(), "arguments": dict(), "temperature": float() | int() as temperature}:
            if 0 < temperature < math.inf:
                return
    expected = "expected members with architecture, arguments and a temperature above 0"
    raise ConfigError(f"architecture {ENSEMBLE}: {expected}, found {member!r:.80}")


def as_json(arguments: Mapping[str, Any]) -> str:
    """Return arguments as ``--architecture-argument`` takes them.

    Examples
    --------
    >>> as_json({"widths": (16, 32), "batch_norm": True})
    'widths=[16,32], batch_norm=true'
    """
    return ", ".join(f"{name}={json.dumps(arguments[name], separators=(',', ':'), default=str)}" for name in arguments)

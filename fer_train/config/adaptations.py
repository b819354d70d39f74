"""How an architecture's default settings adapt to the options given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Defaults = dict[str, Any]

OPTIMIZERS: Final[dict[str, dict[str, float]]] = {
    "adam": {"lr": 3e-4, "weight_decay": 0.0},
    "adamw": {"lr": 3e-3, "weight_decay": 0.05},
    "sgd": {"lr": 0.02, "weight_decay": 5e-4},
    "muon": {"lr": 1e-2, "weight_decay": 0.05},
}
"""Optimizers with the defaults that they bring when they replace the default optimizer of an architecture."""


def take_settings_of_optimizer(defaults: Defaults, options: Mapping[str, Any]) -> Defaults:
    """Take learning rate and weight decay of an optimizer that replaces the default one."""
    optimizer = options.get("optimizer")
    if optimizer == defaults["optimizer"]:
        return defaults
    return {**defaults, **OPTIMIZERS.get(str(optimizer), {})}


def shorten_to_a_third(defaults: Defaults, options: Mapping[str, Any]) -> Defaults:
    """Limit warm-up and mild epochs to a third of the epochs each."""
    third = options.get("epochs", defaults["epochs"]) // 3
    return {**defaults, **{name: min(defaults[name], third) for name in ("lr_warmup_epochs", "mild_epochs")}}


def leave_warmup_to_one_cycle(defaults: Defaults, options: Mapping[str, Any]) -> Defaults:
    """Drop the warm-up if the schedule is one-cycle, which has one."""
    if options.get("schedule") != "one-cycle":
        return defaults
    return {**defaults, "lr_warmup_epochs": 0}


def drop_mild_epochs_without_augmentation(defaults: Defaults, options: Mapping[str, Any]) -> Defaults:
    """Drop the mild epochs if there is no augmentation."""
    if options.get("augment", {}) is not None:
        return defaults
    return {**defaults, "mild_epochs": 0}


ADAPTATIONS: Final[tuple[Callable[[Defaults, Mapping[str, Any]], Defaults], ...]] = (
    take_settings_of_optimizer,
    shorten_to_a_third,
    leave_warmup_to_one_cycle,
    drop_mild_epochs_without_augmentation,
)
"""Adaptations of an architecture's default settings to the options given, in this order."""

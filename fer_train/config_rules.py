"""Rules across the settings of a run, and how an architecture's default settings adapt to the options given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from fer_core.errors import ConfigError

if TYPE_CHECKING:
    from fer_train.config import FitConfig

Defaults = dict[str, Any]

OPTIMIZERS: Final[dict[str, dict[str, float]]] = {
    "adam": {"lr": 3e-4, "weight_decay": 0.0},
    "adamw": {"lr": 3e-3, "weight_decay": 0.05},
    "sgd": {"lr": 0.02, "weight_decay": 5e-4},
    "muon": {"lr": 1e-2, "weight_decay": 0.05},
}
"""Optimizers with the defaults that they bring when they replace the default optimizer of an architecture."""


def require_own_arguments(config: FitConfig) -> None:
    """Refuse architecture arguments that the data determine."""
    if reserved := {"name", "mean", "std"} & set(config.architecture_arguments):
        expected = f"expected neither name, mean nor std, found {', '.join(sorted(reserved))}"
        raise ConfigError(expected, parameter="architecture_arguments")


def require_warmup_within_epochs(config: FitConfig) -> None:
    """Refuse a warm-up that is longer than training."""
    if config.lr_warmup_epochs > config.epochs:
        expected = f"expected at most the {config.epochs} epochs, found {config.lr_warmup_epochs}"
        raise ConfigError(expected, parameter="lr_warmup_epochs")


def require_mild_epochs_within_epochs(config: FitConfig) -> None:
    """Refuse more mild epochs than epochs."""
    if config.mild_epochs > config.epochs:
        expected = f"expected at most the {config.epochs} epochs, found {config.mild_epochs}"
        raise ConfigError(expected, parameter="mild_epochs")


def require_augmentation_for_mild_epochs(config: FitConfig) -> None:
    """Refuse mild epochs without augmentation."""
    if config.augment is None and config.mild_epochs:
        raise ConfigError(f"expected 0 without augmentation, found {config.mild_epochs}", parameter="mild_epochs")


def require_no_warmup_with_one_cycle(config: FitConfig) -> None:
    """Refuse a second warm-up with one-cycle, which has one."""
    if config.schedule == "one-cycle" and config.lr_warmup_epochs:
        expected = f"expected 0, since one-cycle has a warm-up, found {config.lr_warmup_epochs}"
        raise ConfigError(expected, parameter="lr_warmup_epochs")


def require_one_initialization(config: FitConfig) -> None:
    """Refuse an initialization that `initial` would overwrite."""
    for name in ("dirac", "whitening"):
        if config.initial is not None and getattr(config, name):
            raise ConfigError("cannot be combined with `initial`, which sets all weights", parameter=name)


def require_one_validation(config: FitConfig) -> None:
    """Refuse two sources of validation faces."""
    if config.hold_out is not None and config.validation is not None:
        raise ConfigError("cannot be combined with `validation`", parameter="hold_out")


def require_views_that_repeat(config: FitConfig) -> None:
    """Refuse a number of `teacher_epochs` of which no epoch would repeat one."""
    if config.distill is None or config.distill.teacher_epochs is None:
        return
    full = config.epochs - config.mild_epochs
    if config.distill.teacher_epochs >= full:
        expected = f"expected fewer than the {full} epochs before the mild ones, found {config.distill.teacher_epochs}"
        raise ConfigError(expected, parameter="teacher_epochs")


RULES: Final[tuple[Callable[[FitConfig], None], ...]] = (
    require_own_arguments,
    require_warmup_within_epochs,
    require_mild_epochs_within_epochs,
    require_augmentation_for_mild_epochs,
    require_no_warmup_with_one_cycle,
    require_one_initialization,
    require_one_validation,
    require_views_that_repeat,
)
"""Rules across settings; each raises ConfigError."""


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

"""Settings of training: rules across them, and how the defaults of an architecture adapt to options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_core import ConfigError
from fer_core.settings import settings_of
from fer_train.cli import main
from fer_train.config import AugmentConfig, DistillConfig, FitConfig
from fer_train.config.adaptations import (
    ADAPTATIONS,
    OPTIMIZERS,
    drop_mild_epochs_without_augmentation,
    leave_warmup_to_one_cycle,
    shorten_to_a_third,
    take_settings_of_optimizer,
)
from fer_train.exporting.config import ExportConfig
from fer_train.models import ARCHITECTURES

DEFAULTS: dict[str, Any] = {"epochs": 100, "optimizer": "adam", "lr_warmup_epochs": 5, "mild_epochs": 10}


@pytest.mark.parametrize("config", [FitConfig, AugmentConfig, DistillConfig, ExportConfig])
def test_every_setting_is_described_in_the_docstring(config: type) -> None:
    for name, declared in settings_of(config).items():
        assert declared.help
        assert f"{name} : " in (config.__doc__ or "")


def test_every_setting_of_a_command_is_an_option_with_its_range() -> None:
    options = {parameter.name: parameter for parameter in main.commands["fit"].params}
    for config, hidden in ((FitConfig, {"hold_out_seed", "augment", "distill"}), (AugmentConfig, {"flip"})):
        for name in set(settings_of(config)) - hidden:
            assert options[name].help  # type: ignore[attr-defined] # options have one
    assert "default: 0.0003; 0.003 for adamw, 0.02 for sgd, 0.01 for muon; above 0" in options["lr"].help  # type: ignore[attr-defined]


def test_another_optimizer_brings_its_learning_rate_and_weight_decay() -> None:
    assert take_settings_of_optimizer(DEFAULTS, {"optimizer": "sgd"}) == {**DEFAULTS, **OPTIMIZERS["sgd"]}
    for options in ({}, {"optimizer": "adam"}, {"optimizer": "unknown"}):
        assert take_settings_of_optimizer(DEFAULTS, options) == DEFAULTS


def test_warm_up_and_mild_epochs_take_at_most_a_third_of_the_epochs() -> None:
    assert shorten_to_a_third(DEFAULTS, {"epochs": 9}) == {**DEFAULTS, "lr_warmup_epochs": 3, "mild_epochs": 3}
    assert shorten_to_a_third(DEFAULTS, {}) == DEFAULTS


def test_one_cycle_has_no_other_warm_up() -> None:
    assert leave_warmup_to_one_cycle(DEFAULTS, {"schedule": "one-cycle"})["lr_warmup_epochs"] == 0
    assert leave_warmup_to_one_cycle(DEFAULTS, {"schedule": "cosine"}) == DEFAULTS


def test_without_augmentation_no_epoch_is_mild() -> None:
    assert drop_mild_epochs_without_augmentation(DEFAULTS, {"augment": None})["mild_epochs"] == 0
    assert drop_mild_epochs_without_augmentation(DEFAULTS, {"augment": {"zoom": 0.2}}) == DEFAULTS


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_the_adapted_defaults_of_every_architecture_are_valid(name: str, epochs: int) -> None:
    for options in ({}, {"augment": None}, {"schedule": "one-cycle"}, {"optimizer": "muon"}):
        config = FitConfig.of(name, epochs=epochs, **options)
        assert (config.architecture, config.epochs) == (name, epochs)
    assert len(ADAPTATIONS) == 4


def test_an_option_always_wins_over_the_defaults_of_an_architecture() -> None:
    config = FitConfig.of("compact", lr=0.5, label_smoothing=0.0, augment={"zoom": 0.3})
    assert (config.lr, config.label_smoothing, config.schedule) == (0.5, 0.0, "cosine")
    assert config.augment == AugmentConfig(rotation_degrees=12.0, zoom=0.3, erasing=0.25)


def test_a_dict_of_distillation_settings_is_enough() -> None:
    assert FitConfig.of("compact", distill={"teachers": ["a"]}).distill == DistillConfig(("a",))


def test_an_unknown_architecture_is_reported_with_all_known_ones() -> None:
    for make in (FitConfig.of, lambda name: FitConfig(architecture=name)):
        with pytest.raises(ConfigError, match=r"^architecture: expected one of course-cnn, .*, found 'best'$"):
            make("best")


def test_a_tolerance_without_an_int8_graph_is_refused() -> None:
    assert ExportConfig(int8=True, int8_tolerance=1).int8_tolerance == 1
    with pytest.raises(ConfigError, match=r"^int8_tolerance: requires `int8=True`$"):
        ExportConfig(int8_tolerance=1)


def test_the_config_of_a_run_says_how_its_data_were_read(tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = FitConfig(validation="./test", on_error="skip", input_columns={"pixels": "face"})
    config.save(tmp_path / "config.json")
    assert FitConfig.load(tmp_path / "config.json") == config
    assert json.loads((tmp_path / "config.json").read_text())["input_columns"] == {"pixels": "face"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": "3"}, "epochs: expected int, found '3'"),
        ({"epochs": None}, "epochs: expected int, found None"),
        ({"optimizer": ["sgd"]}, "optimizer: expected str, found ['sgd']"),
        ({"augment": False}, "augment: expected None, AugmentConfig or a dict of its fields, found False"),
    ],
)
def test_an_option_of_another_type_is_refused_before_defaults_adapt_to_it(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        FitConfig.of("compact", **options)
    assert str(caught.value) == message


def test_the_spelling_of_an_option_is_suggested_as_its_setting() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'ema'; did you mean 'ema_decay'"):
        FitConfig.of("compact", ema=0.9)

"""Commands take the settings of inference: the same choices, defaults and ranges, and nothing declared twice."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from fer_core import ConfigError
from fer_core.settings import settings_of
from fer_infer.cli import main
from fer_infer.config import BenchmarkConfig, EvaluationConfig, RuntimeConfig, ScoreConfig, SiteConfig

COMMANDS: dict[str, type] = {
    "score": ScoreConfig,
    "evaluate": EvaluationConfig,
    "bench": BenchmarkConfig,
    "web": SiteConfig,
}


@pytest.mark.parametrize(("command", "config"), COMMANDS.items())
def test_every_setting_is_an_option_of_its_command(command: str, config: type) -> None:
    options = {parameter.name: parameter for parameter in main.commands[command].params}
    for name, setting in settings_of(config).items():
        assert name in options, name
        if setting.choices is not None:
            kind: Any = options[name].type
            assert tuple(kind.choices) == tuple(setting.choices)
        assert options[name].default is None or name in ("split",), "the default is that of the setting"


@pytest.mark.parametrize("command", [*COMMANDS, "doctor"])
def test_every_command_shows_an_example_that_it_can_parse(command: str) -> None:
    lines = [line.strip() for line in str(main.commands[command].help).splitlines()]
    examples = [line for line in lines if line.startswith("fer-infer ")]
    assert examples
    for example in examples:
        program, name, *arguments = example.split()
        assert (program, name) == ("fer-infer", command)
        main.commands[command].make_context(name, arguments, resilient_parsing=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "gpu"}, "device: expected one of auto, cpu, cuda, found 'gpu'"),
        ({"precision": "int4"}, "precision: expected one of auto, fp32, int8, fp16, found 'int4'"),
        ({"batch_size": 0}, "batch_size: expected at least 1, found 0"),
        ({"batch_size": 2.5}, "batch_size: expected int, found 2.5"),
        ({"threads": 0}, "threads: expected at least 1, found 0"),
        ({"tta": "crop"}, "tta: expected one of none, flip, flip-shift, found 'crop'"),
        ({"on_error": "ignore"}, "on_error: expected one of fail, skip, found 'ignore'"),
        ({"limit": 0}, "limit: expected at least 1, found 0"),
        ({"columns": "all"}, "columns: expected one of id-label, probabilities, logits, found 'all'"),
    ],
)
def test_a_setting_outside_its_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        ScoreConfig(**settings)


def test_a_command_spells_the_setting_as_its_option() -> None:
    done = CliRunner().invoke(main, ["score", "a.csv", "--model", "m", "--output", "o.csv", "--batch-size", "0"])
    assert done.exit_code == 2
    assert "Invalid value for '--batch-size': expected at least 1, found 0" in done.stderr


def test_the_documentation_of_a_config_lists_inherited_settings() -> None:
    text = str(ScoreConfig.__doc__)
    for name in settings_of(RuntimeConfig):
        assert f"\n{name} : " in text
    assert "batch_size : int, at least 1, default 128" in text


def test_split_has_the_alias_of_fer2013() -> None:
    (option,) = [p for p in main.commands["evaluate"].params if isinstance(p, click.Option) and p.name == "split"]
    assert option.opts == ["--split", "--usage"]

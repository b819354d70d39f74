"""Settings declared once: what is checked, what is documented, and the options that follow."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fer_core import ConfigError
from fer_core.settings import Settings, setting
from fer_core.terminal.options import given, parse_numbers, settings_options


@dataclass(frozen=True, kw_only=True)
class WalkConfig(Settings):
    """How to walk.

    Examples
    --------
    >>> WalkConfig().steps
    64
    """

    steps: int = setting(64, "Number of steps.", at_least=1)
    speed: float = setting(1.5, "Speed in m/s.", above=0, option="--pace", metavar="M/S")
    share: float = setting(0.1, "Share of the way.", at_least=0, below=1)
    weight: float = setting(0.7, "Weight.", above=0, at_most=1)
    side: str = setting("left", "Side of the road.", choices=("left", "right"))
    stop: float | None = setting(None, "Where to stop.", at_least=0, default_text="the end")
    fast: bool = setting(False, "Run.")
    tags: tuple[str, ...] = setting((), "Tags.")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("step", "; did you mean 'steps'?"),
        ("pace", "; did you mean 'speed'?"),
        ("pacee", "; did you mean 'speed'?"),
        ("x", ""),
    ],
)
def test_a_name_that_is_no_setting_is_a_type_error_that_suggests_the_closest(name: str, hint: str) -> None:
    with pytest.raises(TypeError) as caught:
        WalkConfig(**{name: 1})
    assert str(caught.value) == f"WalkConfig() got an unexpected keyword argument {name!r}{hint}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        ({"steps": True}, "steps: expected int, found True"),
        ({"steps": 1.0}, "steps: expected int, found 1.0"),
        ({"steps": "1"}, "steps: expected int, found '1'"),
        ({"speed": 0.0}, "speed: expected above 0, found 0.0"),
        ({"speed": math.inf}, "speed: expected above 0 and finite, found inf"),
        ({"speed": math.nan}, "speed: expected above 0 and finite, found nan"),
        ({"share": 1}, "share: expected 0 to below 1, found 1"),
        ({"share": -0.1}, "share: expected 0 to below 1, found -0.1"),
        ({"weight": 0}, "weight: expected above 0 to 1, found 0"),
        ({"weight": 1.1}, "weight: expected above 0 to 1, found 1.1"),
        ({"side": "middle"}, "side: expected one of left, right, found 'middle'"),
        ({"stop": "here"}, "stop: expected float | None, found 'here'"),
        ({"stop": -1.0}, "stop: expected at least 0, found -1.0"),
        ({"fast": 1}, "fast: expected bool, found 1"),
    ],
)
def test_values_of_another_type_or_outside_the_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WalkConfig(**changed)
    assert str(caught.value) == message
    assert caught.value.parameter == next(iter(changed))


def test_values_at_the_ends_of_their_ranges_are_taken() -> None:
    walk = WalkConfig(steps=1, speed=1e-9, share=0, weight=1, side="right", stop=None, fast=True)
    assert (walk.steps, walk.share, walk.weight, walk.side, walk.fast) == (1, 0, 1, "right", True)


def test_settings_are_documented_in_the_docstring() -> None:
    assert WalkConfig.__doc__ is not None
    assert WalkConfig.__doc__.startswith(
        "How to walk.\n\nParameters\n----------\nsteps : int, at least 1, default 64\n"
    )
    assert WalkConfig.__doc__.endswith("\n\nExamples\n--------\n>>> WalkConfig().steps\n64")
    assert "side : str, one of left, right, default left\n    Side of the road.\n" in WalkConfig.__doc__
    assert "stop : float | None, at least 0, default the end\n" in WalkConfig.__doc__


@pytest.fixture
def walk() -> click.Command:
    @click.command()
    @settings_options(WalkConfig, without=("tags",))
    def walk(**options: Any) -> None:
        click.echo(repr(WalkConfig(**given(options))))

    return walk


def test_options_follow_the_settings(walk: click.Command) -> None:
    done = CliRunner().invoke(walk, ["--steps", "3", "--pace", "2.5", "--side", "right", "--fast"])
    assert done.output == repr(WalkConfig(steps=3, speed=2.5, side="right", fast=True)) + "\n"
    assert CliRunner().invoke(walk, []).output == repr(WalkConfig()) + "\n"


def test_help_states_defaults_and_ranges(walk: click.Command) -> None:
    text = " ".join(CliRunner().invoke(walk, ["--help"]).output.split())
    assert "--steps INTEGER Number of steps. [default: 64; at least 1]" in text
    assert "--pace M/S Speed in m/s. [default: 1.5; above 0]" in text
    assert "--side [left|right] Side of the road. [default: left]" in text
    assert "--stop FLOAT Where to stop. [default: the end; at least 0]" in text
    assert "--fast Run." in text
    assert "tags" not in text


def test_an_option_outside_its_range_is_wrong_usage(walk: click.Command) -> None:
    done = CliRunner().invoke(walk, ["--pace", "0"])
    assert done.exit_code == 2
    assert "Invalid value for '--pace': expected above 0, found 0.0" in done.output


def test_a_config_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("expected 1, found 2", parameter="steps")))  # noqa: S301 - our own
    assert (str(error), error.parameter, error.message) == (
        "steps: expected 1, found 2",
        "steps",
        "expected 1, found 2",
    )


@pytest.mark.parametrize(("text", "numbers"), [("3", (3,)), ("2, 17,30-32", (2, 17, 30, 31, 32)), ("5,4-6", (5, 4, 6))])
def test_numbers_and_ranges_are_parsed(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected numbers and ranges such as 2,17,30-40, found ''"),
        ("2,,3", "expected numbers and ranges such as 2,17,30-40, found ''"),
        ("-3", "expected numbers and ranges such as 2,17,30-40, found '-3'"),
        ("१", "expected numbers and ranges such as 2,17,30-40, found '१'"),
        ("9-3", "expected a range from low to high of at most 1,000,000, found '9-3'"),
        ("0-1000000", "expected a range from low to high of at most 1,000,000, found '0-1000000'"),
    ],
)
def test_anything_else_is_no_list_of_numbers(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        parse_numbers(text)
    assert caught.value.message == message

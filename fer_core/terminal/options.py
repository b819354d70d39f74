"""Options of commands: options generated from settings, and options that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from types import NoneType
from typing import Any, Final, TypeVar, get_args

import click

from fer_core.errors import ConfigError
from fer_core.io.columns import ROLES
from fer_core.io.crop import ALIGNED, FacesConfig
from fer_core.settings import SEED_LIMIT, Setting, default_text, settings_of, types_of

Command = TypeVar("Command", bound=Callable[..., Any])

MOST_NUMBERS: Final = 1_000_000
"""Maximum length of a list of numbers; a longer range is a typing error."""


def settings_options(
    config: type, *, only: Collection[str] | None = None, without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Return a decorator that gives a command one option per setting of a class.

    An option that is not given is None, see `given`. Its help, default and range are those of the setting.

    Parameters
    ----------
    config : type
        A class of `fer_core.settings.Settings`.
    only : collection of str, optional
        Names of the settings to include; all by default.
    without : collection of str
        Names of settings to leave out.
    """
    names = [name for name in settings_of(config) if (only is None or name in only) and name not in without]
    return combined(*(setting_option(config, name) for name in names))


def setting_option(config: type, name: str) -> Callable[[Command], Command]:
    """Return the option of one setting of a class."""
    declared = settings_of(config)[name]
    kind = types_of(config)[name]
    plain = next((part for part in get_args(kind) if part is not NoneType), kind)
    spelled = declared.option or f"--{name.replace('_', '-')}"
    if plain is bool:
        return click.option(spelled, name, is_flag=True, default=None, help=declared.help)
    return range_option(spelled, name, plain, declared, shown_default=default_text(config, name))


def range_option(
    spelled: str, name: str, kind: type, declared: Setting, *, default: Any = None, shown_default: str = ""
) -> Callable[[Command], Command]:
    """Return an option whose help states its default and range.

    Parameters
    ----------
    spelled, name : str
        Spelling on the command line, and name of the parameter.
    kind : type
        Type of the value.
    declared : Setting
        Help and range.
    default : object
        Value if the option is not given.
    shown_default : str
        Default in the help; `default` itself if empty.
    """
    shown = shown_default or ("" if default is None else str(default))
    options: dict[str, Any] = {"help": _help_text(declared, shown), "default": default}
    if declared.choices is not None:
        return click.option(spelled, name, type=click.Choice(list(declared.choices)), **options)
    return click.option(spelled, name, type=kind, metavar=declared.metavar, callback=_checked(declared), **options)


def combined(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that applies several; help lists their options in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given on the command line: those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _help_text(declared: Setting, default: str) -> str:
    limits = "" if declared.choices is not None else declared.range_text()
    notes = "; ".join(part for part in (f"default: {default}" if default else "", limits) if part)
    return f"{declared.help}  [{notes}]" if notes else declared.help


def _checked(declared: Setting) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def check(_: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None:
            try:
                declared.require(str(parameter.name), value)
            except ConfigError as error:
                raise click.BadParameter(error.message) from None
        return value

    return check


def parse_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers and ranges of them, both ends included.

    Returns
    -------
    tuple of int
        Numbers in the given order, without repetition.

    Raises
    ------
    click.BadParameter
        If the text has another form, a range runs backwards or has more than a million numbers.

    Examples
    --------
    >>> parse_numbers("2,17,30-32")
    (2, 17, 30, 31, 32)
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,12})(?:-(\d{1,12}))?\s*", part, re.ASCII)
        if match is None:
            raise click.BadParameter(f"expected numbers and ranges such as 2,17,30-40, found {part!r}")
        first = int(match[1])
        last = int(match[2] or match[1])
        if not first <= last < first + MOST_NUMBERS:
            raise click.BadParameter(f"expected a range from low to high of at most {MOST_NUMBERS:,}, found {part!r}")
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return tuple(numbers)


def numbers_option(spelled: str, help: str, *, metavar: str = "N,N-N") -> Callable[[Command], Command]:
    """Return an option that takes a list of numbers, see `parse_numbers`."""

    def parse(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | None:
        return None if text is None else parse_numbers(text)

    return click.option(spelled, metavar=metavar, callback=parse, help=help)


def output_option(help: str) -> Callable[[Command], Command]:
    """Return the option --output, with the given help."""
    return click.option("--output", type=click.Path(path_type=Path), required=True, help=help)


def _by_role(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        if not equals or role not in ROLES:
            raise click.BadParameter(f"expected ROLE=NAME with one of {', '.join(ROLES)}, found {pair!r}")
        if role in columns:
            raise click.BadParameter(f"expected one column of {role}, found {columns[role]!r} and {name!r}")
        columns[role] = name
    return columns


data_argument = click.argument("data", type=click.Path(path_type=Path, allow_dash=True))
model_option = click.option(
    "--model", type=click.Path(path_type=Path), required=True, help="Exports folder, or an ONNX file in one."
)
split_option = click.option(
    "--split", "--usage", metavar="SPLIT", help="Use only this split, e.g. PublicTest.  [default: all rows]"
)
limit_option = range_option(
    "--limit",
    "limit",
    int,
    Setting("Use at most the first N faces.", at_least=1, metavar="N"),
    shown_default="all faces",
)
rows_option = numbers_option("--rows", "Row numbers, e.g. 2,17,30-40; the header of a CSV is row 1.")
columns_option = click.option(
    "--column",
    "input_columns",
    multiple=True,
    metavar="ROLE=NAME",
    callback=_by_role,
    help="Read the column NAME of DATA as ROLE (pixels, label, split or id). Repeatable.  "
    "[default: known column names]",
)
faces_option = range_option("--faces", "faces", str, settings_of(FacesConfig)["faces"], default=ALIGNED)
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="For a row that cannot be read: stop, or skip the row and list it in rejects.csv.",
)
seed_option = range_option("--seed", "seed", int, Setting("Random seed.", at_least=0, at_most=SEED_LIMIT), default=0)
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")

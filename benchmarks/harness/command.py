"""Make a function a benchmark command: shared options, and errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import EXPORTS
from benchmarks.harness.report import Report
from fer_core import FerError
from fer_core.terminal.program import with_options

Decorator = Callable[[Any], Any]

data_argument: Final[Decorator] = click.argument("data", required=False, type=click.Path(exists=True, path_type=Path))
device_option: Final[Decorator] = click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Device to measure."
)
json_option: Final[Decorator] = click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save the results in FILE as well.",
)


def count_option(name: str, default: int | None, text: str) -> Decorator:
    """Return an option that takes an integer of at least 1."""
    return click.option(name, type=click.IntRange(min=1), default=default, show_default=default is not None, help=text)


def faces_option(default: int) -> Decorator:
    """Return the option `--faces`."""
    return count_option("--faces", default, "Number of faces.")


def repeats_option(default: int) -> Decorator:
    """Return the option `--repeats`."""
    return count_option("--repeats", default, "Timed runs of each way.")


def models_option(*names: str) -> Decorator:
    """Return the repeatable option `--model`, by default the shipped models of these names."""
    return click.option(
        "--model",
        "models",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        multiple=True,
        default=[EXPORTS / name for name in names],
        metavar="FOLDER",
        help=f"Exports folder; repeatable.  [default: {', '.join(names)}]",
    )


def _seeds(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    seeds = tuple(int(word) for word in words if word.isdecimal())
    if len(set(seeds)) < len(words):
        raise click.BadParameter(f"expected distinct numbers, e.g. 0,1,2, found {text!r}")
    return seeds


seeds_option: Final[Decorator] = click.option(
    "--seeds", default="0,1,2,3,4", show_default=True, callback=_seeds, help="Random seeds, separated by commas."
)


class _Command(click.Command):
    def invoke(self, ctx: click.Context) -> Any:
        """Run the benchmark; print an error that the user can fix as one line."""
        try:
            return super().invoke(ctx)
        except (FerError, OSError) as error:
            line = with_options(str(error), error, self)
            click.echo(f"{self.name}: {line}", err=True)
            raise SystemExit(1) from None


def benchmark(*options: Decorator, cuda: bool = True) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command whose help is the docstring of its module.

    Parameters
    ----------
    *options : decorator
        Further arguments and options, passed to the function by name.
    cuda : bool
        Whether the benchmark runs on a GPU as well, chosen by `--device`.

    Returns
    -------
    decorator
        The function gets a `Report` first, made from `--device` and `--json`.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def run(json_path: Path | None, device: str = "cpu", **settings: Any) -> None:
            function(Report(device, json_path), **settings)

        for option in reversed((*options, *((device_option,) if cuda else ()), json_option)):
            run = option(run)
        name = Path(sys.modules[function.__module__].__file__ or "").stem
        return click.command(name, cls=_Command, help=sys.modules[function.__module__].__doc__)(run)

    return decorate

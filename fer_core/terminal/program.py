"""Base of the three programs: a known error is printed as one line, with exit code 1 and no traceback."""

from __future__ import annotations

import ast
import errno
import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from fer_core.errors import NO_THREADS, ConfigError, FerError, FerWarning, lacks_memory, lacks_threads
from fer_core.extras import remedy
from fer_core.terminal.console import standard_streams

EXTRAS: Final = {"fer-train": "train", "fer-explain": "explain"}
"""Extra that a program needs in addition to the base installation."""
OUT_OF_MEMORY: Final = "out of memory; a smaller --batch-size or --memory-mb, if the command has one, needs less"


PARAMETER: Final = re.compile(r"`(?P<name>[a-z_][a-z_0-9]*)(?:=(?P<value>[^`]+))?`")
"""A parameter in the text of an error, with or without its value."""
COLUMN: Final = re.compile(r"`columns=\{'(?P<role>\w+)': (?P<name>'[^`]*'|\"[^`]*\")\}`")
"""The choice of a column in the text of an error."""
QUOTES: Final = "'\""

SIGNALS: Final = {"SIGTERM": "terminated", "SIGHUP": "hung up"}
"""Signals that end a program like Ctrl-C, and its last words; some systems lack one of them."""


class Program(click.Group):
    """A click group that prints errors the user can fix, Ctrl-C and the `SIGNALS` as one line on standard error.

    A leading ~ is expanded in arguments and in --option=VALUE, where shells do not expand it.
    """

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program with standard streams that always accept text."""
        with standard_streams():
            return super().main(*arguments, **options)

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """Parse the command line after expanding home folders."""
        return super().make_context(info_name, list(map(_expand_home, args)), *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _termination_cleans_up(), _warnings_as_lines(str(self.name)):
                return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            line = self._line_of(error)
            if line is None:
                raise
            line = with_options(line, error, self._command(ctx))
            click.echo(f"{self.name}: {' '.join(line.splitlines())}", err=True)
            raise SystemExit(1) from None

    def _line_of(self, error: BaseException) -> str | None:
        """Return the line to print for an error; None for bugs and for errors that click handles."""
        match error:
            case MemoryError() | RuntimeError() | OSError() if lacks_threads(error):
                return NO_THREADS
            case MemoryError() | RuntimeError():
                return OUT_OF_MEMORY if lacks_memory(error) else None
            case OSError():  # after EPIPE, click exits silently: the reader of our output is gone
                return None if error.errno == errno.EPIPE else str(error)
            case UnicodeEncodeError():  # a file name with undecodable bytes
                return f"a name is not UTF-8: {error.object!a:.200}"
            case ModuleNotFoundError() if self.name in EXTRAS:
                return remedy(error.name, EXTRAS[self.name])
            case FerError():
                return str(error)
            case KeyboardInterrupt():
                return str(error) or "interrupted"
        return None

    def _command(self, ctx: click.Context) -> click.Command | None:
        return None if ctx.invoked_subcommand is None else self.get_command(ctx, ctx.invoked_subcommand)


def with_options(line: str, error: BaseException, command: click.Command | None) -> str:
    """Return the line of an error with parameters spelled as the options of the command that failed.

    `ConfigError.parameter` and names in backticks, such as ``force=True``, are parameters. A choice of a column, such
    as ``columns={'pixels': 'face'}``, is spelled ``--column pixels=face``.
    """
    spelled = {str(p.name): p.opts[0] for p in command.params if isinstance(p, click.Option)} if command else {}

    def column(match: re.Match[str]) -> str:
        return f"{spelled['input_columns']} {match['role']}={ast.literal_eval(match['name'])}"

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name not in spelled:
            return match[0]
        return spelled[name] if value in (None, "True") else f"{spelled[name]} {value.strip(QUOTES)}"

    if "input_columns" in spelled:
        line = COLUMN.sub(column, line)
    line = PARAMETER.sub(option, line)
    if isinstance(error, ConfigError) and error.parameter in spelled:
        line = spelled[error.parameter] + line.removeprefix(error.parameter)
    return line


def _expand_home(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{os.path.expanduser(value)}" if value.startswith("~") else argument  # noqa: PTH111 - no Path


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Print each `FerWarning` once, as one line without its position in the code."""
    printed: set[str] = set()  # Python's own "once" forgets when an imported library changes a filter

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, FerWarning):
            shown(message, category, *where, **more)
        elif (line := " ".join(str(message).splitlines())) not in printed:
            printed.add(line)
            click.echo(f"{program}: {line}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", FerWarning)
        shown = warnings.showwarning
        warnings.showwarning = show
        yield


@contextmanager
def _termination_cleans_up() -> Iterator[None]:
    """Let the `SIGNALS` unwind the program like Ctrl-C, so that temporary files are removed.

    A signal that is ignored stays ignored, as `nohup` requires.
    """
    words = {getattr(signal, name): word for name, word in SIGNALS.items() if hasattr(signal, name)}

    def unwind(number: int, _: Any) -> None:
        for caught in before:
            signal.signal(caught, signal.SIG_IGN)  # a second signal must not interrupt the cleanup
        raise KeyboardInterrupt(words[number])

    if threading.current_thread() is not threading.main_thread():  # Python sets handlers only in the main thread
        yield
        return
    before = {number: signal.getsignal(number) for number in words if signal.getsignal(number) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

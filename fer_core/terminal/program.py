"""The shell around all three programs: a known error is one line and exit code 1, never a traceback."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click

from fer_core.errors import NO_THREADS, ConfigError, FerError, FerWarning, lacks_memory, lacks_threads
from fer_core.extras import remedy
from fer_core.terminal.console import standard_streams

EXTRAS: Final = {"fer-train": "train", "fer-explain": "explain"}
"""What a program needs beside the base install."""
OUT_OF_MEMORY: Final = "out of memory; fewer faces at once need less, by --batch-size or --memory-mb where there is one"


PARAMETER: Final = re.compile(r"`(?P<name>[a-z_]+)(?:=(?P<value>[^`]+))?`")
"""A parameter in the text of an error, with or without its value."""
QUOTES: Final = "'\""

SIGNALS: Final = {"SIGTERM": "terminated", "SIGHUP": "hung up"}
"""Signals that end a program as Ctrl-C does, and what it says then; not all systems have both."""


class Program(click.Group):
    """A click group that turns what a user can fix, Ctrl-C and the `SIGNALS` into one line on standard error.

    A leading ~ in an argument, or in the value of --option=VALUE where shells leave it alone, is a home folder.
    """

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program, with standard streams that never stop its work."""
        with standard_streams():
            return super().main(*arguments, **options)

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """Parse the command line, home folders expanded."""
        return super().make_context(info_name, list(map(_expand_home, args)), *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command named on the command line."""
        try:
            with _termination_cleans_up(), _warnings_as_lines(str(self.name)):
                return super().invoke(ctx)
        except FerError as error:
            self._stop(with_options(error, self._command(ctx)))
        except (MemoryError, RuntimeError) as error:
            if lacks_threads(error):
                self._stop(NO_THREADS)
            if not lacks_memory(error):
                raise
            self._stop(OUT_OF_MEMORY)
        except UnicodeEncodeError as error:  # by whatever cannot hold a name that is no text
            self._stop(f"a name is not UTF-8: {error.object!a:.200}")
        except KeyboardInterrupt as error:
            self._stop(str(error) or "interrupted")
        except ModuleNotFoundError as error:
            if self.name not in EXTRAS:
                raise
            self._stop(remedy(error.name, EXTRAS[self.name]))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends without a word where the reader of our output has gone
            self._stop(NO_THREADS if lacks_threads(error) else str(error))

    def _command(self, ctx: click.Context) -> click.Command | None:
        return None if ctx.invoked_subcommand is None else self.get_command(ctx, ctx.invoked_subcommand)

    def _stop(self, line: str) -> NoReturn:
        click.echo(f"{self.name}: {' '.join(line.splitlines())}", err=True)
        raise SystemExit(1)


def with_options(error: FerError, command: click.Command | None) -> str:
    """Return an error's message with parameters spelled as the options of the command that failed.

    `ConfigError.parameter` and names in backticks, such as ``force=True``, are parameters.
    """
    spelled = {str(p.name): p.opts[0] for p in command.params if isinstance(p, click.Option)} if command else {}

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name not in spelled:
            return match[0]
        return spelled[name] if value in (None, "True") else f"{spelled[name]} {value.strip(QUOTES)}"

    message = PARAMETER.sub(option, str(error))
    if isinstance(error, ConfigError) and error.parameter in spelled:
        message = spelled[error.parameter] + message.removeprefix(error.parameter)
    return message


def _expand_home(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{os.path.expanduser(value)}" if value.startswith("~") else argument  # noqa: PTH111 - no Path


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Print each `FerWarning` as one line, once, without the place in the code it comes from."""
    printed: set[str] = set()  # Python's own "once" forgets whenever a library that is imported changes a filter

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
    """Let the `SIGNALS` unwind the program as Ctrl-C does: by themselves they would leave temporary files behind.

    One that is ignored stays so: `nohup` means a program to outlive its terminal.
    """
    words = {getattr(signal, name): word for name, word in SIGNALS.items() if hasattr(signal, name)}

    def unwind(number: int, _: Any) -> None:
        for caught in before:
            signal.signal(caught, signal.SIG_IGN)  # a second one must not cut the cleaning up short
        raise KeyboardInterrupt(words[number])

    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody set a handler
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

"""The shell around all three programs: a known error is one line and exit code 1, never a traceback."""

from __future__ import annotations

import errno
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from fer_core.errors import FerError, FerWarning, lacks_memory
from fer_core.extras import remedy

EXTRAS: Final = {"fer-train": "train", "fer-explain": "explain"}
"""What a program needs beside the base install."""
OUT_OF_MEMORY: Final = "out of memory; fewer faces at once need less, by --batch-size or --memory-mb where there is one"


class Program(click.Group):
    """A click group that turns what a user can mend, Ctrl-C and SIGTERM into one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command named on the command line."""
        try:
            with _termination_cleans_up(), _warnings_as_lines(str(self.name)):
                return super().invoke(ctx)
        except FerError as error:
            self._stop(str(error))
        except (MemoryError, RuntimeError) as error:
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
            self._stop(str(error))

    def _stop(self, line: str) -> None:
        click.echo(f"{self.name}: {' '.join(line.splitlines())}", err=True)
        raise SystemExit(1)


@contextmanager
def _warnings_as_lines(program: str) -> Iterator[None]:
    """Print each `FerWarning` as one line, once, without the place in the code it comes from."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, FerWarning):
            click.echo(f"{program}: {' '.join(str(message).splitlines())}", err=True)
        else:
            shown(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("once", FerWarning)
        shown = warnings.showwarning
        warnings.showwarning = show
        yield


@contextmanager
def _termination_cleans_up() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does: by itself it would leave temporary files behind."""

    def unwind(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the cleaning up short
        raise KeyboardInterrupt("terminated")

    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody set a handler
        yield
        return
    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

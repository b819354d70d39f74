"""The shell around all three programs: a known error is one line and exit code 1, never a traceback."""

from __future__ import annotations

import errno
from typing import Any, Final

import click

from fer_core.errors import FerError

EXTRAS: Final = {"fer-train": "train", "fer-explain": "explain"}
"""What a program needs beside the base install."""


class Program(click.Group):
    """A click group that turns what a user can mend, and Ctrl-C, into one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command named on the command line."""
        try:
            return super().invoke(ctx)
        except FerError as error:
            self._stop(str(error))
        except MemoryError:
            self._stop("out of memory; a smaller --batch-size needs less")
        except KeyboardInterrupt:
            self._stop("interrupted")
        except ModuleNotFoundError as error:
            if self.name not in EXTRAS:
                raise
            extra = f"pip install 'fer-toolkit[{EXTRAS[self.name]}]'"
            self._stop(
                f"{error.name} is not installed; {extra}, or '.[{EXTRAS[self.name]}]' in a checkout, installs it"
            )
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends without a word where the reader of our output has gone
            self._stop(str(error))

    def _stop(self, line: str) -> None:
        click.echo(f"{self.name}: {' '.join(line.splitlines())}", err=True)
        raise SystemExit(1)

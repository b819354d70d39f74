"""The shell around all three programs: a known error is one line and exit code 1, never a traceback."""

from __future__ import annotations

import errno
from typing import Any

import click

from fer_core.errors import FerError


class Program(click.Group):
    """A click group that turns `FerError`, what the system refuses and Ctrl-C into one line on standard error."""

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
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends without a word where the reader of our output has gone
            self._stop(str(error))

    def _stop(self, line: str) -> None:
        click.echo(f"{self.name}: {' '.join(line.splitlines())}", err=True)
        raise SystemExit(1)

"""List the rejected rows of a prediction file."""

from __future__ import annotations

import csv
import errno
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from fer_core import DataError, OutputError
from fer_core.outputs.rejects import HEADER, reject_cells
from fer_core.outputs.staging import staged

NAME_BYTES: Final = 255
"""Maximum length of a file name on nearly all file systems."""
REJECTS: Final = ".rejects.csv"
"""Suffix that turns the name of a prediction file into that of its list of rejected rows."""


class RejectWriter:
    """Lists rejected rows in `OUTPUT.rejects.csv`; the file exists only if a row was rejected.

    Use it as a context manager: after an error no file is left, and at the end the file of an earlier run is replaced
    or removed, so that it never accompanies predictions of another run.

    Parameters
    ----------
    output : Path
        Prediction file.
    force : bool
        Replace or remove an existing file; without it, an existing file is an error.
    needed : bool
        Whether rows can be rejected at all.

    Attributes
    ----------
    path : Path
        File that is written if a row is rejected.
    n : int
        Number of rows listed so far.
    """

    def __init__(self, output: Path, *, force: bool, needed: bool = True) -> None:
        self.path = output.with_name(f"{output.name}{REJECTS}")
        self.n = 0
        self._output = output
        self._force = force
        self._needed = needed
        self._stack = ExitStack()
        self._lines: Any = None
        self._stale = False

    def __enter__(self) -> RejectWriter:
        try:
            self.path.lstat()
            self._stale = True
        except FileNotFoundError:
            self._stale = False
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error
            if self._needed:
                expected = f"expected a name of at most {NAME_BYTES - len(REJECTS)} bytes"
                why = f"so that the list of rejected rows can be named OUTPUT{REJECTS}"
                raise OutputError(f"{self._output}: {expected}, {why}") from error
        if self._stale and not self._force:
            raise OutputError(f"{self.path}: exists already; `force=True` replaces it")
        return self

    def write(self, rejected: Sequence[DataError]) -> None:
        """List rejected rows with their error messages."""
        if rejected and self._lines is None:
            stage = self._stack.enter_context(staged(self.path, force=self._force))
            file = self._stack.enter_context(stage.open("w", encoding="utf-8", errors="backslashreplace", newline=""))
            self._lines = csv.writer(file, lineterminator="\n")
            self._lines.writerow(HEADER)
        for error in rejected:
            self._lines.writerow(reject_cells(error))
            self.n += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
        if error[0] is None and self.n == 0 and self._stale:
            self.path.unlink(missing_ok=True)

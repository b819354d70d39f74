"""Standard streams that are missing, closed, foreign or of a narrow encoding, which must not stop finished work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fer_core.errors import FerError

DESCRIPTORS: Final = (0, 1, 2)
LENIENT: Final = "backslashreplace"
"""How letters are written that the encoding of a stream lacks."""


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal; one that is missing or cannot say so is not."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream or not quite one, or a closed one
        return False


def say(line: str) -> None:
    """Write a line to standard error, or nothing where that is missing or takes no more."""
    stream = Stream(sys.stderr, "standard error")
    stream.write(f"{line}\n")
    stream.flush()


class Stream:
    """A standard stream that can always be written to.

    Letters that its encoding lacks are escaped. Lines are lost where there is no stream, and on standard error also
    where it cannot be written. On standard output that is an error.

    Parameters
    ----------
    stream : object
        Anything with a `write`, or None.
    name : {"standard output", "standard error"}
        What errors call it.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        """Write text; raise FerError where standard output cannot be written."""
        if not isinstance(text, str):
            raise TypeError(f"expected str, found {type(text).__name__}")
        if text and self._stream is not None:
            with self._failures_named():
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    encoding = getattr(self._stream, "encoding", None) or "ascii"
                    self._stream.write(text.encode(encoding, LENIENT).decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Pass on what was written; raise FerError where standard output cannot be written."""
        if hasattr(self._stream, "flush"):
            with self._failures_named():
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return is_terminal(self._stream)

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # not yet there, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self._stream, name)

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a ValueError: a closed file
            code = getattr(error, "errno", None)
            if self._name != "standard error":
                if code == errno.EPIPE:
                    raise  # click ends without a word where the reader of our output has gone
                raise FerError(
                    f"{self._name}: cannot be written: {getattr(error, 'strerror', None) or error}"
                ) from error


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` writable whatever they are, and their descriptors nobody else's."""
    _occupy_descriptors()
    before = sys.stdout, sys.stderr
    output, error = (_lenient(*stream) for stream in zip(before, ("standard output", "standard error"), strict=True))
    sys.stdout, sys.stderr = output, error
    try:
        yield
    finally:
        # click puts another stream there when the reader of our output has gone
        if sys.stdout is output:
            sys.stdout = before[0]
        if sys.stderr is error:
            sys.stderr = before[1]


def _occupy_descriptors() -> None:
    """Open the null device where a standard descriptor is closed: the next file would get its number.

    Native libraries write their messages to descriptor 2, and would write them into that file.
    """
    for descriptor in DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one


def _lenient(stream: Any, name: str) -> Any:
    if stream is None or getattr(stream, "closed", False):
        stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    return Stream(stream, name)

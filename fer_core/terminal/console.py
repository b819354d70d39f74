"""Standard streams that always accept text, even if they are missing, closed or have a narrow encoding."""

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
"""Error handler for characters that the encoding of a stream lacks."""


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, not a real stream, or closed
        return False


def say(line: str) -> None:
    """Write a line to standard error; do nothing if that is not possible."""
    stream = Stream(sys.stderr, "standard error")
    stream.write(f"{line}\n")
    stream.flush()


class Stream:
    """A standard stream that can always be written to.

    Characters that its encoding lacks are escaped. Text is discarded if there is no stream, or if standard error cannot
    be written. Standard output that cannot be written is an error.

    Parameters
    ----------
    stream : object
        Object with a method `write`, or None.
    name : {"standard output", "standard error"}
        Name of the stream in errors.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        """Write text; raise FerError if standard output cannot be written."""
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
        """Flush the stream; raise FerError if standard output cannot be written."""
        if hasattr(self._stream, "flush"):
            with self._failures_named():
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return is_terminal(self._stream)

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # not set yet, as in a copy
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
                    raise  # click exits silently if the reader of our output is gone
                raise FerError(
                    f"{self._name}: cannot be written: {getattr(error, 'strerror', None) or error}"
                ) from error


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` writable, and reserve the standard descriptors."""
    _occupy_descriptors()
    before = sys.stdout, sys.stderr
    output, error = (_lenient(*stream) for stream in zip(before, ("standard output", "standard error"), strict=True))
    sys.stdout, sys.stderr = output, error
    try:
        yield
    finally:
        # click replaces the streams if the reader of our output is gone
        if sys.stdout is output:
            sys.stdout = before[0]
        if sys.stderr is error:
            sys.stderr = before[1]


def _occupy_descriptors() -> None:
    """Open the null device for closed standard descriptors, which the next opened file would get.

    Native libraries write messages to descriptor 2, and would write them into that file.
    """
    for descriptor in DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, which is this one


def _lenient(stream: Any, name: str) -> Any:
    if stream is None or getattr(stream, "closed", False):
        stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    return Stream(stream, name)

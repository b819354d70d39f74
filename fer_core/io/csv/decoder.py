"""Choice of the decoder of CSV lines: NumPy for short inputs, compiled code for long ones.

Importing Numba and loading its compiled code takes 0.6 CPU seconds and 120 MB per process; compiling it once after
installation takes 2.5 seconds more. The compiled code decodes 2 GB/s and NumPy 0.4 GB/s, so it pays off from
`KERNEL_BYTES` on. If the size of a file is known, the code is loaded near its beginning; if not, as for a pipe, after
that many bytes were decoded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import CacheWarning
from fer_core.io.csv import vectors as csv_vectors

KERNEL_BYTES: Final = 300_000_000
"""Number of bytes from which on the compiled decoder saves more time than loading it takes."""

DecodeLines = Callable[[NDArray[np.uint8], int, int, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]], Any]


class _Choice:
    """The decoder of this process, shared by its threads."""

    def __init__(self) -> None:
        self.compiled: DecodeLines | None = None
        self._failed = False
        self._lock = Lock()
        self._n_decoded = 0

    def count(self, n_bytes: int) -> None:
        """Count decoded bytes, and load the compiled decoder once it pays off."""
        self._n_decoded += n_bytes
        if self._n_decoded >= KERNEL_BYTES:
            self.load(wait=False)

    def load(self, *, wait: bool) -> None:
        """Load the compiled decoder once; without `wait`, a thread continues while another one loads it."""
        if self.compiled is not None or self._failed or not self._lock.acquire(blocking=wait):
            return
        try:
            if self.compiled is None and not self._failed:
                from fer_core.io.csv.kernel import decode_lines

                self.compiled = decode_lines
        except Exception as error:  # Numba may fail to import or to compile on this machine
            self._failed = True
            message = (
                f"the compiled CSV decoder cannot be loaded ({type(error).__name__}: {error}); NumPy decodes instead"
            )
            warnings.warn(message, CacheWarning, stacklevel=2)
        finally:
            self._lock.release()


_choice = _Choice()


def expect(n_bytes: int) -> None:
    """Announce the size of a file, so that a long one is decoded by compiled code from its beginning."""
    if n_bytes >= KERNEL_BYTES:
        _choice.load(wait=False)


def load_compiled_decoder() -> bool:
    """Load the compiled decoder now; return whether it works on this machine."""
    _choice.load(wait=True)
    return _choice.compiled is not None


def decode_lines(
    text: bytearray,
    position: int,
    size: int,
    kinds: NDArray[np.int64],
    table: NDArray[np.int64],
    images: NDArray[np.uint8],
    separator: bytes = b" ",
) -> tuple[int, int]:
    """Decode lines with the chosen decoder; see `fer_core.io.csv.lines`.

    Parameters
    ----------
    separator : bytes
        Byte between two pixels. The compiled decoder supports only the space.
    """
    if separator == b" ":
        _choice.count(size - position)
        if _choice.compiled is not None:
            lines, end = _choice.compiled(np.frombuffer(text, np.uint8), position, size, kinds, table, images)
            return int(lines), int(end)
    return csv_vectors.decode_lines(text, position, size, kinds, table, images, separator)

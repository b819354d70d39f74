"""Which decoder of CSV lines runs: NumPy at first, compiled code once the text of this process is long enough to pay.

Importing Numba and loading its compiled code takes 0.6 CPU seconds and 120 MB in each process, and compiling it once
after an installation 2.5 seconds more. The code then decodes 2 GB/s, NumPy 0.4 GB/s, so it pays from `KERNEL_BYTES` on.
Where that much text is known to come, the code is loaded soon; where the length is unknown, as that of a pipe, once so
much has been decoded.
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
"""Text from which on loading the compiled decoder costs less than decoding without it."""

DecodeLines = Callable[[NDArray[np.uint8], int, int, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]], Any]


class _Choice:
    """The decoder of this process, shared by its threads."""

    def __init__(self) -> None:
        self.compiled: DecodeLines | None = None
        self._failed = False
        self._lock = Lock()
        self._n_decoded = 0

    def count(self, n_bytes: int) -> None:
        """Note that so much text was decoded, or is about to be, and load the compiled decoder where that pays."""
        self._n_decoded += n_bytes
        if self._n_decoded >= KERNEL_BYTES:
            self.load(wait=False)

    def load(self, *, wait: bool) -> None:
        """Load the compiled decoder, once; a thread that does not wait goes on without it while another one loads."""
        if self.compiled is not None or self._failed or not self._lock.acquire(blocking=wait):
            return
        try:
            if self.compiled is None and not self._failed:
                from fer_core.io.csv.kernel import decode_lines

                self.compiled = decode_lines
        except Exception as error:  # Numba does not run here; NumPy does
            self._failed = True
            message = (
                f"the compiled CSV decoder cannot be loaded ({type(error).__name__}: {error}); NumPy decodes instead"
            )
            warnings.warn(message, CacheWarning, stacklevel=2)
        finally:
            self._lock.release()


_choice = _Choice()


def expect(n_bytes: int) -> None:
    """Announce the text of a file whose size is known, so that a long one is decoded by compiled code throughout."""
    if n_bytes >= KERNEL_BYTES:
        _choice.load(wait=False)


def load_compiled_decoder() -> bool:
    """Load the compiled decoder now, for a process that will read much; return whether it runs here."""
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
    """Decode lines with whichever decoder is the fastest; see `fer_core.io.csv.lines`.

    Parameters
    ----------
    separator : bytes
        The byte between two pixels. The compiled decoder knows the space only.
    """
    if separator == b" ":
        _choice.count(size - position)
        if _choice.compiled is not None:
            lines, end = _choice.compiled(np.frombuffer(text, np.uint8), position, size, kinds, table, images)
            return int(lines), int(end)
    return csv_vectors.decode_lines(text, position, size, kinds, table, images, separator)

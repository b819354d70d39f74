"""From the text of one pixel cell to 2,304 gray levels: the one place where digits become numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fer_core.expressions import PIXELS

EXPECTED = f"expected {PIXELS} integers in 0..255"


@cache
def _compiled() -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool]:
    # Numba takes 0.3 s to import, which no `--help` should pay; the machine code is cached on disk.
    from numba import boolean, njit, types, uint8

    signature = boolean(types.Array(uint8, 1, "C", readonly=True), uint8[::1])
    compiled: Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool]
    try:
        compiled = njit(signature, cache=True, nogil=True)(_decode)
    except (OSError, RuntimeError):
        # Nowhere to keep it, as in a read-only installation or on a full disk: compiled anew in each process.
        compiled = njit(signature, nogil=True)(_decode)
    return compiled


def _decode(text: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> bool:
    start, end = 0, len(text)
    while start < end and text[start] == 32:
        start += 1
    while end > start and text[end - 1] == 32:
        end -= 1
    count, value, digits = 0, 0, 0
    for i in range(start, end + 1):
        if i < end and text[i] != 32:
            if text[i] < 48 or text[i] > 57:
                return False
            value = value * 10 + int(text[i]) - 48
            digits += 1
        else:
            if digits == 0 or digits > 3 or value > 255 or count == pixels.size:
                return False
            pixels[count] = value
            count, value, digits = count + 1, 0, 0
    return count == pixels.size


def decode_face(text: bytes, pixels: NDArray[np.uint8]) -> bool:
    """Decode one pixel cell.

    A face is exactly 2,304 decimal integers in 0..255 of one to three digits, separated by single spaces;
    spaces before the first and after the last are tolerated, nothing else is.

    Parameters
    ----------
    text : bytes
        The cell without its quotes.
    pixels : ndarray of uint8, shape (2304,), C-contiguous
        Where the gray levels go, row by row. Undefined after a refusal.

    Returns
    -------
    bool
        Whether `text` was a face; `explain` says why it was not.
    """
    return _compiled()(np.frombuffer(text, np.uint8), pixels)


def explain(text: bytes) -> str:
    """Say in one line what was expected of a pixel cell that `decode_face` refused, and what was found."""
    tokens = text.strip(b" ").split(b" ")
    if tokens == [b""]:
        return f"{EXPECTED}, found an empty cell"
    for position, token in enumerate(tokens, start=1):
        if not token:
            return f"{EXPECTED} separated by single spaces, found two spaces after value {position - 1}"
        if not re.fullmatch(rb"[0-9]{1,3}", token) or int(token) > 255:
            shown = token.decode("utf-8", "replace")
            shown = shown if len(shown) <= 12 else shown[:12] + "..."
            return f"{EXPECTED}, found {shown!r} as value {position}"
    return f"{EXPECTED}, found {len(tokens)}"

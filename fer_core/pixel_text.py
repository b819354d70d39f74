"""What the text of a face is, by its grammar: slow, plain, and the judge of what the compiled decoder passes on."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core.expressions import PIXELS

EXPECTED: Final = f"expected {PIXELS} integers in 0..255"
_GRAMMAR: Final = re.compile(rb" *[0-9]{1,3}(?: [0-9]{1,3}){%d} *" % (PIXELS - 1))
_VALUE: Final = re.compile(rb"[01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5]")


def decode_face(text: bytes, pixels: NDArray[np.uint8]) -> bool:
    """Decode one pixel cell.

    A face is exactly 2,304 decimal integers in 0..255 of one to three digits, separated by single spaces;
    spaces before the first and after the last are tolerated, nothing else is.

    Parameters
    ----------
    text : bytes
        The cell without its quotes.
    pixels : ndarray of uint8, shape (2304,)
        Where the gray levels go, row by row; unchanged after a refusal.

    Returns
    -------
    bool
        Whether `text` was a face; `explain` says why it was not.
    """
    if not _GRAMMAR.fullmatch(text):
        return False
    values = list(map(int, text.split()))
    if max(values) > 255:
        return False
    pixels[:] = values
    return True


def explain(text: bytes) -> str:
    """Say in one line what was expected of a pixel cell that `decode_face` refused, and what was found."""
    tokens = text.strip(b" ").split(b" ")
    if tokens == [b""]:
        return f"{EXPECTED}, found an empty cell"
    for position, token in enumerate(tokens, start=1):
        if not token:
            return f"{EXPECTED} separated by single spaces, found two spaces after value {position - 1}"
        if not _VALUE.fullmatch(token):
            shown = token.decode("utf-8", "replace")
            shown = shown if len(shown) <= 12 else shown[:12] + "..."
            return f"{EXPECTED}, found {shown!r} as value {position}"
    return f"{EXPECTED}, found {len(tokens)}"

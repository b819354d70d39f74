"""Grammar of the text of a face: normalize accepted forms, and explain why others are refused."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import shorten
from fer_core.fer2013 import PIXELS
from fer_core.io.csv.vectors import decode_faces

EXPECTED: Final = f"expected {PIXELS} integers in 0..255"
EXPECTED_VALUE: Final = "expected an integer in 0..255"

_BLANKS: Final = b" \t"
_OTHER_BLANKS: Final = (b"\n", b"\r", b"\v", b"\f")
"""Bytes that `bytes.split` treats as blanks, but the grammar does not."""
_ZERO_FRACTION: Final = re.compile(rb"(?<=[0-9])\.0*(?= )")
_VALUE: Final = re.compile(rb"(?:[01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5])(?:\.0*)?")


def decode_face(text: bytes, pixels: NDArray[np.uint8]) -> bool:
    """Decode one pixel cell.

    A face is exactly 2,304 integers in 0..255 of one to three digits, separated by spaces or tabs, or by one comma with
    optional blanks around it. A number may end in a point or in a point and zeros (`121.0`), the whole text may be
    enclosed in square brackets, and blanks around it are ignored.

    Parameters
    ----------
    text : bytes
        The cell without its quotes.
    pixels : ndarray of uint8, shape (2304,)
        Receives the gray levels, row by row; undefined if the text is refused.

    Returns
    -------
    bool
        Whether `text` is a face; `explain` states why it is not.
    """
    plain = _plain_form(text)
    return plain is not None and bool(decode_faces([plain], pixels[None])[0])


def explain(text: bytes) -> str:
    """Return the error message for a pixel cell that `decode_face` refused."""
    text = _without_brackets(text)
    if not text:
        return f"{EXPECTED}, found an empty cell"
    tokens = [token.strip(_BLANKS) for token in text.split(b",")] if b"," in text else re.split(rb"[ \t]+", text)
    for position, token in enumerate(tokens, start=1):
        if not _VALUE.fullmatch(token):
            return f"{EXPECTED}, found {_shown(token)} as value {position}"
    return f"{EXPECTED}, found {len(tokens)}"


def explain_value(text: bytes) -> str | None:
    """Return the error message for a cell of one pixel; None if it is a gray level."""
    text = text.strip(_BLANKS)
    return None if _VALUE.fullmatch(text) else f"{EXPECTED_VALUE}, found {_shown(text)}"


def _plain_form(text: bytes) -> bytes | None:
    """Return the values of a cell separated by single spaces, or None if the separators are wrong."""
    text = _without_brackets(text)
    commas = text.count(b",")
    if commas:
        squeezed = text.translate(None, _BLANKS)
        if b",," in squeezed or squeezed.startswith(b",") or squeezed.endswith(b","):  # an empty value
            return None
        text = text.replace(b",", b" ")
    if any(blank in text for blank in _OTHER_BLANKS):
        return None
    values = text.split()
    if commas and commas != len(values) - 1:  # two values have no comma between them
        return None
    plain = b" ".join(values)
    if b"." in plain:
        short = (plain + b" ").replace(b".0 ", b" ")
        plain = (_ZERO_FRACTION.sub(b"", plain + b" ") if b"." in short else short)[:-1]
    return plain


def _without_brackets(text: bytes) -> bytes:
    text = text.strip(_BLANKS)
    return text[1:-1].strip(_BLANKS) if text[:1] == b"[" and text[-1:] == b"]" and len(text) > 1 else text


def _shown(token: bytes) -> str:
    return shorten(token.decode("utf-8", "replace"), 12)

"""Decode CSV lines to gray levels with NumPy: the decoder of short files, which needs no compilation.

The pixel cells of several lines are joined to one text. Every step is an operation on all bytes at once: for each byte,
the number that ends there is computed, as if it were the last digit of a value; the values are then taken at the bytes
before the separators.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import local
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.fer2013 import PIXELS
from fer_core.io.csv.lines import (
    CELL_END,
    CELL_START,
    END,
    GOOD,
    LONGEST,
    MAX_LINE_BYTES,
    OTHER_CELL,
    PIXEL_CELL,
    SHORTEST,
    START,
)

GROUP: Final = 16
"""Number of lines decoded at once: enough to amortize calls of NumPy, few enough for the cache."""

_PLAIN: Final = re.compile(rb"[ !#-+\--~]*")
"""Printable ASCII without quotes and commas."""

_of_thread = local()
"""Memory that is reused for the next block; allocating it again would take a third of the time."""

_NO_DIGITS: Final = b"::"
"""Prefix of the text, so that two bytes precede every byte of it."""


def decode_lines(
    text: bytes | bytearray,
    position: int,
    size: int,
    kinds: NDArray[np.int64],
    table: NDArray[np.int64],
    images: NDArray[np.uint8],
    separator: bytes = b" ",
) -> tuple[int, int]:
    """Decode lines until the text or the table ends; see `fer_core.io.csv.lines`.

    Parameters
    ----------
    separator : bytes
        Byte between two pixels: a space, or a comma in a file with one column per pixel.
    """
    left, right = _sides(kinds)
    lines: list[tuple[int, int]] = []
    chosen: list[tuple[int, ...]] = []
    while position < size and len(lines) < len(table):
        start, end = position, text.index(b"\n", position)
        position = end + 1
        cells = _split(text, start, end, left, right, quoted=separator != b",")
        if cells is not None:
            chosen.append((len(lines), *cells))
        lines.append((start, end))
    n = len(lines)
    table[:n, [START, END]] = np.array(lines, np.int64).reshape(-1, 2)
    table[:n, GOOD] = 0
    if not chosen:
        return n, position
    columns = [
        CELL_START,
        CELL_END,
        *(column for kind in left + right if kind != OTHER_CELL for column in _bounds(kind)),
    ]
    found = np.array(chosen, np.int64)
    rows = found[:, 0]
    table[rows[:, None], columns] = found[:, 1:]
    if not hasattr(_of_thread, "scratch"):
        _of_thread.scratch = _Scratch(len(_NO_DIGITS) + 1 + GROUP * (LONGEST + 1))
    scratch = _of_thread.scratch
    for first in range(0, len(chosen), GROUP):
        group = rows[first : first + GROUP]
        cells_of_group = [text[start:end] for _, start, end, *_ in chosen[first : first + GROUP]]
        if group[-1] - group[0] == len(group) - 1:
            table[group, GOOD] = decode_faces(cells_of_group, images[group[0] : group[-1] + 1], separator, scratch)
        else:
            decoded = np.empty((len(group), PIXELS), np.uint8)
            table[group, GOOD] = decode_faces(cells_of_group, decoded, separator, scratch)
            images[group] = decoded
    return n, position


def decode_faces(
    cells: Sequence[bytes | bytearray],
    images: NDArray[np.uint8],
    separator: bytes = b" ",
    scratch: _Scratch | None = None,
) -> NDArray[np.bool_]:
    """Decode pixel cells in the plain form: 2,304 values of one to three digits, with one separator between two.

    Parameters
    ----------
    cells : sequence of bytes
        The cells, without spaces around them.
    images : ndarray of uint8, shape (N, 2304)
        Filled for valid cells; undefined for others.
    separator : bytes
        Byte between two values.
    scratch : _Scratch, optional
        Working memory, large enough for the text of all cells.

    Returns
    -------
    ndarray of bool, shape (N,)
        Mask of the valid cells.
    """
    scratch = scratch or _Scratch(_text_length(cells))
    if _decode_all(cells, images, separator, scratch):
        return np.ones(len(cells), np.bool_)
    if len(cells) == 1:
        return np.zeros(1, np.bool_)
    half = len(cells) // 2
    first = decode_faces(cells[:half], images[:half], separator, scratch)
    return np.concatenate([first, decode_faces(cells[half:], images[half:], separator, scratch)])


class _Scratch:
    """Arrays for a text of at most `size` bytes, reused for each group of lines."""

    def __init__(self, size: int) -> None:
        self._numbers = np.empty((3, size), np.uint8)
        self._truths = np.empty((3, size), np.bool_)

    def cut(self, size: int) -> tuple[Any, ...]:
        """Return three arrays of uint8 and three of bool."""
        return *self._numbers[:, :size], *self._truths[:, :size]


def _text_length(cells: Sequence[bytes | bytearray]) -> int:
    return len(_NO_DIGITS) + 1 + sum(map(len, cells)) + len(cells)


def _decode_all(
    cells: Sequence[bytes | bytearray], images: NDArray[np.uint8], separator: bytes, scratch: _Scratch
) -> bool:
    """Decode cells into `images`; return False if any of them is invalid."""
    text = np.frombuffer(separator.join([_NO_DIGITS, *cells, b""]), np.uint8)
    ones, tens, values, is_digit, is_separator, wrong = scratch.cut(len(text))
    np.equal(text, separator[0], out=is_separator)
    ends = np.flatnonzero(is_separator)[1:]
    if len(ends) != PIXELS * len(cells):
        return False
    lengths = np.fromiter(map(len, cells), np.int64, len(cells))
    if not np.array_equal(ends[PIXELS - 1 :: PIXELS], (lengths + 1).cumsum() + len(_NO_DIGITS)):
        return False
    np.subtract(text, ord("0"), out=ones)
    np.less_equal(ones, 9, out=is_digit)
    if np.count_nonzero(is_digit) + len(ends) + len(_NO_DIGITS) + 1 != len(text):
        return False
    np.logical_and(is_separator[1:], is_separator[:-1], out=wrong[1:])
    if wrong[1:].any():  # an empty value
        return False
    np.logical_and(is_digit[1:], is_digit[:-1], out=wrong[1:])
    np.logical_and(wrong[3:], wrong[1:-2], out=is_separator[3:])
    if is_separator[3:].any():  # a value of four digits
        return False
    digit = is_digit.view(np.uint8)
    np.multiply(ones, digit, out=ones)
    tens[0] = values[0] = 0
    np.multiply(ones[:-1], digit[1:], out=tens[1:])  # the digit before, within the same value
    np.multiply(tens[:-1], digit[1:], out=values[1:])  # and the one before that
    if values.max() > 2:
        return False
    np.multiply(tens, 10, out=tens)
    np.add(tens, ones, out=tens)
    np.multiply(values, 100, out=values)
    np.add(values, tens, out=values)
    np.less(values, tens, out=wrong)
    if wrong.any():  # over 255, and wrapped around
        return False
    ends -= 1
    np.take(values, ends, out=images.reshape(-1), mode="clip")
    return True


def _sides(kinds: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Return the kinds of the columns left of the pixels, and right of them in reverse order."""
    kinds_list = kinds.tolist()
    place = kinds_list.index(PIXEL_CELL)
    return kinds_list[:place], kinds_list[:place:-1]


def _bounds(kind: int) -> tuple[int, int]:
    return CELL_START + 2 * kind, CELL_END + 2 * kind


def _split(
    text: bytes | bytearray, start: int, end: int, left: list[int], right: list[int], *, quoted: bool
) -> tuple[int, ...] | None:
    """Return the bounds of the pixel cell and the other cells of a line, or None unless commas suffice to split it."""
    if end - start >= MAX_LINE_BYTES:
        return None
    while end > start and text[end - 1] == 13:
        end -= 1
    bounds: list[int] = []
    for kind in left:
        comma = text.find(b",", start, end)
        if comma < 0 or _PLAIN.fullmatch(text, start, comma) is None:
            return None
        if kind != OTHER_CELL:
            bounds += _stripped(text, start, comma)
        start = comma + 1
    for kind in right:
        comma = text.rfind(b",", start, end)
        if comma < 0 or _PLAIN.fullmatch(text, comma + 1, end) is None:
            return None
        if kind != OTHER_CELL:
            bounds += _stripped(text, comma + 1, end)
        end = comma
    if quoted and end - start >= 2 and text[start] == text[end - 1] == 34:
        start, end = start + 1, end - 1
    start, end = _stripped(text, start, end)
    return (start, end, *bounds) if SHORTEST <= end - start <= LONGEST else None


def _stripped(text: bytes | bytearray, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] == 32:
        start += 1
    while end > start and text[end - 1] == 32:
        end -= 1
    return start, end

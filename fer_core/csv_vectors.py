"""CSV lines to gray levels with NumPy: the decoder of short files, which compiles and loads nothing.

The pixel cells of some lines are joined to one text. Every step is an operation on all of its bytes at once: each byte
becomes the number that ends there, as if it were the last digit of a value, and the values are then picked out at the
bytes before the separators.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core.csv_lines import (
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
from fer_core.expressions import PIXELS

GROUP: Final = 16
"""Lines decoded at once: enough that calls of NumPy do not count, few enough that all arrays stay in the cache."""

_PLAIN: Final = re.compile(rb"[ !#-+\--~]*")
"""Printable ASCII without quotes and commas."""

_NOTHING: Final = b"   "
"""Written before the text, so that its first values have digits before them like all others."""


def decode_lines(
    text: NDArray[np.uint8],
    position: int,
    size: int,
    kinds: NDArray[np.int64],
    table: NDArray[np.int64],
    images: NDArray[np.uint8],
    separator: bytes = b" ",
) -> tuple[int, int]:
    """Decode lines until the text or the table ends; see `fer_core.csv_lines`.

    Parameters
    ----------
    separator : bytes
        The byte between two pixels: a space, or a comma in a file with one column per pixel.
    """
    block = text[:size].tobytes()
    left, right = _sides(kinds)
    lines: list[tuple[int, int]] = []
    chosen: list[tuple[int, ...]] = []
    while position < size and len(lines) < len(table):
        start, end = position, block.index(b"\n", position)
        position = end + 1
        cells = _split(block, start, end, left, right, quoted=separator != b",")
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
    for first in range(0, len(chosen), GROUP):
        group = rows[first : first + GROUP]
        cells_of_group = [block[start:end] for _, start, end, *_ in chosen[first : first + GROUP]]
        if group[-1] - group[0] == len(group) - 1:
            table[group, GOOD] = decode_faces(cells_of_group, images[group[0] : group[-1] + 1], separator)
        else:
            decoded = np.empty((len(group), PIXELS), np.uint8)
            table[group, GOOD] = decode_faces(cells_of_group, decoded, separator)
            images[group] = decoded
    return n, position


def decode_faces(cells: Sequence[bytes], images: NDArray[np.uint8], separator: bytes = b" ") -> NDArray[np.bool_]:
    """Decode pixel cells in the plain form: 2,304 values of one to three digits, with one separator between two.

    Parameters
    ----------
    cells : sequence of bytes
        The cells, without spaces around them.
    images : ndarray of uint8, shape (N, 2304)
        Filled where a cell is good; undefined elsewhere.
    separator : bytes
        The byte between two values.

    Returns
    -------
    ndarray of bool, shape (N,)
        Which cells are good.
    """
    if _decode_all(cells, images, separator):
        return np.ones(len(cells), np.bool_)
    if len(cells) == 1:
        return np.zeros(1, np.bool_)
    half = len(cells) // 2
    return np.concatenate(
        [decode_faces(cells[:half], images[:half], separator), decode_faces(cells[half:], images[half:], separator)]
    )


def _decode_all(cells: Sequence[bytes], images: NDArray[np.uint8], separator: bytes) -> bool:
    """Decode cells into `images`; return False if any of them is not good."""
    text = np.frombuffer(b"".join((_NOTHING, separator.join(cells), separator)), np.uint8)
    is_separator = text == separator[0]
    is_separator[: len(_NOTHING)] = False
    ends = np.flatnonzero(is_separator)
    lengths = np.fromiter(map(len, cells), np.int64, len(cells))
    if len(ends) != PIXELS * len(cells) or not np.array_equal(
        ends[PIXELS - 1 :: PIXELS], (lengths + 1).cumsum() + (len(_NOTHING) - 1)
    ):
        return False
    digits = text - np.uint8(ord("0"))
    is_digit = (digits <= 9).view(np.uint8)
    if np.count_nonzero(is_digit) + len(ends) + len(_NOTHING) != len(text):
        return False
    two_digits = is_digit[1:] & is_digit[:-1]
    empty = is_separator[1:] & is_separator[:-1]
    if empty.any() or is_separator[len(_NOTHING)] or (two_digits[2:] & two_digits[:-2]).any():
        return False
    ones = digits * is_digit
    tens = ones[:-1] * is_digit[1:]
    hundreds = tens[:-1] * is_digit[2:]
    if hundreds.max(initial=0) > 2:
        return False
    rest = tens[1:] * np.uint8(10)
    rest += ones[2:]
    values = hundreds * np.uint8(100)
    values += rest
    if (values < rest).any():  # over 255, and wrapped around
        return False
    # the value that ends before a separator at p is values[p - 1 - 2]
    np.take(values, ends - 3, out=images.reshape(-1), mode="clip")
    return True


def _sides(kinds: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Return the kinds of the columns left of the pixels, and of those right of them from the last one on."""
    kinds_list = kinds.tolist()
    place = kinds_list.index(PIXEL_CELL)
    return kinds_list[:place], kinds_list[:place:-1]


def _bounds(kind: int) -> tuple[int, int]:
    return CELL_START + 2 * kind, CELL_END + 2 * kind


def _split(
    text: bytes, start: int, end: int, left: list[int], right: list[int], *, quoted: bool
) -> tuple[int, ...] | None:
    """Return the bounds of the pixel cell and of the other cells of a line, or None where it takes more than commas."""
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


def _stripped(text: bytes, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] == 32:
        start += 1
    while end > start and text[end - 1] == 32:
        end -= 1
    return start, end

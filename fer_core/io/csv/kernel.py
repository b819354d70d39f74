"""Decode CSV lines to gray levels with compiled SIMD code: the decoder of long files.

A pixel has one to three digits, so a loop that branches on their number mispredicts about every other value. This
code does not branch on values: it loads sixteen bytes, compares them with "0" at once, and looks up the pattern of
separators in a table of the 81 layouts of four values. The table states how to shuffle the bytes so that the four bytes
of a word contain the hundreds, tens, ones and separator of a value (as in the vectorized parsers of W. Mula and
D. Lemire). Since each step depends on the previous one, four faces are decoded at a time. A second loop, which the
compiler vectorizes, checks the words and computes the values.

Importing this module compiles it, or loads it from Numba's cache on disk.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from llvmlite import ir
from numba import int64, njit, types, uint8, uint32, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

from fer_core import fer2013 as expressions
from fer_core.fer2013 import PIXELS
from fer_core.io.csv import lines as csv_lines
from fer_core.io.csv.jit import jit
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

_LF, _CR, _SPACE, _QUOTE, _COMMA, _ZERO = b'\n\r ",0'


def _layouts_of_four() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Tabulate the layouts of four values of one to three digits in sixteen bytes.

    Returns
    -------
    layout : ndarray of uint8, shape (65536,)
        Number of the layout, indexed by the bit mask of separators, first byte lowest; 81 for all invalid masks.
    shuffle : ndarray of uint8, shape (82, 16)
        Source position of each byte: digits are right-aligned in bytes 0 to 2 of each word, the separator is byte 3.
    keep : ndarray of uint8, shape (82, 16)
        0 for digits that a value lacks, else 255.
    length : ndarray of uint8, shape (82,)
        Number of bytes of the four values and their separators. Bytes with an invalid mask become words that repeat one
        byte, which are always invalid, since a byte cannot be both a digit and a separator.
    """
    layouts = list(product((1, 2, 3), repeat=4))
    layout = np.full(1 << 16, len(layouts), np.uint8)
    shuffle, keep = np.zeros((len(layouts) + 1, 4, 4), np.uint8), np.full((len(layouts) + 1, 4, 4), 255, np.uint8)
    length = np.zeros(len(layouts) + 1, np.uint8)
    for number, digits in enumerate(layouts):
        end = separators = 0
        for value, n in enumerate(digits):
            shuffle[number, value, 3 - n :] = range(end, end + n + 1)
            keep[number, value, : 3 - n] = 0
            end += n + 1
            separators |= 1 << (end - 1)
        layout[separators :: 1 << end] = number  # for any bytes after the four values
        length[number] = end
    return layout, shuffle.reshape(-1, 16), keep.reshape(-1, 16), length


_LAYOUT, _SHUFFLE, _KEEP, _LENGTH = _layouts_of_four()


@intrinsic
def _spread(_: Any, text: Any, position: Any, words: Any, place: Any, layout: Any, shuffle: Any, keep: Any) -> Any:
    """Store the sixteen bytes at a position as four words, from `place` on; return the number of their layout.

    Every byte below "0" counts as a separator here. Words are XORed with the bits of "0" and of a space, so that a
    valid word consists of three numbers in 0..9 and a 0.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, index = ir.IntType(8), ir.IntType(64)
        vector = ir.VectorType(byte, 16)

        def pointer(argument: int, offset: Any) -> Any:
            array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
            return builder.gep(builder.bitcast(array.data, byte.as_pointer()), [offset])

        def load(argument: int, offset: Any) -> Any:
            loaded = builder.load(builder.bitcast(pointer(argument, offset), vector.as_pointer()))
            loaded.align = 1
            return loaded

        bytes_ = load(0, arguments[1])
        separators = builder.icmp_unsigned("<", bytes_, ir.Constant(vector, [_ZERO] * 16))
        pattern = builder.zext(builder.bitcast(separators, ir.IntType(16)), index)
        number = builder.zext(builder.load(pointer(4, pattern)), index)
        row = builder.shl(number, ir.Constant(index, 4))
        order, kept = load(5, row), load(6, row)
        spread = ir.Constant(vector, ir.Undefined)
        for i in range(16):  # LLVM compiles this to one instruction, if the processor has it
            lane = ir.Constant(ir.IntType(32), i)
            moved = builder.extract_element(bytes_, builder.extract_element(order, lane))
            spread = builder.insert_element(spread, moved, lane)
        plain = ir.Constant(vector, [_ZERO, _ZERO, _ZERO, _SPACE] * 4)
        target = pointer(2, builder.shl(arguments[3], ir.Constant(index, 2)))
        stored = builder.store(
            builder.and_(builder.xor(spread, plain), kept), builder.bitcast(target, vector.as_pointer())
        )
        stored.align = 1
        return number

    return types.uint64(text, position, words, place, layout, shuffle, keep), generate


@njit(inline="always")
def _four_values(text: Any, position: Any, words: Any, place: Any) -> Any:
    """Read four values at a position into words, from `place` on; return the position of the next value."""
    number: Any = _spread(text, position, words, place, _LAYOUT, _SHUFFLE, _KEEP)  # type: ignore[call-arg] # Numba's own
    return position + uint64(_LENGTH[number])


@njit(inline="always")
def _add_up(words: Any, pixels: Any) -> Any:
    """Convert words to gray levels; return whether all are three digits and a space, and at most 255."""
    wrong = uint32(0)
    for i in range(PIXELS):
        word = words[i]
        wrong |= uint32(word | uint32(word + uint32(0x060606))) & uint32(0xFFF0F0F0)
        tens = uint32(
            uint32(uint32(word & uint32(0xFF)) * uint32(10)) + uint32(uint32(word >> uint32(8)) & uint32(0xFF))
        )
        value = uint32(uint32(tens * uint32(10)) + uint32(word >> uint32(16)))
        wrong |= uint32(value >> uint32(8))
        pixels[i] = uint8(value)
    return wrong == 0


@njit
def _find_line_end(text: Any, position: Any) -> Any:
    """Return the position of the next LF, which must exist."""
    place = uint64(position)  # unsigned indices need no check for negative values
    while True:
        found = uint8(0)
        for i in range(uint64(64)):  # without early exit, so that it compiles to vector comparisons
            found |= uint8(text[place + i] == _LF)
        if found:
            break
        place += uint64(64)
    while text[place] != _LF:
        place += uint64(1)
    return int64(place)


@njit
def _note_cell(text: Any, start: Any, end: Any, kind: Any, row: Any) -> None:
    """Store the bounds of a cell other than the pixels, without the spaces around it."""
    if kind == OTHER_CELL:
        return
    while start < end and text[start] == _SPACE:
        start += 1
    while end > start and text[end - 1] == _SPACE:
        end -= 1
    row[CELL_START + 2 * kind], row[CELL_END + 2 * kind] = start, end


@njit
def _is_plain(byte: Any) -> Any:
    return 32 <= byte < 127 and byte != _QUOTE


@njit
def _split(text: Any, kinds: Any, row: Any) -> Any:  # noqa: C901, PLR0912 - one pass over the bytes, compiled
    """Find the cells of a line, from both ends towards the pixels; return False unless commas suffice to split it."""
    left, right = row[START], row[END]
    if right - left >= MAX_LINE_BYTES:
        return False
    while right > left and text[right - 1] == _CR:
        right -= 1
    first, last = 0, kinds.size - 1
    while kinds[first] != PIXEL_CELL:
        end = left
        while end < right and text[end] != _COMMA:
            if not _is_plain(text[end]):
                return False
            end += 1
        if end == right:
            return False
        _note_cell(text, left, end, kinds[first], row)
        left, first = end + 1, first + 1
    while kinds[last] != PIXEL_CELL:
        start = right
        while start > left and text[start - 1] != _COMMA:
            if not _is_plain(text[start - 1]):
                return False
            start -= 1
        if start == left:
            return False
        _note_cell(text, start, right, kinds[last], row)
        right, last = start - 1, last - 1
    if right - left >= 2 and text[left] == _QUOTE and text[right - 1] == _QUOTE:
        left, right = left + 1, right - 1
    while left < right and text[left] == _SPACE:
        left += 1
    while right > left and text[right - 1] == _SPACE:
        right -= 1
    row[CELL_START], row[CELL_END] = left, right
    return SHORTEST <= right - left <= LONGEST


@jit(
    types.UniTuple(int64, 2)(uint8[::1], int64, int64, int64[::1], int64[:, ::1], uint8[:, ::1]),  # type: ignore[no-untyped-call]
    constants=(csv_lines, expressions),
)
def decode_lines(text: Any, position: Any, size: Any, kinds: Any, table: Any, images: Any) -> Any:
    """Decode lines until the text or the table ends; see `fer_core.io.csv.lines`."""
    lines, good = 0, 0
    chosen = np.empty(len(table) + 3, np.int64)
    while position < size and lines < len(table):
        row = table[lines]
        row[START], row[END] = position, _find_line_end(text, position)
        position = row[END] + 1
        row[GOOD] = 0
        if _split(text, kinds, row):
            chosen[good] = lines
            good += 1
        lines += 1
    chosen[good : good + 3] = chosen[good - 1] if good else 0  # the last group of four may contain a row repeatedly
    words = np.empty((4, PIXELS), np.uint32)
    places = words.reshape(-1)
    at = np.empty(4, np.uint64)
    for group in range(0, good, 4):
        rows = chosen[group : group + 4]
        a, b, c, d = (
            uint64(table[rows[0], CELL_START]),
            uint64(table[rows[1], CELL_START]),
            uint64(table[rows[2], CELL_START]),
            uint64(table[rows[3], CELL_START]),
        )
        for i in range(uint64(0), uint64(PIXELS), uint64(4)):
            a = _four_values(text, a, places, i)
            b = _four_values(text, b, places, i + uint64(PIXELS))
            c = _four_values(text, c, places, i + uint64(2 * PIXELS))
            d = _four_values(text, d, places, i + uint64(3 * PIXELS))
        at[0], at[1], at[2], at[3] = a, b, c, d
        for k in range(4):
            words[k, PIXELS - 1] &= uint32(0xFFFFFF)  # the byte after the last value need not be a space
            ends = at[k] == uint64(table[rows[k], CELL_END] + 1)
            table[rows[k], GOOD] = ends and _add_up(words[k], images[rows[k]])
    return lines, position

"""CSV lines to gray levels in machine code: the decoder of long files.

A pixel's text has one to three digits, at random, so a loop that branches on them mispredicts about every other value.
Here nothing branches on a value: sixteen bytes are loaded and compared with "0" at once, and which of them are
separators is looked up in a table of the 81 ways that four values can lie there; it says how to shuffle the bytes so
that each value has its hundreds, tens, ones and separator in the four bytes of a word (the idea of W. Mula's and
D. Lemire's vectorized parsers). Since each step waits for the one before, four faces are decoded at a time. A second
loop, which the compiler turns into vector instructions, checks the words and adds them up.

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


def _ways_of_four() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Tabulate how four values of one to three digits can lie in sixteen bytes.

    Returns
    -------
    way : ndarray of uint8, shape (65536,)
        The number of the way, by the bits of the bytes that are separators, first byte lowest; the last one, 81, stands
        for all that is none.
    shuffle : ndarray of uint8, shape (82, 16)
        Which byte goes where: digits up to the end of bytes 0 to 2 of each word, the separator to byte 3.
    keep : ndarray of uint8, shape (82, 16)
        0 where a word has no such digit, else 255.
    length : ndarray of uint8, shape (82,)
        Bytes of the four values and their separators. What is no way of four stays where it is, and makes words of one
        byte four times, which are wrong whatever the byte: it cannot be both a digit and a separator.
    """
    ways = list(product((1, 2, 3), repeat=4))
    way = np.full(1 << 16, len(ways), np.uint8)
    shuffle, keep = np.zeros((len(ways) + 1, 4, 4), np.uint8), np.full((len(ways) + 1, 4, 4), 255, np.uint8)
    length = np.zeros(len(ways) + 1, np.uint8)
    for number, digits in enumerate(ways):
        end = separators = 0
        for value, n in enumerate(digits):
            shuffle[number, value, 3 - n :] = range(end, end + n + 1)
            keep[number, value, : 3 - n] = 0
            end += n + 1
            separators |= 1 << (end - 1)
        way[separators :: 1 << end] = number  # whatever the bytes behind the four are
        length[number] = end
    return way, shuffle.reshape(-1, 16), keep.reshape(-1, 16), length


_WAY, _SHUFFLE, _KEEP, _LENGTH = _ways_of_four()


@intrinsic
def _spread(_: Any, text: Any, position: Any, words: Any, place: Any, way: Any, shuffle: Any, keep: Any) -> Any:
    """Make four words, from `place` on, of the sixteen bytes at a position; return the number of their way.

    A byte below "0" is a separator for now. Words are combined with a digit's and a space's bits by exclusive-or, so
    that a right one is three numbers of 0 to 9 and a 0.
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
        for i in range(16):  # which LLVM knows to be one instruction, where the processor has it
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

    return types.uint64(text, position, words, place, way, shuffle, keep), generate


@njit(inline="always")
def _four_values(text: Any, position: Any, words: Any, place: Any) -> Any:
    """Read the four values at a position into words, from `place` on; return the position of the next value."""
    number: Any = _spread(text, position, words, place, _WAY, _SHUFFLE, _KEEP)  # type: ignore[call-arg] # Numba's own
    return position + uint64(_LENGTH[number])


@njit(inline="always")
def _add_up(words: Any, pixels: Any) -> Any:
    """Turn words into gray levels; return whether all were three digits and a space, at most 255."""
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
    """Return the position of the next LF; there is one."""
    place = uint64(position)  # unsigned, or each index would first be asked whether it counts from the end
    while True:
        found = uint8(0)
        for i in range(uint64(64)):  # without a way out, so that it becomes one comparison of a vector
            found |= uint8(text[place + i] == _LF)
        if found:
            break
        place += uint64(64)
    while text[place] != _LF:
        place += uint64(1)
    return int64(place)


@njit
def _note_cell(text: Any, start: Any, end: Any, kind: Any, row: Any) -> None:
    """Write down the bounds of a cell that holds no pixels, without the spaces around it."""
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
def _split(text: Any, kinds: Any, row: Any) -> Any:
    """Find the cells of a line, from both ends towards the pixels; return False where that takes more than commas."""
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
    chosen[good : good + 3] = chosen[good - 1] if good else 0  # the last group of four may hold a row repeatedly
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
            words[k, PIXELS - 1] &= uint32(0xFFFFFF)  # what follows the last value need not be a space
            ends = at[k] == uint64(table[rows[k], CELL_END] + 1)
            table[rows[k], GOOD] = ends and _add_up(words[k], images[rows[k]])
    return lines, position

"""From float32 to decimal text, in machine code: as `"%.9g"` writes it, for the values that models give.

A float32 is m / 2^s with an integer m < 2^24. Nine significant digits of it are q = m 10^d / 2^s = m 5^d / 2^(s - d),
rounded half to even, for the d that makes q a number of nine digits; from 1e-9 to 1e6 all of it fits 64 bits, so the
digits are exact, as the correctly rounded ones of C's printf are.

Importing this module compiles it, or loads it from Numba's cache on disk.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numba import float32, int64, njit, types, uint8, uint64
from numpy.typing import NDArray

from fer_core.jit import jit

FLOAT_FORMAT: Final = "%.9g"
"""Nine significant digits tell any two float32 numbers apart (IEEE 754-2019, section 5.12.2)."""

_DIGITS: Final = 9
_LEAST, _MOST = -9, 5
"""Powers of ten of the first digit within which 64 bits suffice."""
_LONGEST: Final = 16
"""Bytes of the longest text, such as -1.23456789e-05, and its comma."""

_POWERS_OF_TEN: Final = 10.0 ** np.arange(_LEAST, _MOST + 2)
_POWERS_OF_FIVE: Final = np.uint64(5) ** np.arange(_DIGITS - _LEAST, dtype=np.uint64)
_COMMA, _MINUS, _POINT, _ZERO, _E = b",-.0e"


@njit
def _nine_digits(value: Any) -> Any:
    """Return q and the power of ten of its first digit for a value from 1e-9 to 1e6."""
    power = _LEAST
    while value >= _POWERS_OF_TEN[power + 1 - _LEAST]:
        power += 1
    bits = np.float32(value).view(np.uint32)
    mantissa = uint64(bits & np.uint32(0x7FFFFF)) | uint64(0x800000)
    decimals = _DIGITS - 1 - power
    shift = uint64(150 - int64(bits >> np.uint32(23)) - decimals)
    scaled = mantissa * _POWERS_OF_FIVE[decimals]
    q, rest, half = scaled >> shift, scaled & ((uint64(1) << shift) - uint64(1)), uint64(1) << (shift - uint64(1))
    if rest > half or (rest == half and q & uint64(1)):
        q += uint64(1)
    return int64(q), power


@jit(types.UniTuple(int64, 2)(float32[:, ::1], int64, uint8[::1], int64[::1]))  # type: ignore[no-untyped-call]
def _write_rows(values: Any, row: Any, text: Any, ends: Any) -> Any:
    """Write rows from `row` on behind the text before; return the first that is not written, and where the text ends.

    A row that holds a value which 64 bits do not suffice for is not written.
    """
    at = ends[row - 1] if row else int64(0)
    digits = np.empty(_DIGITS, np.uint8)
    while row < len(values):
        start = at
        for value in values[row]:
            text[at] = _COMMA
            at += 1
            if np.signbit(value):
                text[at] = _MINUS
                at += 1
                value = -value
            if value == 0:
                text[at] = _ZERO
                at += 1
                continue
            if not _POWERS_OF_TEN[0] <= value < _POWERS_OF_TEN[-1]:
                return row, start
            q, power = _nine_digits(value)
            if q == 1_000_000_000:
                q, power = 100_000_000, power + 1
            for place in range(_DIGITS - 1, -1, -1):
                digits[place] = _ZERO + q % 10
                q //= 10
            n = _DIGITS
            while digits[n - 1] == _ZERO:
                n -= 1
            scientific = power < -4
            point = 0 if scientific else power  # the digit that the point follows
            if point < 0:
                text[at], text[at + 1] = _ZERO, _POINT
                text[at + 2 : at + 1 - point] = _ZERO
                at += 1 - point
            for place in range(max(n, point + 1)):
                text[at] = digits[place]
                at += 1
                if place == point and n > point + 1:
                    text[at] = _POINT
                    at += 1
            if scientific:
                text[at], text[at + 1] = _E, _MINUS
                text[at + 2], text[at + 3] = _ZERO, _ZERO - power
                at += 4
        ends[row] = at
        row += 1
    return row, at


def decimal_rows(values: NDArray[np.float32]) -> list[str]:
    """Write each row of a table as text.

    Parameters
    ----------
    values : ndarray of float32, shape (N, C)
        Any, also infinite ones and NaN.

    Returns
    -------
    list of str
        N rows of C values, each by `FLOAT_FORMAT` and with a comma before it.
    """
    values = np.ascontiguousarray(values, np.float32)
    text, ends = np.empty(values.size * _LONGEST, np.uint8), np.empty(len(values), np.int64)
    row, at = _write_rows(values, 0, text, ends)
    while row < len(values):
        line = "".join("," + FLOAT_FORMAT % value for value in values[row].tolist()).encode()
        text[at : at + len(line)] = np.frombuffer(line, np.uint8)
        ends[row] = at + len(line)
        row, at = _write_rows(values, row + 1, text, ends)
    whole = text[:at].tobytes().decode("ascii")
    bounds = [0, *ends.tolist()]
    return [whole[start:end] for start, end in pairwise(bounds)]

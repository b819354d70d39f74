"""The contract of both CSV decoders: a block of lines in, a table of cells and images out.

A decoder has one function::

    decode_lines(text, position, size, kinds, table, images) -> lines, position

Parameters
----------
text : bytearray, at least size + PADDING long; for the kernel as ndarray of uint8
    Lines that end in LF; the last byte before `size` is one.
position, size : int
    Start of the first line, and end of the text.
kinds : ndarray of int64, shape (columns,)
    Kind of each column: exactly one PIXEL_CELL; LABEL_CELL, SPLIT_CELL and ID_CELL at most once each; any number of
    OTHER_CELL, which are skipped.
table : ndarray of int64, shape (N, TABLE_COLUMNS)
    Filled with one row per line; the constants below name its columns. START and END are the bounds of the line without
    its LF. GOOD is 1 where the line was decoded, and 0 where it is wrong or of a form that is left to
    `fer_core.io.csv.rows.parse_row`: quoted or non-ASCII cells other than the pixels', pixels that are not separated by
    single spaces. The other columns are bounds of cells, without the spaces around them; they are defined where GOOD is
    1 and the file has such a column.
images : ndarray of uint8, shape (N, 2304)
    Filled with gray levels where GOOD is 1; undefined elsewhere.

Returns
-------
lines, position : int
    Number of lines found, at most N, and start of the next one.

`fer_core.io.csv.vectors` does this with NumPy, and `fer_core.io.csv.kernel` with machine code that Numba compiles.
`fer_core.io.csv.decoder` chooses between them. Both accept the same lines and return the same bits.
"""

from __future__ import annotations

from typing import Final

from fer_core.fer2013 import PIXELS

PADDING: Final = 4 * PIXELS + 16
"""Bytes that must be readable after the last line: the kernel reads on where a row has too few values."""

MAX_LINE_BYTES: Final = 1 << 17
"""A longer line, with its line end, is refused before it fills the memory."""

SHORTEST: Final = 2 * PIXELS - 1
LONGEST: Final = 4 * PIXELS - 1
"""Bytes of the shortest and the longest face."""

PIXEL_CELL, LABEL_CELL, SPLIT_CELL, ID_CELL, OTHER_CELL = range(5)
"""Kinds of columns."""

START, END, GOOD = range(3)
CELL_START, CELL_END, LABEL_START, LABEL_END, SPLIT_START, SPLIT_END, ID_START, ID_END = range(3, 11)
"""Columns of a table of lines. The bounds of a cell of kind k are columns 3 + 2 k and 4 + 2 k."""
TABLE_COLUMNS: Final = 11

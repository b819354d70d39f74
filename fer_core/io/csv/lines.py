"""Contract of the two CSV decoders, which turn a block of lines into a table of cells and images.

A decoder has one function::

    decode_lines(text, position, size, kinds, table, images) -> lines, position

Parameters
----------
text : bytearray, at least size + PADDING long; for the kernel as ndarray of uint8
    Lines that end in LF, which is also the last byte before `size`.
position, size : int
    Start of the first line, and end of the text.
kinds : ndarray of int64, shape (columns,)
    Kind of each column: exactly one PIXEL_CELL; LABEL_CELL, SPLIT_CELL and ID_CELL at most once each; any number of
    OTHER_CELL, which are skipped.
table : ndarray of int64, shape (N, TABLE_COLUMNS)
    Filled with one row per line; the constants below name its columns. START and END are the bounds of the line
    without its LF. GOOD is 1 if the line was decoded, and 0 if it is invalid or has a form that only
    `fer_core.io.csv.rows.parse_row` accepts, such as quoted or non-ASCII cells other than the pixels, or pixels that
    are not separated by single spaces. The other columns are bounds of cells, without the spaces around them; they are
    defined if GOOD is 1 and the file has such a column.
images : ndarray of uint8, shape (N, 2304)
    Filled with gray levels if GOOD is 1; undefined otherwise.

Returns
-------
lines, position : int
    Number of lines found, at most N, and start of the next one.

`fer_core.io.csv.vectors` implements it with NumPy, and `fer_core.io.csv.kernel` with Numba. `fer_core.io.csv.decoder`
chooses between them. Both accept the same lines and return the same bits.
"""

from __future__ import annotations

from typing import Final

from fer_core.fer2013 import PIXELS

PADDING: Final = 4 * PIXELS + 16
"""Bytes that must be readable after the last line: the kernel reads past rows with too few values."""

MAX_LINE_BYTES: Final = 1 << 17
"""Maximum length of a line with its line end; longer lines are refused before they fill the memory."""

SHORTEST: Final = 2 * PIXELS - 1
LONGEST: Final = 4 * PIXELS - 1
"""Number of bytes of the shortest and the longest face."""

PIXEL_CELL, LABEL_CELL, SPLIT_CELL, ID_CELL, OTHER_CELL = range(5)
"""Kinds of columns."""

START, END, GOOD = range(3)
CELL_START, CELL_END, LABEL_START, LABEL_END, SPLIT_START, SPLIT_END, ID_START, ID_END = range(3, 11)
"""Columns of a table of lines. The bounds of a cell of kind k are columns 3 + 2 k and 4 + 2 k."""
TABLE_COLUMNS: Final = 11

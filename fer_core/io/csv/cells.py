"""Labels, splits and ids in decoded CSV lines."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.fer2013 import EXPRESSIONS, SPLIT_NAMES, label_of, split_of
from fer_core.io.columns import MAX_ID_LENGTH
from fer_core.io.csv.lines import ID_END, ID_START, LABEL_END, LABEL_START, SPLIT_END, SPLIT_START

SPLIT_DTYPE: Final = np.dtype(f"U{max(map(len, SPLIT_NAMES.values()))}")

LONGEST_SPLIT: Final = max(map(len, SPLIT_NAMES))

Column = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values of lines, and a mask of the valid ones."""


def read_labels(text: bytes | bytearray, table: NDArray[np.int64]) -> Column:
    """Return the labels of lines, int64; `table` is as in `fer_core.io.csv.lines`."""
    starts, ends = table[:, LABEL_START], table[:, LABEL_END]
    labels = np.frombuffer(text, np.uint8)[starts].astype(np.int64) - ord("0")
    good = (ends - starts == 1) & (labels >= 0) & (labels < len(EXPRESSIONS))
    for i in np.flatnonzero(~good).tolist():
        label = label_of(text[starts[i] : ends[i]].decode("ascii"))
        if label is not None:
            labels[i], good[i] = label, True
    return labels, good


def read_splits(text: bytes | bytearray, table: NDArray[np.int64]) -> Column:
    """Return the splits of lines, as text; `table` is as in `fer_core.io.csv.lines`."""
    # a cell that is longer than any split stays invalid when it is cut
    cells = _cells(text, table[:, SPLIT_START], table[:, SPLIT_END], LONGEST_SPLIT + 1)
    if len(cells) and (cells == cells[0]).all():
        split = split_of(cells[0].decode("ascii"))
        return np.full(len(cells), split or "", SPLIT_DTYPE), np.full(len(cells), split is not None)
    different: list[str] = []  # only a few
    which, left = np.zeros(len(cells), np.intp), np.ones(len(cells), np.bool_)
    while left.any():
        cell = cells[left.argmax()]
        same = cells == cell
        which[same] = len(different)
        different.append(split_of(cell.decode("ascii")) or "")
        left &= ~same
    splits = np.array(different or [""], SPLIT_DTYPE)
    return splits[which], (splits != "")[which]


def read_ids(text: bytes | bytearray, table: NDArray[np.int64]) -> Column:
    """Return the ids of lines, as text; `table` is as in `fer_core.io.csv.lines`."""
    starts, ends = table[:, ID_START], table[:, ID_END]
    good = (ends > starts) & (ends - starts <= MAX_ID_LENGTH)
    ends = np.where(good, ends, starts)  # an id over the limit must not widen the array
    return _cells(text, starts, ends, int((ends - starts).max(initial=1))).astype(np.str_), good


def _cells(
    text: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64], width: int
) -> NDArray[np.bytes_]:
    """Return cells of ASCII text as an array of bytes, cut to `width`."""
    places = starts[:, None] + np.arange(width)
    characters = np.frombuffer(text, np.uint8).take(places, mode="clip")
    characters[places >= ends[:, None]] = 0
    return characters.view(f"S{width}").reshape(-1)

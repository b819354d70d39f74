"""The cells of decoded CSV lines that hold no pixels: labels, splits and ids."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.columns import MAX_ID_LENGTH, SPLITS, label_of, usage_of
from fer_core.csv_lines import ID_END, ID_START, LABEL_END, LABEL_START, USAGE_END, USAGE_START
from fer_core.expressions import EXPRESSIONS

USAGE_DTYPE: Final = np.dtype(f"U{max(map(len, SPLITS.values()))}")

Column = tuple[NDArray[Any], NDArray[np.bool_]]
"""The values of some lines, and which of them are good."""


def read_labels(text: bytes | bytearray, table: NDArray[np.int64]) -> Column:
    """Return the labels of lines, int64."""
    starts, ends = table[:, LABEL_START], table[:, LABEL_END]
    labels = np.frombuffer(text, np.uint8)[starts].astype(np.int64) - ord("0")
    good = (ends - starts == 1) & (labels >= 0) & (labels < len(EXPRESSIONS))
    for i in np.flatnonzero(~good).tolist():
        label = _label(bytes(text[starts[i] : ends[i]]))
        if label is not None:
            labels[i], good[i] = label, True
    return labels, good


def read_usages(text: bytes | bytearray, table: NDArray[np.int64]) -> Column:
    """Return the splits of lines, as text."""
    cells = _cells(text, table[:, USAGE_START], table[:, USAGE_END])
    usages = [_usage(cell) or "" for cell in cells]
    return np.array(usages, USAGE_DTYPE), np.array([usage != "" for usage in usages], np.bool_)


def read_ids(text: bytes | bytearray, table: NDArray[np.int64]) -> Column:
    """Return the ids of lines, as text."""
    starts, ends = table[:, ID_START], table[:, ID_END]
    good = (ends > starts) & (ends - starts <= MAX_ID_LENGTH)
    # an id over the limit must not widen the array for all others
    return np.array(
        [cell.decode("ascii") for cell in _cells(text, starts, np.where(good, ends, starts))], np.str_
    ), good


def _cells(text: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    return [bytes(text[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


@lru_cache
def _label(cell: bytes) -> int | None:
    return label_of(cell.decode("ascii"))


@lru_cache
def _usage(cell: bytes) -> str | None:
    return usage_of(cell.decode("ascii"))

"""Which faces, and which channels: lists of numbers as they are written on a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from fer_core import ConfigError, DataError, Faces

MOST: Final = 1_000_000
"""Numbers that one list may name; a longer one is a slip of the keyboard."""


def parse_numbers(text: str, name: str) -> tuple[int, ...]:
    """Read a list of whole numbers and ranges.

    Parameters
    ----------
    text : str
        Such as ``2,17,30-40``; a range includes both its ends.
    name : str
        What is listed, for the error.

    Returns
    -------
    tuple of int
        In the order written; what is named twice comes once.

    Raises
    ------
    ConfigError
        If it is anything else, a range runs backwards, or there are more than a million.

    Examples
    --------
    >>> parse_numbers("2,17,30-32", "rows")
    (2, 17, 30, 31, 32)
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,12})(?:-(\d{1,12}))?\s*", part, re.ASCII)
        if match is None:
            raise ConfigError(f"{name}: expected numbers and ranges such as 2,17,30-40, found {part!r}")
        first = int(match[1])
        last = int(match[2] or match[1])
        if not first <= last < first + MOST:
            raise ConfigError(f"{name}: expected a range from low to high of at most {MOST:,}, found {part!r}")
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return tuple(numbers)


def positions_of(faces: Faces, rows: Sequence[int]) -> tuple[int, ...]:
    """Return where in `faces` the faces of these row numbers are; parameters and errors as for `take_rows`."""
    places = {row: place for place, row in enumerate(faces.rows.tolist())}
    for row in rows:
        if row not in places:
            there = f"{min(places)}..{max(places)}, where {len(places):,} faces are" if places else "a file with faces"
            raise DataError(faces.source, f"expected a row number in {there}, found {row}")
    return tuple(places[row] for row in rows)


def take_rows(faces: Faces, rows: Sequence[int]) -> Faces:
    """Return the faces of these row numbers, in that order.

    Parameters
    ----------
    faces : Faces
        To choose from.
    rows : sequence of int
        Row numbers as in `Faces.rows`: of a CSV the header is row 1 and the first face row 2.

    Raises
    ------
    DataError
        If there is no such row; it says which there are.
    """
    return faces.take(np.array(positions_of(faces, rows), np.intp))

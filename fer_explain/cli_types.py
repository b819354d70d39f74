"""Lists of numbers, such as rows and channels, as they are written on a command line."""

from __future__ import annotations

import re
from typing import Final

from fer_core import ConfigError

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

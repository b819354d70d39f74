"""FER2013: its classes and splits, the spellings of them that data sets use, and the image size."""

from __future__ import annotations

import re
from typing import Final

EXPRESSIONS: Final[tuple[str, ...]] = (
    "angry",
    "disgust",
    "fear",
    "happy",
    "sad",
    "surprise",
    "neutral",
)
"""Class names; the position of a name is its label (Goodfellow et al. 2013)."""

IMAGE_SIZE: Final = 48
"""Height and width of an image, in pixels."""

PIXELS: Final = IMAGE_SIZE * IMAGE_SIZE
"""Number of pixels of an image: 2,304."""

SPLITS: Final[tuple[str, ...]] = ("Training", "PublicTest", "PrivateTest")
"""The three splits of FER2013, as its `Usage` column names them."""

SPLIT_NAMES: Final = {name.lower(): name for name in SPLITS} | {
    "train": "Training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of splits in lower case, and the names used here. `test` is not renamed: it can be either test split."""

CLASS_NAMES: Final = {name: number for number, name in enumerate(EXPRESSIONS)} | {
    "anger": 0,
    "disgusted": 1,
    "fearful": 2,
    "happiness": 3,
    "sadness": 4,
    "surprised": 5,
}
"""Class names in lower case, as data sets spell them, and their labels."""

LABEL_EXPECTED: Final = f"expected a label in 0..{len(EXPRESSIONS) - 1} or the name of a class"
SPLIT_EXPECTED: Final = f"expected one of {', '.join(SPLITS)}, train, validation, test"
"""Beginnings of error messages."""

_WHOLE_NUMBER: Final = re.compile(r"([0-9]{1,3})(?:\.0*)?")


def label_of(text: str) -> int | None:
    """Return the label that a text states, or None if it states none.

    Parameters
    ----------
    text : str
        A number in 0..6, also written as `5.0`, or the name of a class in any case; spaces around it are ignored.
    """
    text = text.strip(" ").lower()
    if text in CLASS_NAMES:
        return CLASS_NAMES[text]
    number = _WHOLE_NUMBER.fullmatch(text)
    label = int(number[1]) if number else -1
    return label if 0 <= label < len(EXPRESSIONS) else None


def split_of(text: str) -> str | None:
    """Return the split that a text names, as in `SPLIT_NAMES`, or None if it names none.

    Parameters
    ----------
    text : str
        A name in `SPLIT_NAMES`, in any case; spaces around it are ignored.
    """
    return SPLIT_NAMES.get(text.strip(" ").lower())

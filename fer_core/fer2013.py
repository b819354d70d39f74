"""The seven expressions of FER2013, in the order of its label numbers."""

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
"""Label names; the position of a name is its number (Goodfellow et al. 2013, FER2013)."""

IMAGE_SIZE: Final = 48
"""Height and width of a face, in pixels."""

PIXELS: Final = IMAGE_SIZE * IMAGE_SIZE
"""Pixels of a face: 2,304."""

SPLITS: Final[tuple[str, ...]] = ("Training", "PublicTest", "PrivateTest")
"""The three splits of FER2013, as its `Usage` column names them."""

SPLIT_NAMES: Final = {name.lower(): name for name in SPLITS} | {
    "train": "Training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of splits in lower case, and what each is called here. `test` stays `test`: it can be either test split."""

CLASS_NAMES: Final = {name: number for number, name in enumerate(EXPRESSIONS)} | {
    "anger": 0,
    "disgusted": 1,
    "fearful": 2,
    "happiness": 3,
    "sadness": 4,
    "surprised": 5,
}
"""Names of classes in lower case, as data sets write them, and their labels."""

LABEL_EXPECTED: Final = f"expected a label in 0..{len(EXPRESSIONS) - 1} or the name of a class"
SPLIT_EXPECTED: Final = f"expected one of {', '.join(SPLITS)}, train, validation, test"
"""How the errors of a cell begin."""

_WHOLE_NUMBER: Final = re.compile(r"([0-9]{1,3})(?:\.0*)?")


def label_of(text: str) -> int | None:
    """Return the label that a cell holds, or None where it holds none.

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
    """Return the split that a cell or a folder names, as it is called here, or None where it names none.

    Parameters
    ----------
    text : str
        A name in `SPLIT_NAMES`, in any case; spaces around it are ignored.
    """
    return SPLIT_NAMES.get(text.strip(" ").lower())

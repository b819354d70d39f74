"""The seven expressions of FER2013, in the order of its label numbers."""

from __future__ import annotations

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

"""Test-time augmentation: several views of a face are scored, and their probabilities averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE
from fer_infer.config import require

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]

SHIFT: Final = 2
"""Pixels that a view is moved by: what ten crops of 44x44 are moved by, and less than half of what `fit` shifts by."""


@dataclass(frozen=True)
class View:
    """One view of a face.

    Attributes
    ----------
    mirrored : bool
        Left and right exchanged, before the face is moved.
    down, right : int
        Pixels that the face is moved by; the pixels of the border are repeated where nothing comes in.
    """

    mirrored: bool = False
    down: int = 0
    right: int = 0

    def of(self, images: Images) -> Images:
        """Return this view of faces, uint8 (N, 48, 48)."""
        if self == View():
            return images
        places = np.arange(IMAGE_SIZE)
        rows, columns = (np.clip(places - moved, 0, IMAGE_SIZE - 1) for moved in (self.down, self.right))
        return images[:, rows[:, None], IMAGE_SIZE - 1 - columns if self.mirrored else columns]


_CORNERS: Final = [(SHIFT * down, SHIFT * right) for down in (-1, 1) for right in (-1, 1)]

TTA: Final[dict[str, tuple[View, ...]]] = {
    "none": (View(),),
    "flip": (View(), View(mirrored=True)),
    "flip-shift": tuple(View(side, *moved) for moved in [(0, 0), *_CORNERS] for side in (False, True)),
}
"""The views of each kind of test-time augmentation, the face as it is first.

`flip-shift` is the ten-crop rule (Krizhevsky, Sutskever and Hinton 2012, section 4.1: the center, four corners, and
all of them mirrored) for a network that takes whole faces: moved toward the corners instead of cropped there, because a
crop would have to be enlarged, which blurs 48x48 pixels, and a black margin would be something no face has.
"""

SMALLEST: Final = np.finfo(np.float32).tiny
"""A mean probability below it counts as this much, so that its logarithm, -87.3, is finite."""


def average_views(score: Callable[[Images], Scores], images: Images, tta: str) -> tuple[Scores, Scores]:
    """Score views of faces, one view after the other.

    Parameters
    ----------
    score : callable
        Returns probabilities, float32 (N, classes), of uint8 (N, 48, 48); each row depends on its face alone.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    tta : str
        In `TTA`.

    Returns
    -------
    plain, averaged : ndarray of float32, shape (N, classes)
        Probabilities of the faces as they are, and the mean over all views, which is summed in float64.

    Raises
    ------
    ConfigError
        If there is no such augmentation.
    """
    first, *others = views_of(tta)
    plain = score(first.of(images))
    if not others:
        return plain, plain
    total = plain.astype(np.float64)
    for view in others:
        total += score(view.of(images))
    return plain, (total / (1 + len(others))).astype(np.float32)


def views_of(tta: str) -> tuple[View, ...]:
    """Return the views of `TTA`; raise ConfigError naming all kinds where there is none of that name."""
    require("tta", tta)
    return TTA[tta]


def log_probabilities(probabilities: Scores) -> Scores:
    """Return the logits whose softmax `probabilities`, (N, classes), are: their logarithms."""
    logits: Scores = np.log(np.maximum(probabilities, SMALLEST))
    return logits

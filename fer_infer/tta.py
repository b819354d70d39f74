"""Test-time augmentation: average the probabilities over augmented copies of a face."""

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
"""Shift of an augmented copy in pixels: that of ten crops of 44x44, and less than half of the shifts in training."""


@dataclass(frozen=True)
class View:
    """One augmented copy of a face.

    Attributes
    ----------
    mirrored : bool
        Whether the face is mirrored horizontally, before it is shifted.
    down, right : int
        Shift in pixels; border pixels are repeated.
    """

    mirrored: bool = False
    down: int = 0
    right: int = 0

    def of(self, images: Images) -> Images:
        """Return this augmented copy of images, uint8 (N, 48, 48)."""
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
"""Augmented copies for each kind of test-time augmentation; the unchanged face comes first.

`flip-shift` adapts ten-crop evaluation (Krizhevsky, Sutskever and Hinton 2012, section 4.1: the center, four corners,
and their mirror images) to networks that take whole faces. Faces are shifted toward the corners instead of cropped,
because enlarging a crop blurs 48x48 pixels. Border pixels are repeated, because no face has a black margin.
"""

SMALLEST: Final = np.finfo(np.float32).tiny
"""Lower limit of mean probabilities, whose logarithm, -87.3, is finite."""


def average_views(score: Callable[[Images], Scores], images: Images, tta: str) -> tuple[Scores, Scores]:
    """Score all augmented copies of images, one after the other.

    Parameters
    ----------
    score : callable
        Returns probabilities, float32 (N, classes), for images, uint8 (N, 48, 48). A row must depend only on its face.
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels.
    tta : {"none", "flip", "flip-shift"}
        Kind of augmentation.

    Returns
    -------
    plain, averaged : ndarray of float32, shape (N, classes)
        Probabilities without augmentation, and the mean over all copies, which is computed in float64.

    Raises
    ------
    ConfigError
        If `tta` is unknown.
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
    """Return the augmented copies of one kind of augmentation; raise ConfigError if it is unknown."""
    require("tta", tta)
    return TTA[tta]


def log_probabilities(probabilities: Scores) -> Scores:
    """Return logits, (N, classes), whose softmax are `probabilities`: their logarithms."""
    logits: Scores = np.log(np.maximum(probabilities, SMALLEST))
    return logits

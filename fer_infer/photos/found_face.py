"""FoundFace: where a face is in a photo, and what the model sees of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LANDMARKS: Final = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
"""Names of the five landmarks, in order. Left and right are those of the person: the right eye is on the left side."""


class Box(NamedTuple):
    """A rectangle in pixels of the upright photo; (0, 0) is the upper left corner of the first pixel."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)  # comparing arrays gives no single truth value, so equality is identity
class FoundFace:
    """A face in a photo.

    Attributes
    ----------
    box : Box
        Bounding box in pixels of the upright photo. It can extend beyond the photo.
    detection : float
        Score of the detector, 0 to 1; NaN if the whole picture is the face.
    landmarks : ndarray of float64, shape (5, 2)
        x and y of `LANDMARKS` in pixels of the upright photo; NaN if the whole picture is the face.
    transform : ndarray of float64, shape (2, 3)
        Affine transform from the photo to the aligned face: ``transform @ (x, y, 1)`` is a position in the 48x48 face,
        whose first pixel has its center at (0.5, 0.5).
    image : ndarray of uint8, shape (48, 48)
        The aligned face, gray levels 0 black to 255 white: the input of a model.

    Examples
    --------
    >>> from fer_infer.photos.found_face import Box, FoundFace
    >>> transform = np.array([[0.5, 0, -10], [0, 0.5, -20]])
    >>> face = FoundFace(Box(20.0, 40.0, 96.0, 96.0), 0.9, np.zeros((5, 2)), transform, np.zeros((48, 48), np.uint8))
    >>> face.size, face.roll, face.blur
    (96.0, 0.0, 0.0)
    """

    box: Box
    detection: float
    landmarks: NDArray[np.float64]
    transform: NDArray[np.float64]
    image: NDArray[np.uint8]

    @property
    def size(self) -> float:
        """Shorter side of the box in pixels."""
        return min(self.box.width, self.box.height)

    @property
    def roll(self) -> float:
        """In-plane rotation of the face in degrees, -180 to 180; positive if it is turned clockwise in the photo."""
        return roll_of(self.transform)

    @cached_property
    def blur(self) -> float:
        """Variance of the Laplacian of `image` (Pech-Pacheco et al., ICPR 2000); low values mean a blurred face."""
        gray = self.image.astype(np.float64)
        laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
        return float(laplacian.var())


def roll_of(transform: NDArray[np.float64]) -> float:
    """Return the roll in degrees that a transform from the photo to the aligned face, shape (2, 3), removes."""
    return -math.degrees(math.atan2(transform[1, 0], transform[0, 0])) + 0.0  # never -0.0

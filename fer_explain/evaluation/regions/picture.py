"""Pictures of the regions of a face."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_explain.evaluation.regions.geometry import OUTSIDE, REGIONS, partition

COLORS: Final = {
    "forehead": "#E69F00",
    "brows": "#D55E00",
    "eyes": "#56B4E9",
    "nose": "#F0E442",
    "cheeks": "#009E73",
    "mouth": "#CC79A7",
    "chin": "#0072B2",
    OUTSIDE: "#777777",
}
"""Colors of the regions, distinguishable with any color vision (Okabe and Ito 2008)."""
ENLARGEMENT: Final = 6
"""Pixels of the picture per pixel of the face."""
OPACITY: Final = 0.45
"""Opacity of the color of a region over the face."""


def mean_face(images: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the mean of faces, uint8 (48, 48), and the regions of their mean landmarks, uint8 (48, 48)."""
    mean: NDArray[np.uint8] = np.rint(images.mean(axis=0)).astype(np.uint8)
    return mean, partition(landmarks.mean(axis=0, keepdims=True))[0]


def draw_regions(image: NDArray[np.uint8], numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the regions of a face in their colors over its gray levels, both (48, 48): uint8 (288, 288, 3)."""
    colors = np.array([[int(COLORS[name][i : i + 2], 16) for i in (1, 3, 5)] for name in REGIONS], np.float32)
    mixed = image[..., None] + OPACITY * (colors[numbers] - image[..., None].astype(np.float32))
    rounded: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return rounded.repeat(ENLARGEMENT, axis=0).repeat(ENLARGEMENT, axis=1)

"""How other packages crop a face: the box of the detector, as it is or enlarged, resized to a square."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.fer2013 import IMAGE_SIZE
from fer_infer.photos.alignment import gray_of
from fer_infer.photos.found_face import Box


def box_crops(pixels: NDArray[np.uint8], box: Box) -> Mapping[str, NDArray[np.uint8]]:
    """Return the crops of a box, (48, 48), by the name of the rule."""
    return {
        "box, stretched": boxed(pixels, box),
        "box + 10 pixels": boxed(pixels, box, margin=10),
        "box x 1.1": boxed(pixels, box, factor=1.1),
        "box x 1.2, square": boxed(pixels, box, factor=1.2, square=True),
    }


def boxed(
    pixels: NDArray[np.uint8], box: Box, *, margin: float = 0.0, factor: float = 1.0, square: bool = False
) -> NDArray[np.uint8]:
    """Crop a box and resize it to 48x48 gray levels.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue of the photo; the crop ends at its border.
    box : Box
        Box of the detector.
    margin : float
        Pixels to add on each side.
    factor : float
        Factor of width and height.
    square : bool
        Extend the shorter side to the longer one, so that the face keeps its proportions.
    """
    width, height = ((side + 2 * margin) * factor for side in (box.width, box.height))
    if square:
        width = height = max(width, height)
    x, y = box.left + box.width / 2, box.top + box.height / 2
    edges = np.rint([x - width / 2, y - height / 2, x + width / 2, y + height / 2]).astype(int)
    left, top = np.maximum(edges[:2], 0)
    right, bottom = np.minimum(edges[2:], pixels.shape[1::-1])
    part = Image.fromarray(gray_of(pixels)[top : max(bottom, top + 1), left : max(right, left + 1)])
    return np.asarray(part.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))

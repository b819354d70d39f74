"""Attribution maps over the photos that the faces were found in, at the resolution of the photos."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.outputs.map_colors import blend, normalize
from fer_infer.photos.alignment import gray_of, inverse, transformed
from fer_infer.photos.found_face import FoundFace
from fer_infer.photos.images import read_photo

CORNERS: Final = IMAGE_SIZE * np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
"""Corners of the 48x48 face."""

MARGIN: Final = 0.15
"""Margin around the square that the model sees, as a fraction of its side."""
FINE: Final = 4
"""Steps per pixel in which smooth outlines are drawn."""
FINE_SIDE: Final = 1500
"""Longest side in pixels of a region whose outline is smooth."""
OUTLINE_SHARE: Final = 150
"""Sides of the outlined square per width of its outline."""


def overlay_map(
    photo: Any, face: FoundFace, attributions: NDArray[np.float32], *, signed: bool = False, outline: bool = True
) -> NDArray[np.uint8]:
    """Draw the attribution map of a face over the photo in which it was found.

    The map is interpolated at each pixel of the photo, by the inverse of the alignment. Inside the square that the
    model sees, the photo is gray and darkened, as in the maps of a report.

    Parameters
    ----------
    photo : str, Path, bytes, PIL.Image.Image or ndarray of uint8
        Photo, as `fer_infer.photos.find.find_faces` takes it.
    face : FoundFace
        Face in it.
    attributions : ndarray of float32, shape (48, 48)
        Attribution map of the face, of any scale.
    signed : bool
        Whether the sign of the map has a meaning: orange supports the class, blue opposes it.
    outline : bool
        Draw the border of the square that the model sees.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Red, green and blue of the upright photo.

    Raises
    ------
    DataError
        If the photo cannot be read.
    ConfigError
        If the map has another shape.

    Examples
    --------
    >>> from fer_infer import overlay_map
    >>> from fer_infer.photos.find import whole_face
    >>> photo = np.zeros((96, 96, 3), np.uint8)
    >>> overlay_map(photo, whole_face(photo), np.eye(48, dtype=np.float32)).shape
    (96, 96, 3)
    """
    if attributions.shape != (IMAGE_SIZE, IMAGE_SIZE):
        raise ConfigError(f"expected a map of shape (48, 48), found {attributions.shape}", parameter="attributions")
    return overlay_pixels(read_photo(photo), face, attributions, signed=signed, outline=outline)


def overlay_pixels(
    pixels: NDArray[np.uint8],
    face: FoundFace,
    attributions: NDArray[np.float32],
    *,
    signed: bool,
    outline: bool = True,
) -> NDArray[np.uint8]:
    """Draw a map over a photo that is read already, uint8 (H, W, 3); see `overlay_map`."""
    left, top, right, bottom = bounds_of(face, pixels.shape)
    shown = pixels.copy()
    region = shown[top:bottom, left:right]
    if region.size:
        values, inside = _sampled(normalize(attributions), face.transform, (left, top, right, bottom))
        region[inside] = blend(gray_of(region), values, signed=signed)[inside]
    return with_outline(shown, face) if outline else shown


def corners_of(face: FoundFace) -> NDArray[np.float64]:
    """Return the corners of the square that the model sees, (4, 2), in pixels of the photo, clockwise."""
    return transformed(inverse(face.transform), CORNERS)


def bounds_of(face: FoundFace, shape: tuple[int, ...], margin: float = 0.0) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of a photo around the square that the model sees.

    `shape` begins with height and width of the photo, and `margin` is a fraction of the larger side of the part.
    """
    corners = corners_of(face)
    low, high = corners.min(axis=0), corners.max(axis=0)
    space = margin * float((high - low).max())
    left, top = (max(0, math.floor(value - space)) for value in low)
    right, bottom = (min(end, math.ceil(value + space)) for end, value in zip(shape[1::-1], high, strict=True))
    return left, top, max(left, right), max(top, bottom)


def with_outline(pixels: NDArray[np.uint8], face: FoundFace, width: int | None = None) -> NDArray[np.uint8]:
    """Return a photo with the outline of the square that the model sees, white with a black border."""
    corners = corners_of(face)
    if width is None:
        width = max(1, round(float(np.linalg.norm(corners[1] - corners[0])) / OUTLINE_SHARE))
    left, top, right, bottom = bounds_of(face, pixels.shape, MARGIN)
    shown = pixels.copy()
    region = shown[top:bottom, left:right]
    if region.size:
        inner = corners - (left, top)
        for level, wide in ((0, width + 2), (255, width)):
            share = _line_shares(inner, wide, region.shape)[..., None]
            region[:] = np.rint(region + share * (level - region.astype(np.float32)))
    return shown


def _line_shares(corners: NDArray[np.float64], width: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the share of each pixel that the outline of a polygon covers, float32 (H, W)."""
    from PIL import Image, ImageDraw

    height, across = shape[:2]
    fine = FINE if max(height, across) <= FINE_SIDE else 1
    mask = Image.new("L", (across * fine, height * fine))
    closed = [(x * fine - 0.5, y * fine - 0.5) for x, y in [*corners.tolist(), corners[0].tolist()]]
    ImageDraw.Draw(mask).line(closed, fill=255, width=width * fine, joint="curve")
    return (np.asarray(mask.reduce(fine)) / 255).astype(np.float32)


def _sampled(
    values: NDArray[np.float32], transform: NDArray[np.float64], bounds: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the map at the pixels of a part of a photo, and which of them are inside the square.

    A pixel that covers several pixels of the map gets the mean of several samples.
    """
    left, top, right, bottom = bounds
    samples = max(1, math.ceil(math.sqrt(abs(np.linalg.det(transform[:, :2])))))
    offsets = (np.arange(samples) + 0.5) / samples
    total = np.zeros((bottom - top, right - left))
    for down in offsets:
        for across in offsets:
            x, y = _positions(transform, np.arange(left, right) + across, np.arange(top, bottom) + down)
            total += _bilinear(values, x - 0.5, y - 0.5)
    x, y = _positions(transform, np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    inside = (x >= 0) & (x < IMAGE_SIZE) & (y >= 0) & (y < IMAGE_SIZE)
    return (total / samples**2).astype(np.float32), inside


def _positions(
    transform: NDArray[np.float64], columns: NDArray[np.floating[Any]], rows: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y in the face of a grid of positions in the photo."""
    x, y = (row[0] * columns + row[1] * rows[:, None] + row[2] for row in transform)
    return x, y


def _bilinear(values: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate an image at positions counted from the center of its first pixel; borders are repeated."""
    x, y = np.clip(x, 0, values.shape[1] - 1), np.clip(y, 0, values.shape[0] - 1)
    left = np.minimum(x.astype(np.intp), values.shape[1] - 2)
    top = np.minimum(y.astype(np.intp), values.shape[0] - 2)
    right_share, lower_share = x - left, y - top
    upper = values[top, left] * (1 - right_share) + values[top, left + 1] * right_share
    lower = values[top + 1, left] * (1 - right_share) + values[top + 1, left + 1] * right_share
    mixed: NDArray[np.float64] = upper * (1 - lower_share) + lower * lower_share
    return mixed

"""Put a face into a larger noisy picture, at a known place."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fer_core.fer2013 import IMAGE_SIZE

BACKGROUNDS: Final = ("continued", "cut out")
SMALLEST_PICTURE: Final = 240


@dataclass(frozen=True)
class Condition:
    """How a face is put into a picture.

    Attributes
    ----------
    side : float
        Side of the 48x48 face in the picture, in pixels.
    roll : float
        Rotation in degrees, clockwise.
    brightness : float
        Factor of the gray levels.
    blur : float
        Standard deviation of a Gaussian blur, as a fraction of the side of the face.
    noise : float
        Standard deviation of noise on the picture, in gray levels.
    jpeg : int or None
        JPEG quality; None for a picture without losses.
    background : {"continued", "cut out"}
        Whether the border of the face is repeated over the picture before noise surrounds it, or noise begins at the
        border.
    """

    side: float = 192.0
    roll: float = 0.0
    brightness: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None
    background: str = "continued"


class Placed(NamedTuple):
    """A picture, (H, W, 3), the center of the face in it, and the transform, (2, 3), from the picture to the face."""

    pixels: NDArray[np.uint8]
    center: NDArray[np.float64]
    transform: NDArray[np.float64]


def drawn_condition(rng: np.random.Generator, background: str) -> Condition:
    """Draw a condition: 2 to 8 times enlarged, rolled by up to 30 degrees, and dimmed to 40% at most."""
    return Condition(IMAGE_SIZE * rng.uniform(2, 8), rng.uniform(-30, 30), rng.uniform(0.4, 1), background=background)


def put_into_picture(face: NDArray[np.uint8], how: Condition, rng: np.random.Generator) -> Placed:
    """Put a face, (48, 48), at a random place of a picture that is 1.8 to 2.6 times as wide and high."""
    side = max(1, round(how.side))
    height, width = (int(max(SMALLEST_PICTURE, side * rng.uniform(1.8, 2.6))) for _ in "yx")
    margin = 0.75 * side  # so that a rolled face is in the picture
    center = np.array([rng.uniform(margin, max(margin, length - margin)) for length in (width, height)])
    canvas = Image.fromarray(rng.uniform(60, 200, (height, width)).astype(np.float32))
    reach = IMAGE_SIZE if how.background == "continued" else 0
    source = Image.fromarray(np.pad(face, reach, mode="edge").astype(np.float32) * how.brightness)
    scale = side / IMAGE_SIZE
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    enlarged = source.resize((max(1, round(source.width * scale)),) * 2, method)
    layer = enlarged.rotate(-how.roll, Image.Resampling.BICUBIC, expand=True)  # Pillow rotates counterclockwise
    mask = Image.new("L", enlarged.size, 255).rotate(-how.roll, Image.Resampling.BICUBIC, expand=True)
    corner = np.rint(center - np.array(layer.size) / 2)
    canvas.paste(layer, tuple(corner.astype(int).tolist()), mask)
    center = corner + np.array(layer.size) / 2
    return Placed(_degraded(np.asarray(canvas), how, side, rng), center, _to_face(center, side, how.roll))


def _degraded(levels: NDArray[np.float32], how: Condition, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add noise, blur and JPEG losses to gray levels, and return them as red, green and blue."""
    noisy = levels + rng.normal(0, how.noise, levels.shape)
    gray = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    if how.blur:
        gray = gray.filter(ImageFilter.GaussianBlur(how.blur * side))
    if how.jpeg is not None:
        buffer = io.BytesIO()
        gray.save(buffer, "JPEG", quality=how.jpeg)
        gray = Image.open(buffer)
    return np.asarray(gray.convert("RGB"))


def _to_face(center: NDArray[np.float64], side: int, roll: float) -> NDArray[np.float64]:
    scale, angle = IMAGE_SIZE / side, math.radians(-roll)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, IMAGE_SIZE / 2 - linear @ center])

"""Images of explanations: attribution maps over faces, and values as colors. Equal input gives equal bytes.

Colors are distinguishable with any color vision: magnitudes use matplotlib's inferno, whose lightness increases
monotonically; signed values range from blue (negative) to orange (positive).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs import figures
from fer_core.outputs.figures import DPI as DPI
from fer_core.outputs.figures import save_figure as save_figure

MAGNITUDES: Final = "inferno"
SIGNED: Final = "PuOr_r"
POSITIVE: Final = np.array([230, 97, 1], np.float32)
NEGATIVE: Final = np.array([33, 102, 232], np.float32)

FACE_BRIGHTNESS: Final = 0.7
"""Factor by which faces are darkened under a map, so that the map has the highest brightness."""
OVERLAY_GAMMA: Final = 0.75
"""Exponent of the opacity of a map; below 1 it makes medium values visible."""
ZOOM: Final = 2
"""Enlargement of the pictures in a notebook."""
MIN_MAGNITUDE_COLOR: Final = 0.3
"""Start of the color scale of magnitudes; its darker part is not visible over a face."""


def normalize(attributions: NDArray[np.float32], percentile: float = 99.0) -> NDArray[np.float32]:
    """Scale each map to the range -1 to 1 by a percentile of its absolute values.

    Parameters
    ----------
    attributions : ndarray of float32, shape (..., 48, 48)
        Maps of any scale.
    percentile : float
        Percentile of the absolute values that is scaled to 1, 0..100; larger values are clipped, so that single
        pixels do not dominate. A map whose percentile is zero is scaled by its maximum.

    Returns
    -------
    ndarray of float32, the same shape
        -1..1; zero for a constant map.

    Examples
    --------
    >>> from fer_explain.plots import normalize
    >>> scaled = normalize(np.arange(2304, dtype=np.float32).reshape(48, 48))
    >>> float(scaled.min()), float(scaled.max())
    (0.0, 1.0)
    """
    strength = np.abs(attributions)
    flat = is_flat(attributions)
    pixels = strength.reshape(*strength.shape[:-2], strength.shape[-2] * strength.shape[-1])
    full = np.percentile(pixels, percentile, axis=-1)[..., None, None]
    full = np.where(full > 0, full, strength.max(axis=(-2, -1), keepdims=True))
    scaled = np.clip(attributions / np.where(flat, 1.0, full), -1.0, 1.0)
    return np.where(flat, 0.0, scaled).astype(np.float32)


def is_flat(attributions: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether each map is constant, shape (..., 1, 1)."""
    lowest, highest = attributions.min(axis=(-2, -1), keepdims=True), attributions.max(axis=(-2, -1), keepdims=True)
    flat: NDArray[np.bool_] = lowest == highest
    return flat


def overlay(images: NDArray[np.uint8], attributions: NDArray[np.float32], *, signed: bool) -> NDArray[np.uint8]:
    """Draw attribution maps over gray faces.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., 48, 48)
        Faces, 0..255.
    attributions : ndarray of float32, the same shape
        Maps of any scale; each is normalized separately, see `normalize`.
    signed : bool
        Whether the sign has a meaning: orange supports the class, blue opposes it.

    Returns
    -------
    ndarray of uint8, shape (..., 48, 48, 3)
        Red, green, blue, 0..255. Where a map is zero, the darkened face is visible.
    """
    return blend(images, normalize(attributions), signed=signed)


def blend(images: NDArray[np.uint8], values: NDArray[np.float32], *, signed: bool) -> NDArray[np.uint8]:
    """Draw maps that `normalize` has scaled over gray images of the same shape; see `overlay`."""
    strength = np.abs(values)[..., None]
    face = FACE_BRIGHTNESS * images[..., None].astype(np.float32)
    if signed:
        color = np.where(values[..., None] > 0, POSITIVE, NEGATIVE)
    else:
        color = 255 * _colors(MAGNITUDES, MIN_MAGNITUDE_COLOR + (1 - MIN_MAGNITUDE_COLOR) * strength[..., 0])
    mixed = face + strength**OVERLAY_GAMMA * (color - face)
    rounded: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return rounded


def scale_strip(*, signed: bool, length: int = 96) -> NDArray[np.uint8]:
    """Draw the color scale of `overlay`, from its lowest to its highest value, over mid gray, uint8 (1, length, 3)."""
    values = np.linspace(-1 if signed else 0, 1, length, dtype=np.float32)[None]
    return overlay(np.full(values.shape, 128, np.uint8), values, signed=signed)


def tint(values: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Map values to the colors of `sheet`, uint8 (..., 3); a lower limit below zero selects the diverging scale."""
    low, high = limits
    position = np.clip((values - low) / (high - low), 0, 1)
    return np.rint(255 * _colors(SIGNED if low < 0 else MAGNITUDES, position)).astype(np.uint8)


def value_limits(values: NDArray[np.float32], percentile: float = 99.5) -> tuple[float, float]:
    """Choose the limits of a color scale.

    Parameters
    ----------
    values : ndarray of float32
        Values to color.
    percentile : float
        Percentile of the absolute values at the end of the scale; larger values are clipped.

    Returns
    -------
    low, high : float
        (0, limit) if no value is negative, else (-limit, limit); the limit is 1 if all values are zero.
    """
    strength = np.abs(values)
    limit = float(np.percentile(strength, percentile)) or float(strength.max()) or 1.0
    return (-limit if (values < 0).any() else 0.0), limit


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (height, width) or (height, width, 3), as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return _png_uri(buffer.getvalue())


def reduced(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce an image, uint8 (height, width, 3), so that no side is longer than `side`; smaller ones are unchanged."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """Return a photo, uint8 (height, width, 3), as a JPEG data URI, which is much smaller than a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def file_uri(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return _png_uri(path.read_bytes())


def _png_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _colors(name: str, position: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Look up colors, float32 (..., 3) in 0..1, at positions 0..1 of a color map."""
    return np.asarray(figures.load_matplotlib().colormaps[name](position), np.float32)[..., :3]


def figure_html(pictures: Sequence[NDArray[np.uint8]], caption: str) -> str:
    """Return gray or color pictures of equal height side by side, enlarged, as HTML with a caption."""
    colored = [each if each.ndim == 3 else np.repeat(each[..., None], 3, axis=2) for each in pictures]
    enlarged = np.concatenate(colored, axis=1).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    uri, text = data_uri(enlarged), escape(caption)
    style = "display:inline-block;margin:4px"
    return f'<figure style="{style}"><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>'

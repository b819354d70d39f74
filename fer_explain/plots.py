"""Images of explanations: values as colors, and pictures for pages. Equal input gives equal bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import DPI as DPI
from fer_core.outputs.figures import save_figure as save_figure
from fer_core.outputs.map_colors import MAGNITUDES, SIGNED, look_up

ZOOM: Final = 2
"""Enlargement of the pictures in a notebook."""


def tint(values: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Map values to the colors of `sheet`, uint8 (..., 3); a lower limit below zero selects the diverging scale."""
    low, high = limits
    position = np.clip((values - low) / (high - low), 0, 1)
    return np.rint(255 * look_up(SIGNED if low < 0 else MAGNITUDES, position)).astype(np.uint8)


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


def figure_html(pictures: Sequence[NDArray[np.uint8]], caption: str) -> str:
    """Return gray or color pictures of equal height side by side, enlarged, as HTML with a caption."""
    colored = [each if each.ndim == 3 else np.repeat(each[..., None], 3, axis=2) for each in pictures]
    enlarged = np.concatenate(colored, axis=1).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    uri, text = data_uri(enlarged), escape(caption)
    style = "display:inline-block;margin:4px"
    return f'<figure style="{style}"><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>'

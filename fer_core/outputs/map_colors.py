"""Color scales of attribution maps, and maps over gray faces.

Colors are distinguishable with any color vision: magnitudes use matplotlib's inferno, whose lightness increases
monotonically; signed values range from blue (negative) to orange (positive).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs import figures

MAGNITUDES: Final = "inferno"
SIGNED: Final = "PuOr_r"
POSITIVE: Final = np.array([230, 97, 1], np.float32)
NEGATIVE: Final = np.array([33, 102, 232], np.float32)

FACE_BRIGHTNESS: Final = 0.7
"""Factor by which faces are darkened under a map, so that the map has the highest brightness."""
OVERLAY_GAMMA: Final = 0.75
"""Exponent of the opacity of a map; below 1 it makes medium values visible."""
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
    >>> from fer_core.outputs.map_colors import normalize
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
        color = 255 * look_up(MAGNITUDES, MIN_MAGNITUDE_COLOR + (1 - MIN_MAGNITUDE_COLOR) * strength[..., 0])
    mixed = face + strength**OVERLAY_GAMMA * (color - face)
    rounded: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return rounded


def scale_strip(*, signed: bool, length: int = 96) -> NDArray[np.uint8]:
    """Draw the color scale of `overlay`, from its lowest to its highest value, over mid gray, uint8 (1, length, 3)."""
    values = np.linspace(-1 if signed else 0, 1, length, dtype=np.float32)[None]
    return overlay(np.full(values.shape, 128, np.uint8), values, signed=signed)


def look_up(name: str, position: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Look up colors, float32 (..., 3) in 0..1, at positions 0..1 of a color map."""
    return np.asarray(figures.load_matplotlib().colormaps[name](position), np.float32)[..., :3]

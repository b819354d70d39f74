"""Images and color scales of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.outputs.map_colors import scale_strip
from fer_explain.plots import data_uri, jpeg_uri, reduced, tint
from fer_explain.report.photo_maps import PhotoMap

PHOTO_SIDE: Final = 480
"""Longest side in pixels of a face in its photo on the page; the saved picture has the resolution of the photo."""


@dataclass(frozen=True)
class Picture:
    """An image: `src`, a data URI, its `alt` text and its `caption`."""

    src: str
    alt: str
    caption: str


def photo_view(row: int, photo: PhotoMap, method: str, name: str) -> tuple[Picture, ...]:
    """Return the face in its photo with its map for a class and, if there is one, the small view of the photo."""
    width, height = photo.size
    map_alt = f"Row {row}: {method} map for {name} laid over the photo, whose outlined square is the model's input"
    pictures = [Picture(jpeg_uri(reduced(photo.mapped, PHOTO_SIDE)), map_alt, f"{method} for {name}, on the photo")]
    if photo.whole is not None:
        alt = f"Row {row}: the whole photo, in which the face is outlined"
        pictures.append(Picture(jpeg_uri(photo.whole), alt, f"whole photo, {width} x {height} pixels"))
    return tuple(pictures)


@dataclass(frozen=True)
class Scale:
    """A color scale: `src`, a data URI, and the captions of its two ends."""

    src: str
    low: str
    high: str


def thumbnail(faces: Faces, position: int, note: str) -> Picture:
    """Return the face at a position; the caption is its row number and the note."""
    caption = f"row {faces.rows[position]}{note}"
    return Picture(data_uri(faces.images[position]), caption.capitalize(), caption)


def overlay_scale(*, signed: bool) -> Scale:
    """Return the color scale of a map over a face."""
    src = data_uri(np.repeat(scale_strip(signed=signed), 8, axis=0))
    if signed:
        return Scale(src, "against the class", "for the class")
    return Scale(src, "no influence", "strongest influence")


def tint_scale(limits: tuple[float, float], digits: int = 2) -> Scale:
    """Return the color scale of `fer_explain.plots.tint` between two values."""
    ramp = np.linspace(*limits, 96, dtype=np.float32)
    low, high = (f"{limit:.{digits}f}" for limit in limits)
    return Scale(data_uri(np.repeat(tint(ramp, limits)[None], 8, axis=0)), low, high)


def strongest(attributions: NDArray[np.float32]) -> str:
    """Describe in words where a map is strongest, for alt texts."""
    if attributions.min() == attributions.max():
        return "constant, no pixel stands out"
    y, x = np.unravel_index(int(np.abs(attributions).argmax()), attributions.shape)
    vertical = ("top", "middle", "bottom")[3 * int(y) // attributions.shape[0]]
    horizontal = ("left", "center", "right")[3 * int(x) // attributions.shape[1]]
    return f"strongest at the {vertical} {horizontal}"

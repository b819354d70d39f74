"""A picture of the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_explain.plots import data_uri, scale_strip, tint


@dataclass(frozen=True)
class Picture:
    """A picture: its `src`, a data URI, its `alt` text and its `caption`."""

    src: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Scale:
    """A colour scale: its `src`, a data URI, and what its ends are called."""

    src: str
    low: str
    high: str


def thumbnail(faces: Faces, place: int, caption: str) -> Picture:
    """Show the face at a position as it is, its row number first in the caption."""
    caption = f"row {faces.rows[place]}{caption}"
    return Picture(data_uri(faces.images[place]), caption.capitalize(), caption)


def overlay_scale(*, signed: bool) -> Scale:
    """Show the colours of a map laid over a face."""
    src = data_uri(np.repeat(scale_strip(signed=signed), 8, axis=0))
    return Scale(src, "against", "for") if signed else Scale(src, "no influence", "strongest")


def tint_scale(limits: tuple[float, float], digits: int = 2) -> Scale:
    """Show the colours of `fer_explain.plots.tint` between two values."""
    ramp = np.linspace(*limits, 96, dtype=np.float32)
    low, high = (f"{limit:.{digits}f}" for limit in limits)
    return Scale(data_uri(np.repeat(tint(ramp, limits)[None], 8, axis=0)), low, high)


def strongest(attributions: NDArray[np.float32]) -> str:
    """Say in words where a map is strongest, for those who cannot see it."""
    if attributions.min() == attributions.max():
        return "flat: no pixel stands out"
    y, x = np.unravel_index(int(np.abs(attributions).argmax()), attributions.shape)
    height = ("top", "middle", "bottom")[3 * int(y) // attributions.shape[0]]
    side = ("left", "centre", "right")[3 * int(x) // attributions.shape[1]]
    return f"strongest at the {height} {side}"

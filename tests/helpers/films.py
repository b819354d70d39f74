"""Films of a face that moves along a known path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage import data

SIZE = (480, 320)
FACE = Image.fromarray(data.astronaut()[:256, 80:336])
"""A portrait; its face is at about 97..187, 63..176."""


def frame_at(places: Sequence[tuple[float, float]]) -> Image.Image:
    """Return a picture with the portrait at each place, given by its upper left corner."""
    picture = Image.new("RGB", SIZE, (90, 110, 120))
    for x, y in places:
        picture.paste(FACE, (round(x), round(y)))
    return picture


def write_film(
    path: Path,
    times_s: Sequence[float],
    places: Callable[[float], Sequence[tuple[float, float]]],
    *,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a film whose frames show the portrait at the places of their times; `rotation` is that of the display."""
    with av.open(str(path), "w", options=options or {}) as film:
        film.metadata.update(metadata or {})
        stream = film.add_stream(codec, rate=25, options={"g": "10"})
        turned = rotation % 180 != 0
        stream.width, stream.height = SIZE[::-1] if turned else SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for time_s in times_s:
            stored = np.rot90(np.asarray(frame_at(places(time_s))), -rotation // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path

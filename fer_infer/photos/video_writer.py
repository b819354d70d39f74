"""Write frames as a film, at the times at which they were shown."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from fer_core.extras import needed_from
from fer_infer.photos.video import Frame

FILM_ENDINGS: Final = (".mp4",)
CODECS: Final = ("libx264", "mpeg4")
"""Codecs by preference: H.264, which every browser plays, and MPEG-4, which every build of FFmpeg has."""
TIME_BASE: Final = Fraction(1, 90_000)
NOMINAL_RATE: Final = 30
"""Frames per second that the header states; the times of the frames are exact."""


class FilmWriter:
    """Writes an MP4 film without sound and metadata; a context manager, which completes the file.

    Parameters
    ----------
    path : Path
        File to write, of any name.

    Raises
    ------
    FerError
        If the package `av` is not installed (extra `photos`).
    """

    def __init__(self, path: Path) -> None:
        with needed_from("photos"):
            import av
        self._container: Any = av.open(str(path), "w", format="mp4")
        self._codec = next(codec for codec in CODECS if codec in av.codecs_available)
        self._stream: Any = None
        self._size = (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write_all(self, frames: Iterable[Frame]) -> None:
        """Write frames in the order of their times; all have the size of the first."""
        import av

        for frame in frames:
            if self._stream is None:
                self._open(frame)
            height, width = self._size
            even = frame.pixels[:height, :width]  # the codecs take even sides only
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            picture.pts, picture.time_base = round(frame.time_s / TIME_BASE), TIME_BASE
            self._container.mux(self._stream.encode(picture))

    def _open(self, frame: Frame) -> None:
        height, width = (side - side % 2 for side in frame.pixels.shape[:2])
        self._size = height, width
        self._stream = self._container.add_stream(self._codec, rate=NOMINAL_RATE)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE
        if self._codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}

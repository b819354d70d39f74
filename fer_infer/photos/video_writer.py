"""Write frames as a film, at the times at which they were shown."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import OutputError, first_line
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

    All frames have the size of the first, with sides rounded up to even numbers, which the codecs require.

    Parameters
    ----------
    path : Path
        File to write, of any name.
    name : str, optional
        Name of the film in errors, by default `path`.

    Raises
    ------
    FerError
        If the package `av` is not installed (extra `photos`).
    """

    def __init__(self, path: Path, name: str = "") -> None:
        with needed_from("photos"):
            import av
        self._name = name or str(path)
        self._container: Any = av.open(f"file:{path}", "w", format="mp4")  # the name may contain a colon
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
        """Write frames in the strictly increasing order of their times.

        Raises
        ------
        OutputError
            If the frames cannot be encoded, e.g. because they are too large for the codec.
        """
        import av

        for frame in frames:
            try:
                self._write(frame)
            except OSError:  # such as a full disk: the caller knows the name of the output
                raise
            except av.FFmpegError as error:
                height, width = frame.pixels.shape[:2]
                reason = f"{error.strerror or first_line(error)}, frames of {width}x{height} pixels"
                raise OutputError(f"{self._name}: cannot be encoded as a film ({reason})") from None

    def _write(self, frame: Frame) -> None:
        import av

        pixels = _even(frame.pixels)
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if self._stream is None:
            self._open(pixels.shape[1], pixels.shape[0])
        elif (picture.width, picture.height) != self._size:
            picture = picture.reformat(*self._size)
        picture.pts, picture.time_base = round(frame.time_s / TIME_BASE), TIME_BASE
        self._container.mux(self._stream.encode(picture))

    def _open(self, width: int, height: int) -> None:
        self._size = width, height
        self._stream = self._container.add_stream(self._codec, rate=NOMINAL_RATE)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE
        if self._codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row and column of a picture whose sides are odd."""
    odd = [(0, side % 2) for side in pixels.shape[:2]]
    return (
        np.pad(pixels, [*odd, (0, 0)], mode="edge") if any(after for _, after in odd) else np.ascontiguousarray(pixels)
    )

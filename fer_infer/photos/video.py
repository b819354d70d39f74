"""Read the frames of a film with their times, upright, in constant memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import ConfigError, DataError, first_line
from fer_core.extras import needed_from

DECODER_THREADS: Final = 2
"""Threads that decode a film, besides those that find faces."""

MISSING_S: Final = 0.2
"""Time in seconds by which a film may be shorter than its header states; headers are not exact."""

STATE_LENGTH: Final = ("matroska", "mov", "flv", "avi", "asf")
"""Containers whose header states the length of the film. For others, FFmpeg estimates it from what is there."""

SAME_TIME_S: Final = 0.001
"""Time in seconds between frames for which the stream states the same time."""

WIDEST_PIXEL: Final = 8
"""Ratio of the sides of a pixel up to which a header is trusted; pixels of real cameras stay below 3."""


class Frame(NamedTuple):
    """A frame of a film.

    Attributes
    ----------
    number : int
        Number of the frame in the film, from 0.
    time_s : float
        Time at which it is shown, in seconds from the first frame.
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue, upright and with square pixels.
    """

    number: int
    time_s: float
    pixels: NDArray[np.uint8]


class BrokenFilmError(DataError):
    """A film that breaks off; the message says where."""


def iter_frames(film: str | Path, *, every_s: float | None = None) -> Iterator[Frame]:
    """Stream the frames of a film.

    Times are those of the stream, so a film with a variable frame rate is read as well; where the times of a stream
    start again, as in joined transport streams, those of the frames continue. A rotation or reflection in the metadata
    is applied, and pixels that are not square are resized horizontally. Interlaced frames and damaged pixels that
    FFmpeg conceals stay as they are.

    Parameters
    ----------
    film : str or Path
        File that FFmpeg can read, e.g. MP4, MOV, MKV, WebM or AVI.
    every_s : float, optional
        Yield only the first frame at or after each multiple of this time, in seconds.

    Yields
    ------
    Frame
        Frames in the order in which they are shown.

    Raises
    ------
    BrokenFilmError
        After the last frame that can be read, if the film breaks off: it cannot be decoded further, or is shorter than
        its header states. Transport and program streams (TS, MPG) state no length, so their end is not checked.
    DataError
        If the file cannot be read as a film, or is a picture.
    ConfigError
        If `every_s` is not above 0.
    FerError
        If the package `av` is not installed (extra `photos`).

    Examples
    --------
    >>> from fer_infer.photos.video import iter_frames
    >>> next(iter_frames("faces.csv"))
    Traceback (most recent call last):
        ...
    fer_core.errors.DataError: faces.csv: cannot be read as a film (Invalid data found when processing input)
    """
    if every_s is not None and not (math.isfinite(every_s) and every_s > 0):
        raise ConfigError(f"expected more than 0, found {every_s}", parameter="every_s")
    with needed_from("photos"):
        import av
    name = os.fspath(film)
    av.logging.set_level(None)  # errors are raised
    try:
        # without a protocol, FFmpeg takes the start of a name such as `12:30.mp4` for one
        container = av.open(f"file:{name}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(name, f"cannot be read as a film ({_reason(error)})") from None
    with closing(container):
        stream = _stream_of(container, name)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        for number, time_s, frame in _chosen(_decoded(container, stream, name), every_s):
            yield Frame(number, time_s, _pixels(frame, stream.sample_aspect_ratio))


def _stream_of(container: Any, name: str) -> Any:
    """Return the first stream of moving pictures; the cover of a song is none."""
    import av

    kind = container.format.name
    if kind == "image2" or kind.endswith("_pipe"):
        raise DataError(name, "is a picture, expected a film")
    pictures = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
    if not pictures:
        raise DataError(name, "has no moving pictures")
    return pictures[0]


def _decoded(container: Any, stream: Any, name: str) -> Iterator[tuple[int, float, Any]]:
    """Yield the number, the time and the frame of FFmpeg; raise BrokenFilmError at the place where they break off."""
    import av

    clock = _Clock(1 / float(stream.average_rate or 25))
    number, end_s = 0, 0.0
    start_s = (container.start_time or 0) / av.time_base
    try:
        for packet in container.demux():  # all streams: the sound may be longer than the pictures
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start_s)
            for frame in packet.decode() if packet.stream.index == stream.index else ():
                yield number, clock.time_of(frame), frame
                number += 1
    except (av.FFmpegError, ValueError) as error:
        raise _broken(name, number, clock.time_s, _reason(error)) from None
    if not number:
        raise DataError(name, "has no frame that can be decoded")
    stated_s = _stated_length(container, stream)
    if end_s < stated_s - MISSING_S:
        raise _broken(name, number, clock.time_s, f"expected a length of {stated_s:.2f} s")


class _Clock:
    """Times of frames in seconds from the first, in strictly increasing order."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._start: int | None = None
        self._last = 0
        self._offset_s = 0.0
        self.time_s = 0.0

    def time_of(self, frame: Any) -> float:
        """Return the time of the next frame."""
        if self._start is None:
            self._start = self._last = frame.pts or 0
            return self.time_s
        if frame.pts is None:  # a stream without times
            self.time_s += self._step_s
            return self.time_s
        if frame.pts < self._last:
            self._start, self._offset_s = frame.pts, self.time_s + self._step_s
        since_start = float((frame.pts - self._start) * Fraction(frame.time_base))
        self.time_s = max(self._offset_s + since_start, self.time_s + SAME_TIME_S)
        self._last = frame.pts
        return self.time_s


def _stated_length(container: Any, stream: Any) -> float:
    """Return the length in seconds that the header states, or 0 if it states none."""
    import av

    kind = container.format.name.split(",")[0]
    if kind not in STATE_LENGTH:
        return 0.0
    if kind == "avi" and stream.average_rate:  # FFmpeg corrects the length of a short file, but not this number
        return float(stream.frames / stream.average_rate)
    return (container.duration or 0) / av.time_base


def _broken(name: str, frames: int, time_s: float, reason: str) -> BrokenFilmError:
    return BrokenFilmError(name, f"breaks off after {frames:,} frames, at {time_s:.2f} s ({reason})")


def _chosen(frames: Iterator[tuple[int, float, Any]], every_s: float | None) -> Iterator[tuple[int, float, Any]]:
    due = 0
    for number, time_s, frame in frames:
        if every_s is not None:
            if time_s < due * every_s - 1e-9:
                continue
            due = math.floor(time_s / every_s + 1e-9) + 1
        yield number, time_s, frame


def _pixels(frame: Any, aspect: Fraction | None) -> NDArray[np.uint8]:
    """Return the pixels, square and upright; `aspect` is the width of a stored pixel relative to its height."""
    if not aspect or not 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL:
        aspect = Fraction(1)
    width = max(1, round(frame.width * aspect))
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    # x' = a x + c y, y' = b x + d y; only quarter turns and reflections are upright pictures
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    rows, columns = (slice(None, None, -1 if scale < 0 else 1) for scale in (d, a))
    return np.ascontiguousarray(pixels[rows, columns])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)

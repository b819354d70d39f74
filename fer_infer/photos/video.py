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

    Times are those of the stream, so a film with a variable frame rate is read as well. A rotation in the metadata is
    applied, and pixels that are not square are resized horizontally. Frames that are interlaced stay so.

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
        After the last frame that can be read, if the film breaks off: it cannot be decoded further, or has fewer
        frames than it states.
    DataError
        If the file cannot be read as a film.
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
        container = av.open(name, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(name, f"cannot be read as a film ({_reason(error)})") from None
    with closing(container):
        stream = _stream_of(container, name)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        yield from _chosen(_decoded(container, stream, name), every_s)


def _stream_of(container: Any, name: str) -> Any:
    """Return the first stream of moving pictures; the cover of a song is none."""
    import av

    pictures = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
    if not pictures:
        raise DataError(name, "has no moving pictures")
    return pictures[0]


def _decoded(container: Any, stream: Any, name: str) -> Iterator[tuple[int, float, Any]]:
    """Yield the number, the time and the frame of FFmpeg; raise BrokenFilmError at the place where they break off."""
    import av

    number, time_s, start = 0, 0.0, None
    try:
        for frame in container.decode(stream):
            start = frame.pts if start is None else start
            if frame.pts is not None and start is not None:
                time_s = float((frame.pts - start) * Fraction(frame.time_base))
            elif number:  # a stream without times
                time_s += float(1 / (stream.average_rate or 25))
            yield number, time_s, frame
            number += 1
    except (av.FFmpegError, ValueError) as error:
        raise _broken(name, number, time_s, _reason(error)) from None
    if number < stream.frames:
        raise _broken(name, number, time_s, f"expected {stream.frames:,} frames")
    if not number:
        raise DataError(name, "has no frame that can be decoded")


def _broken(name: str, frames: int, time_s: float, reason: str) -> BrokenFilmError:
    return BrokenFilmError(name, f"breaks off after {frames:,} frames, at {time_s:.2f} s ({reason})")


def _chosen(frames: Iterator[tuple[int, float, Any]], every_s: float | None) -> Iterator[Frame]:
    due = 0
    for number, time_s, frame in frames:
        if every_s is not None:
            if time_s < due * every_s - 1e-9:
                continue
            due = math.floor(time_s / every_s + 1e-9) + 1
        yield Frame(number, time_s, _pixels(frame))


def _pixels(frame: Any) -> NDArray[np.uint8]:
    aspect = getattr(frame, "sample_aspect_ratio", None) or 1
    width = max(1, round(frame.width * aspect))
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    quarters = round(frame.rotation / 90) % 4  # counterclockwise
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)

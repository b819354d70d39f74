"""Find and follow the faces of a film: rows and 48x48 faces, in batches for a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core.cores import available_cores
from fer_core.io.images import NO_FACE
from fer_core.io.read_ahead import map_ahead
from fer_infer.config import ScoreConfig
from fer_infer.photos.detector import Detection
from fer_infer.photos.find import search
from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.tracking import Tracker
from fer_infer.photos.video import BrokenFilmError, Frame, iter_frames
from fer_infer.scoring.photo_search import images_of, too_small

_NOTHING: Final = np.empty((0, 0, 3), np.uint8)

BATCH_FRAMES: Final = 64
OVERLAY_FRAMES: Final = 8
"""Frames per batch, without and with the pixels that an overlay needs."""


@dataclass(frozen=True, eq=False)
class FrameRow:
    """A face of a frame, or the reason why there is none; `id` is that of the tracker."""

    frame: int
    time_s: float
    id: int | None
    face: FoundFace | None
    box: Box | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Rows of frames, the 48x48 faces of those that have one, and the frames, whose pixels are empty if not needed."""

    rows: Sequence[FrameRow]
    images: NDArray[np.uint8]
    frames: Sequence[Frame]

    def name_of(self, face: int) -> str:
        """Return the name of a face in errors."""
        row = [row for row in self.rows if row.face is not None][face]
        return f"frame {row.frame}, face {row.id}"


def batches_of(film: str | Path, tracker: Tracker, config: ScoreConfig) -> Iterator[FrameBatch]:
    """Find and follow the faces of a film; yield its rows in order."""
    broken: list[BrokenFilmError] = []
    keep = config.overlay is not None
    find = partial(_found, config=config)
    rows: list[FrameRow] = []
    frames: list[Frame] = []
    last = Frame(0, 0.0, _NOTHING)
    for frame, faces, small in map_ahead(find, _frames(film, config, broken), config.threads or available_cores()):
        last = frame if keep else frame._replace(pixels=_NOTHING)
        frames.append(last)
        rows += _rows(last, faces, small, tracker, config)
        if len(frames) >= (OVERLAY_FRAMES if keep else BATCH_FRAMES):
            yield FrameBatch(rows, images_of(rows), frames)
            rows, frames = [], []
    for error in broken:
        rows.append(FrameRow(last.number, last.time_s, None, None, reason=error.message))
    yield FrameBatch(rows, images_of(rows), frames)


def _frames(film: str | Path, config: ScoreConfig, broken: list[BrokenFilmError]) -> Iterator[Frame]:
    """Yield frames; where the film breaks off, end and append the error."""
    try:
        for number, frame in enumerate(iter_frames(film, every_s=config.every_s)):
            if number == config.limit:
                return
            yield frame
    except BrokenFilmError as error:
        if config.on_error == "fail":
            raise
        broken.append(error)


def _found(frame: Frame, *, config: ScoreConfig) -> tuple[Frame, list[FoundFace], list[Detection]]:
    return frame, *search(frame.pixels, config.min_face)


def _rows(
    frame: Frame, faces: list[FoundFace], small: list[Detection], tracker: Tracker, config: ScoreConfig
) -> list[FrameRow]:
    ids = tracker.assign(faces, frame.time_s)
    rows = [FrameRow(frame.number, frame.time_s, one, face, face.box) for one, face in zip(ids, faces, strict=True)]
    rows += [
        FrameRow(frame.number, frame.time_s, None, None, face.box, too_small(face, config.min_face)) for face in small
    ]
    return rows or [FrameRow(frame.number, frame.time_s, None, None, reason=NO_FACE)]

"""Score a film: find, follow and score its faces, in constant memory."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataWarning
from fer_core.cores import available_cores
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.crop import DETECT
from fer_core.io.images import NO_FACE
from fer_core.io.read_ahead import map_ahead, read_ahead
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_infer.config import ScoreConfig
from fer_infer.photos.detector import Detection
from fer_infer.photos.find import search, shared_detector
from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.overlay import HeldBoxes, Label, anonymize, draw_labels
from fer_infer.photos.smoothing import Smoother
from fer_infer.photos.timeline import Timeline
from fer_infer.photos.tracking import LOST_S, Tracker, lost_s
from fer_infer.photos.video import BrokenFilmError, Frame, iter_frames
from fer_infer.photos.video_writer import FILM_ENDINGS, FilmWriter
from fer_infer.scorer import Scorer
from fer_infer.scoring.photo_search import too_small
from fer_infer.scoring.photos import BOX_COLUMNS, about_faces, box_cells, detail_columns
from fer_infer.scoring.pipeline import scored
from fer_infer.scoring.predictions import ENDINGS
from fer_infer.scoring.summary import FilmSummary, run_facts
from fer_infer.scoring.table_writer import Column, Kind, Row, open_table

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


def score_film(
    film: str | Path, model: str | Path, output: str | Path, config: ScoreConfig, *, force: bool = False
) -> FilmSummary:
    """Predict the expression of every face in every frame of a film, as `fer_infer.score` does for a film.

    Parameters
    ----------
    film : str or Path
        Film as `fer_infer.photos.video.iter_frames` takes it.
    model, output, force
        Parameters of `fer_infer.score`.
    config : ScoreConfig
        Settings.

    Returns
    -------
    FilmSummary
        Number of frames, faces and ids.

    Raises
    ------
    FerError
        After an error, no output is left. A film that breaks off is an error with ``on_error="fail"``; else its last
        row states where it broke, with a `DataWarning`.
    """
    start_s = time.perf_counter()
    if config.faces != DETECT:
        raise ConfigError(f"expected {DETECT} for a film, found {config.faces}", parameter="faces")
    film, target = (os.path.expanduser(path) for path in (film, output))  # noqa: PTH111 - no Path, as in `score`
    tracker = Tracker(lost_s(config.every_s))
    inputs = (film, model)
    with ExitStack() as stack:
        stage = stack.enter_context(staged(target, force=force, endings=ENDINGS, inputs=inputs))
        overlay = _overlay(stack, config, inputs, force)
        timeline_stage = _timeline_stage(stack, config, inputs, force)
        shared_detector(config.min_face)  # a missing package is reported before the model is loaded
        scorer = stack.enter_context(Scorer(model, config.device, config.precision, threads=config.threads))
        classes = scorer.card.labels
        about = {**about_faces(config.faces), "weights_sha256": scorer.card.weights_sha256}
        sink = _Sink(config, classes)
        with (
            read_ahead(
                lambda: scored(lambda: batches_of(film, tracker, config), scorer, config, FrameBatch.name_of)
            ) as batches,
            closing(scorer),  # before the reading thread is waited for
            progress("score", None, "frames") as advance,
            open_table(stage, columns_for(config, classes), name=target, about=about) as table,
        ):
            for batch, logits, probabilities in batches:
                table.write(list(sink.rows(batch, logits, probabilities)))
                if overlay is not None:
                    overlay.write_all(sink.drawn(batch))
                advance(len(batch.frames))
        if timeline_stage is not None:
            sink.timeline.save(timeline_stage, Path(film).name)
    for reason in sink.broken:
        warnings.warn(f"{film}: {reason}", DataWarning, stacklevel=2)
    return FilmSummary(
        rows=int(sink.by_class.sum()),
        rejected=sink.without_face,
        label_counts=dict(zip(classes, sink.by_class.tolist(), strict=True)),
        frames=sink.frames,
        film_s=sink.time_s,
        ids=tracker.count,
        about=about,
        **run_facts(scorer, config.tta, start_s, target),
    )


def _overlay(stack: ExitStack, config: ScoreConfig, inputs: Sequence[str | Path], force: bool) -> FilmWriter | None:
    if config.overlay is None:
        config.require_nothing_to_cover()
        return None
    target = os.path.expanduser(config.overlay)  # noqa: PTH111 - as above
    stage = stack.enter_context(staged(target, force=force, endings=FILM_ENDINGS, inputs=inputs))
    return stack.enter_context(FilmWriter(stage, target))


def _timeline_stage(stack: ExitStack, config: ScoreConfig, inputs: Sequence[str | Path], force: bool) -> Path | None:
    if config.timeline is None:
        return None
    target = os.path.expanduser(config.timeline)  # noqa: PTH111 - as above
    return stack.enter_context(staged(target, force=force, endings=(".png",), inputs=inputs))


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
            yield _batch(rows, frames)
            rows, frames = [], []
    for error in broken:
        rows.append(FrameRow(last.number, last.time_s, None, None, reason=error.message))
    yield _batch(rows, frames)


_NOTHING: Final = np.empty((0, 0, 3), np.uint8)


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


def _batch(rows: list[FrameRow], frames: list[Frame]) -> FrameBatch:
    images = [row.face.image for row in rows if row.face is not None]
    return FrameBatch(rows, np.array(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE), frames)


def columns_for(config: ScoreConfig, classes: Sequence[str]) -> list[Column]:
    """Return the columns of the output."""
    label: Kind = "text" if config.names else "integer"
    values = [] if config.columns == "id-label" else list(classes)
    return [
        Column("frame", "integer"),
        Column("time", "time"),
        Column("face", "integer"),
        *BOX_COLUMNS,
        Column("detection", "number"),
        *detail_columns(config),
        Column("label", label),
        *(Column(name, "number") for name in values),
        Column("label_smoothed", label),
        *(Column(f"{name}_smoothed", "number") for name in values),
        Column("reason", "text"),
    ]


class _Sink:
    """Turns scored batches into rows and labels, smooths probabilities, and counts."""

    def __init__(self, config: ScoreConfig, classes: Sequence[str]) -> None:
        self._config, self._classes = config, classes
        self._smoother = Smoother(config.smooth_s)
        self._labels: dict[int, list[Label]] = {}
        self._held = HeldBoxes(lost_s(config.every_s))
        # the frames before and after an absence may be as far apart from it as it is long
        never_s = 3 * lost_s(config.every_s)
        self.timeline = Timeline(classes, max(LOST_S / 2, 2 * (config.every_s or 0)), never_s)
        self.by_class = np.zeros(len(classes), np.int64)
        self.without_face = self.frames = 0
        self.time_s = 0.0
        self.broken: list[str] = []

    def rows(self, batch: FrameBatch, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> Iterator[Row]:
        """Yield the rows of a batch in the order of `columns_for`."""
        self._labels = {}
        self.frames += len(batch.frames)
        self.time_s = batch.frames[-1].time_s if batch.frames else self.time_s
        self.by_class += np.bincount(logits.argmax(axis=1), minlength=len(self.by_class))
        empty = len(columns_for(self._config, self._classes)) - 4
        scores = iter(zip(logits, probabilities, strict=True))
        for row in batch.rows:
            if row.face is None or row.id is None:
                self.without_face += 1
                if row.box is None and row.reason != NO_FACE:
                    self.broken.append(row.reason)
                yield [row.frame, row.time_s, None, *[None] * empty, row.reason]
                continue
            logit, current = next(scores)
            smooth = self._smoother.add(row.id, row.time_s, current)
            if self._config.timeline is not None:
                self.timeline.add(row.id, row.time_s, smooth)
            best = int(smooth.argmax())
            title = f"{row.id}  {self._classes[best]} {smooth[best]:.0%}"
            self._labels.setdefault(row.frame, []).append(Label(row.face.box, title, smooth.tolist(), self._classes))
            values = logit if self._config.columns == "logits" else current
            yield [
                row.frame,
                row.time_s,
                row.id,
                *box_cells(row.face, self._config),
                *self._cells(int(logit.argmax()), values),
                *self._cells(best, smooth),
                None,
            ]

    def _cells(self, label: int, values: NDArray[np.floating]) -> list[Any]:
        named = self._classes[label] if self._config.names else label
        return [named] if self._config.columns == "id-label" else [named, *values.tolist()]

    def drawn(self, batch: FrameBatch) -> Iterator[Frame]:
        """Yield the frames of the batch whose rows were yielded last, with their labels drawn in."""
        found: dict[int, list[tuple[int | None, Box]]] = {}
        for row in batch.rows:
            if row.box is not None:
                found.setdefault(row.frame, []).append((row.id, row.box))
        for frame in batch.frames:
            boxes = self._held.at(frame.time_s, found.get(frame.number, []))
            covered = anonymize(frame.pixels, boxes, self._config.anonymize)
            yield frame._replace(pixels=draw_labels(covered, self._labels.get(frame.number, [])))

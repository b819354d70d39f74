"""Score a film: find, follow and score its faces, in constant memory."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataWarning
from fer_core.io.crop import DETECT
from fer_core.io.images import NO_FACE
from fer_core.io.read_ahead import read_ahead
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_infer.attribution.maps import SIGNED, AttributionMaps
from fer_infer.config import ScoreConfig
from fer_infer.photos.find import shared_detector
from fer_infer.photos.found_face import Box
from fer_infer.photos.map_overlay import overlay_pixels
from fer_infer.photos.overlay import HeldBoxes, Label, anonymize, draw_labels
from fer_infer.photos.smoothing import Smoother
from fer_infer.photos.timeline import Timeline
from fer_infer.photos.tracking import LOST_S, Tracker, lost_s
from fer_infer.photos.video import Frame
from fer_infer.photos.video_writer import FILM_ENDINGS, FilmWriter
from fer_infer.scoring.explained import RowNumbers, open_model, predicted
from fer_infer.scoring.film_search import FrameBatch, batches_of
from fer_infer.scoring.photos import BOX_COLUMNS, about_faces, box_cells, detail_columns
from fer_infer.scoring.summary import FilmSummary, run_facts
from fer_infer.scoring.writers.map_writer import open_maps, with_maps_written
from fer_infer.scoring.writers.predictions import ENDINGS
from fer_infer.scoring.writers.table_writer import Column, Kind, Row, open_table


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
        maps_file = open_maps(stack, config, inputs, force=force)
        scorer = open_model(model, config)
        stack.callback(scorer.close)
        classes = scorer.card.labels
        about = {**about_faces(config.faces), "weights_sha256": scorer.card.weights_sha256}
        sink = _Sink(config, classes)
        with (
            read_ahead(
                lambda: predicted(
                    lambda: batches_of(film, tracker, config), scorer, config, FrameBatch.name_of, RowNumbers()
                )
            ) as batches,
            closing(scorer),  # before the reading thread is waited for
            progress("score", None, "frames") as advance,
            open_table(stage, columns_for(config, classes), name=target, about=about) as table,
        ):
            for batch, logits, probabilities, maps in with_maps_written(batches, maps_file, scorer):
                table.write(list(sink.rows(batch, logits, probabilities)))
                if overlay is not None:
                    overlay.write_all(sink.drawn(batch, maps))
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
        **run_facts(scorer, config.tta, start_s, target, maps_file),
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
        self._signed = config.method in SIGNED
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

    def drawn(self, batch: FrameBatch, maps: AttributionMaps | None) -> Iterator[Frame]:
        """Yield the frames of the batch whose rows were yielded last, with their labels and maps drawn in."""
        faces = [(row.frame, row.face) for row in batch.rows if row.face is not None]
        found: dict[int, list[tuple[int | None, Box]]] = {}
        for row in batch.rows:
            if row.box is not None:
                found.setdefault(row.frame, []).append((row.id, row.box))
        for frame in batch.frames:
            boxes = self._held.at(frame.time_s, found.get(frame.number, []))
            covered = anonymize(frame.pixels, boxes, self._config.anonymize)
            for place, (number, face) in enumerate(faces if maps is not None else ()):
                if number == frame.number and maps is not None:
                    covered = overlay_pixels(covered, face, maps.attributions[place], signed=self._signed)
            yield frame._replace(pixels=draw_labels(covered, self._labels.get(frame.number, [])))

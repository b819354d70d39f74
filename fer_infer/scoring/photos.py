"""Score photos: some threads find faces, others run the model, and the caller's thread writes one row per face."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError
from fer_core.io.crop import DETECT
from fer_core.io.images import NO_FACE
from fer_core.io.read_ahead import read_ahead
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_infer.config import PhotoConfig, ScoreConfig
from fer_infer.photos import yunet
from fer_infer.photos.alignment import load_template
from fer_infer.photos.crops import TOO_SMALL
from fer_infer.photos.find import shared_detector
from fer_infer.photos.found_face import LANDMARKS, FoundFace
from fer_infer.photos.images import UNREADABLE
from fer_infer.photos.listing import Photo, is_film, list_photos
from fer_infer.scoring.explained import RowNumbers, open_model, predicted
from fer_infer.scoring.photo_overlay import open_overlay
from fer_infer.scoring.photo_search import PhotoBatch, batches_of
from fer_infer.scoring.summary import PhotoSummary, run_facts
from fer_infer.scoring.writers.map_writer import open_maps, with_maps_written
from fer_infer.scoring.writers.predictions import ENDINGS
from fer_infer.scoring.writers.table_writer import Column, Row, open_table

BOX_COLUMNS: Final = tuple(Column(name, "position") for name in ("left", "top", "width", "height"))

MOST_SHOWN: Final = 10
"""Predictions that the summary shows one by one, if there are no more."""


def about_faces(faces: str) -> dict[str, str]:
    """Return the names and SHA-256 of the detector and the template, or nothing if whole pictures are faces."""
    if faces != DETECT:
        return {"faces": faces}
    template = load_template()
    return {
        "faces": faces,
        "detector": yunet.FILE,
        "detector_sha256": yunet.SHA256,
        "template": template.name,
        "template_sha256": template.sha256,
    }


def score_photos(
    photos: Sequence[str | Path], model: str | Path, output: str | Path, config: ScoreConfig, *, force: bool = False
) -> PhotoSummary:
    """Predict the expression of every face in photos, as `fer_infer.score` with ``faces="detect"`` or ``"whole"``.

    Parameters
    ----------
    photos : sequence of str or Path
        Photos, as `fer_infer.photos.listing.list_photos` takes them.
    model, output, force
        Parameters of `fer_infer.score`.
    config : ScoreConfig
        Settings.

    Returns
    -------
    PhotoSummary
        Number of photos, faces and reasons.

    Raises
    ------
    FerError
        After an error, no output is left. With ``on_error="fail"``, a photo that cannot be read is an error; photos
        without a face never are.
    """
    start_s = time.perf_counter()
    target = os.path.expanduser(output)  # noqa: PTH111 - no Path, as in `score`
    config.require_for_photos()
    inputs = (*photos, model)
    with ExitStack() as stack:
        stage = stack.enter_context(staged(target, force=force, endings=ENDINGS, inputs=inputs))
        listed = list_photos(photos)[: config.limit]
        require_no_films(listed)
        overlay = open_overlay(stack, config, inputs, single=len(listed) == 1, force=force)
        maps_file = open_maps(stack, config, inputs, force=force)
        if config.faces == DETECT:
            shared_detector(config.min_face)  # a missing package is reported before the model is loaded
        with open_model(model, config) as scorer:
            classes = scorer.card.labels
            about = {**about_faces(config.faces), "weights_sha256": scorer.card.weights_sha256}
            tally, stop = PhotoTally(classes), Event()
            with (
                read_ahead(
                    lambda: predicted(
                        lambda: batches_of(listed, config, stop), scorer, config, PhotoBatch.name_of, RowNumbers()
                    )
                ) as batches,
                closing(scorer),  # before the reading thread is waited for, as is the next
                _setting(stop),
                progress("score", len(listed), "photos") as advance,
                open_table(stage, columns_for(config, classes), name=target, about=about) as table,
            ):
                for batch, logits, probabilities, maps in with_maps_written(batches, maps_file, scorer):
                    values = logits if config.columns == "logits" else probabilities
                    table.write(list(table_rows(batch, logits, values, config, classes)))
                    tally.add(batch, logits, probabilities)
                    if overlay is not None:
                        overlay.write(batch, probabilities, classes, maps)
                    advance(len(batch.photos))
    return PhotoSummary(
        rows=int(tally.by_class.sum()),
        rejected=sum(tally.reasons.values()),
        label_counts=dict(zip(classes, tally.by_class.tolist(), strict=True)),
        photos=len(listed),
        reasons=tally.reasons,
        shown=tuple(tally.shown) if len(tally.shown) <= MOST_SHOWN else (),
        about=about,
        **run_facts(scorer, config.tta, start_s, target, maps_file),
    )


@contextmanager
def _setting(event: Event) -> Iterator[None]:
    """Set an event at the end, also after an error."""
    try:
        yield
    finally:
        event.set()


def require_no_films(photos: Sequence[Photo]) -> None:
    """Raise DataError if a film was given with other data; films in a folder are rows with a reason."""
    for photo in photos:
        if not photo.in_folder and is_film(photo.file):
            raise DataError(photo.name, "is a film; score films one at a time")


def columns_for(config: ScoreConfig, classes: Sequence[str]) -> list[Column]:
    """Return the columns of the output."""
    return [
        Column("file", "text"),
        Column("face", "integer"),
        *BOX_COLUMNS,
        Column("detection", "number"),
        *detail_columns(config),
        Column("label", "text" if config.names else "integer"),
        *(Column(name, "number") for name in classes if config.columns != "id-label"),
        Column("reason", "text"),
    ]


def detail_columns(config: PhotoConfig) -> list[Column]:
    """Return the columns of landmarks and quality, if they are requested."""
    landmarks = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"] if config.landmarks else []
    quality = ["size", "blur", "roll"] if config.quality else []
    return [Column(name, "position") for name in (*landmarks, *quality)]


def box_cells(face: FoundFace | None, config: PhotoConfig) -> list[float | None]:
    """Return the cells of `BOX_COLUMNS`, the detection score and `detail_columns`, empty without a face."""
    if face is None:
        return [None] * (len(BOX_COLUMNS) + 1 + len(detail_columns(config)))
    values = [*face.box, face.detection]
    values += face.landmarks.ravel().tolist() if config.landmarks else []
    values += [face.size, face.blur, face.roll] if config.quality else []
    return [None if math.isnan(value) else value for value in values]


def table_rows(
    batch: PhotoBatch,
    logits: NDArray[np.float32],
    values: NDArray[np.float32],
    config: ScoreConfig,
    classes: Sequence[str],
) -> Iterator[Row]:
    """Yield the rows of a batch in the order of `columns_for`; `values` are those of the classes."""
    width = len(columns_for(config, classes))
    scored_faces = iter(zip(logits.argmax(axis=1).tolist(), values.tolist(), strict=True))
    for row in batch.rows:
        if row.face is None:
            yield [row.file, row.number, *[None] * (width - 3), row.reason]
            continue
        label, numbers = next(scored_faces)
        yield [
            row.file,
            row.number,
            *box_cells(row.face, config),
            classes[label] if config.names else label,
            *(numbers if config.columns != "id-label" else []),
            None,
        ]


class PhotoTally:
    """Counts rows by reason and by predicted class, and keeps the first predictions for the summary."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self.by_class = np.zeros(len(classes), np.int64)
        self.reasons = dict.fromkeys((NO_FACE, TOO_SMALL, UNREADABLE), 0)
        self.shown: list[str] = []

    def add(self, batch: PhotoBatch, logits: NDArray[np.float32], probabilities: NDArray[np.float32]) -> None:
        """Count the rows of a batch."""
        labels = logits.argmax(axis=1)
        self.by_class += np.bincount(labels, minlength=len(self.by_class))
        for row in batch.rows:
            if row.face is None:
                self.reasons[next(reason for reason in self.reasons if row.reason.startswith(reason))] += 1
        faces = [row for row in batch.rows if row.face is not None]
        for row, label, share in zip(faces, labels, probabilities.max(axis=1), strict=True):
            if len(self.shown) <= MOST_SHOWN:
                self.shown.append(f"{row.file}, face {row.number}: {self._classes[label]} {share:.0%}")

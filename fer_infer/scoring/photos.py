"""Score photos: some threads find faces, others run the model, and the caller's thread writes one row per face."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError
from fer_core.cores import available_cores
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.crop import DETECT
from fer_core.io.read_ahead import read_ahead
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_infer.config import PhotoConfig, ScoreConfig
from fer_infer.photos import yunet
from fer_infer.photos.alignment import load_template
from fer_infer.photos.detector import Detection
from fer_infer.photos.find import search, search_ahead, shared_detector, whole_face
from fer_infer.photos.found_face import LANDMARKS, Box, FoundFace
from fer_infer.photos.images import UNREADABLE, read_content, read_photo
from fer_infer.photos.listing import Photo, is_film, list_photos
from fer_infer.scorer import Scorer
from fer_infer.scoring.photo_overlay import open_overlay
from fer_infer.scoring.pipeline import scored
from fer_infer.scoring.predictions import ENDINGS
from fer_infer.scoring.summary import PhotoSummary
from fer_infer.scoring.table_writer import Column, Row, open_table

NO_FACE: Final = "no face"
TOO_SMALL: Final = "too small"
"""First words of the reasons for rows without a prediction; `UNREADABLE` is the third."""

BOX_COLUMNS: Final = tuple(Column(name, "position") for name in ("left", "top", "width", "height"))

BATCH_PHOTOS: Final = 16
OVERLAY_PHOTOS: Final = 4
"""Photos per batch, without and with their files, which an overlay needs; predictions keep up with the search."""

MOST_SHOWN: Final = 10
"""Predictions that the summary shows one by one, if there are no more."""


@dataclass(frozen=True, eq=False)
class PhotoRow:
    """A row of the output: a face in a photo, or the reason why there is none.

    Attributes
    ----------
    file : str
        Name of the photo.
    number : int or None
        Number of the face in the photo, from 1.
    face : FoundFace or None
        The face; None where there is a `reason`.
    reason : str
        Why there is no prediction; empty if there is one.
    """

    file: str
    number: int | None
    face: FoundFace | None
    reason: str = ""


class SearchedPhoto(NamedTuple):
    """A photo: its rows, at least one, the boxes of all faces, and its file, if it could be read and is needed."""

    photo: Photo
    rows: list[PhotoRow]
    boxes: list[Box]
    content: bytes | None


@dataclass(frozen=True, eq=False)
class PhotoBatch:
    """Rows, and the 48x48 faces of those that have one, uint8 (N, 48, 48); and the photos that they are of."""

    rows: Sequence[PhotoRow]
    images: NDArray[np.uint8]
    photos: Sequence[SearchedPhoto]

    def name_of(self, face: int) -> str:
        """Return the name of a face in errors."""
        row = [row for row in self.rows if row.face is not None][face]
        return f"{row.file}, face {row.number}"


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
        if config.faces == DETECT:
            shared_detector(config.min_face)  # a missing package is reported before the model is loaded
        with Scorer(model, config.device, config.precision, threads=config.threads) as scorer:
            classes = scorer.card.labels
            about = {**about_faces(config.faces), "weights_sha256": scorer.card.weights_sha256}
            tally, stop = PhotoTally(classes), Event()
            with (
                read_ahead(
                    lambda: scored(lambda: batches_of(listed, config, stop), scorer, config, PhotoBatch.name_of)
                ) as batches,
                closing(scorer),  # before the reading thread is waited for, as is the next
                _setting(stop),
                progress("score", len(listed), "photos") as advance,
                open_table(stage, columns_for(config, classes), name=target, about=about) as table,
            ):
                for batch, logits, probabilities in batches:
                    values = logits if config.columns == "logits" else probabilities
                    table.write(list(table_rows(batch, logits, values, config, classes)))
                    tally.add(batch, logits, probabilities)
                    if overlay is not None:
                        overlay.write(batch, probabilities, classes)
                    advance(len(batch.photos))
    return PhotoSummary(
        rows=int(tally.by_class.sum()),
        rejected=sum(tally.reasons.values()),
        label_counts=dict(zip(classes, tally.by_class.tolist(), strict=True)),
        photos=len(listed),
        reasons=tally.reasons,
        shown=tuple(tally.shown) if len(tally.shown) <= MOST_SHOWN else (),
        about=about,
        precision=scorer.card.precision,
        provider=scorer.provider,
        provider_note=scorer.provider_note,
        tta=config.tta,
        elapsed_s=time.perf_counter() - start_s,
        output=Path(target),
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


def batches_of(photos: Iterable[Photo], config: ScoreConfig, stop: Event | None = None) -> Iterator[PhotoBatch]:
    """Search photos in several threads, until `stop` is set; yield them in order, in batches."""
    keep = config.overlay is not None
    find = partial(
        search_photo, faces=config.faces, min_face=config.min_face, on_error=config.on_error, keep_content=keep
    )
    batch: list[SearchedPhoto] = []
    for searched in search_ahead(find, photos, config.threads or available_cores(), stop):
        batch.append(searched)
        if (
            len(batch) >= (OVERLAY_PHOTOS if keep else BATCH_PHOTOS)
            or sum(len(one.rows) for one in batch) >= config.batch_size
        ):
            yield _batch(batch)
            batch = []
    yield _batch(batch)


def _batch(photos: list[SearchedPhoto]) -> PhotoBatch:
    rows = [row for photo in photos for row in photo.rows]
    images = [row.face.image for row in rows if row.face is not None]
    return PhotoBatch(rows, np.array(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE), photos)


def search_photo(
    photo: Photo, *, faces: str, min_face: int, on_error: str, keep_content: bool = False
) -> SearchedPhoto:
    """Read a photo and find its faces.

    Raises
    ------
    DataError
        With ``on_error="fail"``, if the photo cannot be read.
    """
    name = photo.text()
    try:
        content = read_content(photo.source(), photo.name)
        pixels = read_photo(content, photo.name)
    except DataError as error:
        if on_error == "fail":
            raise
        return SearchedPhoto(photo, [PhotoRow(name, None, None, error.message)], [], None)
    kept = content if keep_content else None
    if faces != DETECT:
        whole = whole_face(pixels)
        return SearchedPhoto(photo, [PhotoRow(name, 1, whole)], [whole.box], kept)
    found = search(pixels, min_face)
    by_place: list[FoundFace | Detection] = sorted([*found.faces, *found.too_small], key=lambda face: face.box)
    rows = [_row(name, number, face, min_face) for number, face in enumerate(by_place, start=1)]
    boxes = [face.box for face in by_place]
    return SearchedPhoto(photo, rows or [PhotoRow(name, None, None, NO_FACE)], boxes, kept)


def _row(name: str, number: int, face: FoundFace | Detection, min_face: int) -> PhotoRow:
    if isinstance(face, FoundFace):
        return PhotoRow(name, number, face)
    return PhotoRow(name, number, None, too_small(face, min_face))


def too_small(face: Detection, min_face: int) -> str:
    """Return the reason for a face that is smaller than `min_face` pixels."""
    width, height = math.floor(face.box.width), math.floor(face.box.height)  # 23.9 is not the 24 that is expected
    return f"{TOO_SMALL}: {width}x{height} pixels, expected at least {min_face}"


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

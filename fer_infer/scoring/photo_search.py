"""Find the faces in photos: rows and 48x48 faces, in batches for a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError
from fer_core.cores import available_cores
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.crop import DETECT
from fer_core.io.images import NO_FACE
from fer_infer.config import ScoreConfig
from fer_infer.photos.crops import TOO_SMALL
from fer_infer.photos.detector import Detection
from fer_infer.photos.find import search, search_ahead, whole_face
from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.images import read_content, read_photo
from fer_infer.photos.listing import Photo

BATCH_PHOTOS: Final = 16
OVERLAY_PHOTOS: Final = 4
"""Photos per batch, without and with their files, which an overlay needs; predictions keep up with the search."""


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


def batches_of(photos: Iterable[Photo], config: ScoreConfig, stop: Event | None = None) -> Iterator[PhotoBatch]:
    """Search photos in several threads, until `stop` is set; yield them in order, in batches."""
    keep = config.overlay is not None
    most = OVERLAY_PHOTOS if keep else BATCH_PHOTOS
    find = partial(
        search_photo, faces=config.faces, min_face=config.min_face, on_error=config.on_error, keep_content=keep
    )
    batch: list[SearchedPhoto] = []
    for searched in search_ahead(find, photos, config.threads or available_cores(), stop):
        batch.append(searched)
        if len(batch) >= most or sum(len(one.rows) for one in batch) >= config.batch_size:
            yield _batch(batch)
            batch = []
    yield _batch(batch)


def _batch(photos: list[SearchedPhoto]) -> PhotoBatch:
    rows = [row for photo in photos for row in photo.rows]
    return PhotoBatch(rows, images_of(rows), photos)


class HasFace(Protocol):
    """A row of a table of photos or frames; `face` is None where there is no prediction."""

    @property
    def face(self) -> FoundFace | None:
        """The face."""


def images_of(rows: Iterable[HasFace]) -> NDArray[np.uint8]:
    """Return the 48x48 faces of the rows that have one, uint8 (N, 48, 48)."""
    images = [row.face.image for row in rows if row.face is not None]
    return np.array(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


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

"""The photos of the faces that a report shows, with their attribution maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces
from fer_core.io.crop import ALIGNED, DETECT
from fer_core.io.kinds import kind_of
from fer_explain.face_file import DataSource, FaceFile
from fer_explain.plots import reduced
from fer_explain.report.face_maps import ExplainedFaces
from fer_infer.photos.crops import crop_for, found_faces, most_prominent
from fer_infer.photos.found_face import FoundFace
from fer_infer.photos.map_overlay import MARGIN, bounds_of, overlay_pixels, with_outline

LONGEST_SIDE: Final = 2048
"""Longest side in pixels of a picture that is saved."""
SMALL_SIDE: Final = 240
"""Longest side in pixels of the small view of a whole photo."""


@dataclass(frozen=True, eq=False)
class PhotoMap:
    """The photo of one face.

    Attributes
    ----------
    mapped : ndarray of uint8, shape (H, W, 3)
        The face in the photo at its own resolution, with the map of the predicted class by the first method.
    whole : ndarray of uint8, shape (H, W, 3), or None
        Small view of the whole photo, in which the face is outlined; None if the photo is the face.
    size : tuple of int
        Width and height of the photo.
    """

    mapped: NDArray[np.uint8]
    whole: NDArray[np.uint8] | None
    size: tuple[int, int]


def map_photos(data: DataSource, explained: ExplainedFaces) -> Mapping[int, PhotoMap]:
    """Draw the maps of the shown faces over their photos.

    Parameters
    ----------
    data : FaceFile or other data
        Where the faces were read from.
    explained : ExplainedFaces
        Shown faces and their maps.

    Returns
    -------
    mapping of int to PhotoMap
        By row number; empty if the faces were not cut from image files.

    Raises
    ------
    DataError
        If a photo has changed since its face was read.
    """
    if not isinstance(data, FaceFile) or data.faces == ALIGNED or explained.faces.ids is None:
        return {}
    if kind_of(data.path, crop_for(data.faces)) != "images":
        return {}
    photos = {}
    for i, row in enumerate(explained.faces.rows.tolist()):
        file, number = _place(data, explained.faces, i)
        photos[row] = _map_photo(file, number, data.faces, explained, i)
    return photos


def _place(data: FaceFile, faces: Faces, i: int) -> tuple[Path, int | None]:
    """Return the file of a face and, if the file can have several, its number in it."""
    root = Path(data.path)
    name, number = str(faces.ids[i]), None  # type: ignore[index]
    if data.faces == DETECT and faces.labels is None:
        name, _, text = name.rpartition("#")
        number = int(text)
    return (root if root.is_dir() else root.parent) / name, number


def _map_photo(file: Path, number: int | None, taken: str, explained: ExplainedFaces, i: int) -> PhotoMap:
    from fer_infer.photos.images import read_photo

    pixels = read_photo(file)
    face = _find_again(pixels, number, taken)
    if face is None or not np.array_equal(face.image, explained.faces.images[i]):
        raise DataError(str(file), "has changed since its face was read")
    method, attributions = explained.methods[0], explained.predicted.attributions[0, i]
    left, top, right, bottom = bounds_of(face, pixels.shape, MARGIN)
    mapped = overlay_pixels(pixels, face, attributions, signed=method.signed)[top:bottom, left:right]
    height, width = pixels.shape[:2]
    whole = None
    if taken == DETECT:
        outline = max(2, round(3 * max(height, width) / SMALL_SIDE))
        whole = reduced(with_outline(pixels, face, outline), SMALL_SIDE)
    return PhotoMap(reduced(mapped, LONGEST_SIDE), whole, (width, height))


def _find_again(pixels: NDArray[np.uint8], number: int | None, taken: str) -> FoundFace | None:
    """Return a face of a photo: face `number` from 1, or the most prominent one; None if there is none."""
    from fer_infer.config import MIN_FACE
    from fer_infer.photos.find import whole_face

    if taken != DETECT:
        return whole_face(pixels)
    found = found_faces(pixels, MIN_FACE)
    if number is None:
        return most_prominent(found) if found else None
    return found[number - 1] if number <= len(found) else None

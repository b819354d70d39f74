"""What turns images into 48x48 faces for the readers of data sets: the setting `faces`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.io.crop import ALIGNED, DETECT, WHOLE, Crop, FacesConfig

if TYPE_CHECKING:
    from fer_infer.photos.found_face import FoundFace

TOO_SMALL = "too small"
"""Reason for a photo in which all faces are smaller than allowed."""


def crop_for(faces: str, min_face: int | None = None) -> Crop | None:
    """Return the functions that cut faces from images, for `crop` of `fer_core.iter_faces`.

    Parameters
    ----------
    faces : {"aligned", "detect", "whole"}
        `detect` finds the faces in photos and aligns each to 48x48, `whole` resizes each whole picture, and `aligned`
        expects images of 48x48 gray pixels.
    min_face : int, optional
        Leave out detected faces whose box has a shorter side, in pixels; see `fer_infer.photos.find.find_faces`.

    Returns
    -------
    Crop or None
        None for `aligned`, which needs no function.

    Raises
    ------
    ConfigError
        If `faces` is another text.
    FerError
        If `faces` is `detect` and the detector is not installed (extra `photos`).

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_infer.photos.crops import crop_for
    >>> from PIL import Image
    >>> Image.new("RGB", (100, 120), "white").save("large.png")
    >>> read_faces("large.png", crop=crop_for("whole")).images.shape
    (1, 48, 48)
    """
    FacesConfig.require({"faces": faces})
    if faces == ALIGNED:
        return None
    if faces == WHOLE:
        return Crop(WHOLE, _whole, _whole)
    from fer_infer.config import MIN_FACE
    from fer_infer.photos.find import shared_detector

    smallest = MIN_FACE if min_face is None else min_face
    shared_detector(smallest)  # loads the network: it is missing before anything is read, or never

    def all_faces(image: Any) -> list[NDArray[np.uint8]]:
        return [face.image for face in found_faces(image, smallest)]

    def main_face(image: Any) -> list[NDArray[np.uint8]]:
        found = found_faces(image, smallest)
        return [most_prominent(found).image] if found else []

    return Crop(DETECT, all_faces, main_face)


def found_faces(image: Any, min_face: int) -> list[FoundFace]:
    """Return the faces of at least `min_face` pixels in an image, from left to right.

    Raises
    ------
    DataError
        If the image cannot be read, or all faces in it are smaller.
    """
    from fer_infer.photos.find import search
    from fer_infer.photos.images import read_photo

    found = search(read_photo(image), min_face)
    if found.too_small and not found.faces:
        raise DataError(str(image) if isinstance(image, str | Path) else "image", TOO_SMALL)
    return found.faces


def most_prominent(faces: list[FoundFace]) -> FoundFace:
    """Return the face with the largest product of box area and detection score; of equal ones, the leftmost."""
    return max(faces, key=lambda face: face.box.width * face.box.height * face.detection)


def _whole(image: Any) -> list[NDArray[np.uint8]]:
    from fer_infer.photos.find import whole_face

    return [whole_face(image).image]

"""Find the faces in a photo and align them to 48x48."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import cache
from threading import Event
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.fer2013 import IMAGE_SIZE
from fer_core.io.read_ahead import map_ahead, workers
from fer_infer.config import MIN_FACE
from fer_infer.photos.alignment import gray_of, inverse, load_template, similarity, transformed, warp
from fer_infer.photos.detector import Detection, FaceDetector
from fer_infer.photos.found_face import Box, FoundFace, roll_of
from fer_infer.photos.images import is_large, read_photo
from fer_infer.photos.listing import Photo

Result = TypeVar("Result")

ENLARGEMENT: Final = 4
"""Enlargement of 48x48 faces in which landmarks are found to align them, and to fit the template."""

MOST_ALIGNMENTS: Final = 3
ROLL_TOLERANCE: Final = 2.0
"""Change of the roll in degrees below which a face is not aligned again."""

UNKNOWN: Final = np.full((5, 2), np.nan)
"""Landmarks of a face that was not detected."""


@cache
def shared_detector(min_face: int = MIN_FACE) -> FaceDetector:
    """Return the detector that all callers of this process share."""
    return FaceDetector(min_face)


def find_faces(photo: Any, *, min_face: int = MIN_FACE, detector: FaceDetector | None = None) -> list[FoundFace]:
    """Find the faces in a photo and align each to 48x48, as the faces of FER2013 are.

    Parameters
    ----------
    photo : str, Path, bytes, PIL.Image.Image or ndarray of uint8
        Photo as `fer_infer.photos.images.read_photo` takes it: a file, its content, an image, or an array of shape
        (H, W) gray or (H, W, 3) red, green, blue.
    min_face : int
        Leave out faces whose box has a shorter side, in pixels.
    detector : FaceDetector, optional
        Detector, by default one that all calls share.

    Returns
    -------
    list of FoundFace
        Faces from left to right; empty if there is none.

    Raises
    ------
    DataError
        If the photo cannot be read.
    FerError
        If the detector is not installed (extra `photos`).

    Examples
    --------
    >>> from fer_infer.photos.find import find_faces
    >>> find_faces(np.zeros((240, 320, 3), np.uint8))
    []
    """
    return search(read_photo(photo), min_face, detector).faces


class Found(NamedTuple):
    """What was found in a photo: the aligned faces, and those that are smaller than `min_face`, from left to right."""

    faces: list[FoundFace]
    too_small: list[Detection]


def search(pixels: NDArray[np.uint8], min_face: int = MIN_FACE, detector: FaceDetector | None = None) -> Found:
    """Find the faces in the pixels of an upright photo, (H, W, 3), as `find_faces` does; see its parameters."""
    detector = detector or shared_detector(min_face)
    detections = detector.detect(pixels)
    large = [face for face in detections if min(face.box.width, face.box.height) >= min_face]
    too_small = [face for face in detections if min(face.box.width, face.box.height) < min_face]
    return Found([align(pixels, face, detector) for face in large], too_small)


def search_ahead(
    search_one: Callable[[Photo], Result], photos: Iterable[Photo], threads: int, stop: Event | None = None
) -> Iterator[Result]:
    """Search photos in several threads, large ones one after another in a thread of their own.

    Memory is then bounded by one large photo, whatever the number of threads. A lock would not suffice: each thread
    that has read a large photo keeps memory that Pillow has freed.

    Parameters
    ----------
    search_one : callable
        Searches a photo.
    photos : iterable of Photo
        Photos.
    threads : int
        Number of threads, in addition to the one for large photos; with 1, there is no other.
    stop : threading.Event, optional
        Once it is set, no further search begins: a program that is interrupted waits for those in progress.

    Yields
    ------
    object
        Results in the order of the photos. An exception is raised here, after the results before it; CancelledError
        after `stop` was set.
    """
    with workers(1, "large-photos") as large:

        def search_unless_stopped(photo: Photo) -> Result:
            if stop is not None and stop.is_set():
                raise CancelledError
            return search_one(photo)

        def search_in_turn(photo: Photo) -> Result:
            if threads > 1 and is_large(photo.file):
                return large.submit(search_unless_stopped, photo).result()
            return search_unless_stopped(photo)

        yield from map_ahead(search_in_turn, photos, threads)


def align(pixels: NDArray[np.uint8], detection: Detection, detector: FaceDetector) -> FoundFace:
    """Align a detected face to the template.

    The landmarks are found again in the aligned face, enlarged four times, as the template was fitted, until its roll
    no longer changes: the network underestimates the roll of a face by a quarter, and a face that is nearly upright is
    measured best.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue of the upright photo.
    detection : Detection
        Face in it.
    detector : FaceDetector
        Detector that finds the landmarks again.
    """
    template, landmarks = load_template().landmarks, detection.landmarks
    transform = similarity(landmarks, template)
    for _ in range(MOST_ALIGNMENTS):
        enlarged = ENLARGEMENT * transform
        again = detector.detect_filling(warp(pixels, enlarged, ENLARGEMENT * IMAGE_SIZE))
        if again is None:
            break
        landmarks = transformed(inverse(enlarged), again.landmarks)
        before, transform = transform, similarity(landmarks, template)
        if abs(roll_of(transform) - roll_of(before)) < ROLL_TOLERANCE:
            break
    return FoundFace(detection.box, detection.score, landmarks, transform, warp(pixels, transform))


def find_landmarks(image: NDArray[np.uint8], detector: FaceDetector | None = None) -> NDArray[np.float64] | None:
    """Find the landmarks of a face that fills its picture, such as a face of FER2013.

    The picture is enlarged, and its landmarks are found repeatedly as in `align`.

    Parameters
    ----------
    image : ndarray of uint8, shape (N, N)
        Gray levels.
    detector : FaceDetector, optional
        Detector, by default one that all calls share.

    Returns
    -------
    ndarray of float64, shape (5, 2), or None
        x and y of `fer_infer.photos.found_face.LANDMARKS` in pixels of the picture, whose first pixel has its center at
        (0.5, 0.5); None if no face is found.

    Raises
    ------
    FerError
        If the detector is not installed (extra `photos`).

    Examples
    --------
    >>> from fer_core.synthetic.drawn_faces import draw_faces
    >>> from fer_infer.photos.find import find_landmarks
    >>> find_landmarks(draw_faces(1, seed=0).images[0]).shape
    (5, 2)
    >>> find_landmarks(np.zeros((48, 48), np.uint8)) is None
    True
    """
    detector = detector or shared_detector()
    size = ENLARGEMENT * len(image)
    enlarged = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    detection = detector.detect_filling(enlarged)
    if detection is None:
        return None
    return align(np.repeat(enlarged[..., None], 3, axis=2), detection, detector).landmarks / ENLARGEMENT


def whole_face(photo: Any) -> FoundFace:
    """Take a whole picture as the face, resized to 48x48 by area averaging.

    A picture that is not square is extended to a square by repeating its border, so that it keeps its proportions.

    Parameters
    ----------
    photo : str, Path, bytes, PIL.Image.Image or ndarray of uint8
        Picture as `find_faces` takes it.

    Returns
    -------
    FoundFace
        Face with the picture as its box, without landmarks and detection score.

    Raises
    ------
    DataError
        If the picture cannot be read.

    Examples
    --------
    >>> from fer_infer.photos.find import whole_face
    >>> whole_face(np.full((96, 96), 7, np.uint8)).image.max()
    np.uint8(7)
    """
    pixels = read_photo(photo)
    height, width = pixels.shape[:2]
    scale = IMAGE_SIZE / max(height, width)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    # a box filter averages areas, but would repeat pixels where the picture is smaller than the face
    method = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BILINEAR
    resized = np.asarray(Image.fromarray(gray_of(pixels)).resize((columns, rows), method))
    left, top = (IMAGE_SIZE - columns) // 2, (IMAGE_SIZE - rows) // 2
    padding = ((top, IMAGE_SIZE - rows - top), (left, IMAGE_SIZE - columns - left))
    face = np.pad(resized, padding, mode="edge")
    transform = np.array([[columns / width, 0, left], [0, rows / height, top]])
    return FoundFace(Box(0.0, 0.0, float(width), float(height)), np.nan, UNKNOWN, transform, face)

"""FaceDetector: find faces of all sizes in a picture of any size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.per_process import PerProcess
from fer_infer.config import MIN_FACE
from fer_infer.photos.alignment import transformed
from fer_infer.photos.found_face import Box
from fer_infer.photos.yunet import open_network, run_network

SCORE_THRESHOLD: Final = 0.6
"""Smallest score of a face."""

OVERLAP_THRESHOLD: Final = 0.3
"""Boxes whose intersection is more than this fraction of their union are one face."""

WINDOW_SIDE: Final = 640
"""Longer side of the windows of a picture in pixels, as in the training of the network."""

SMALLEST_IN_WINDOW: Final = 12
"""Side in pixels from which on the network finds faces."""

FILLING_TOLERANCE: Final = 0.2
"""Largest distance of a face that fills a picture from its center, as a fraction of the side of the picture."""

SMALLEST_SPREAD: Final = 0.1
"""Smallest standard deviation of the landmarks of a face as a fraction of the size of its box; usual is 0.2."""

SECOND_LOOK_SCALES: Final = (0.5, 2.0)
SECOND_LOOK_ROLLS: Final = (-20.0, 20.0)
"""Scales of the window and rotations in degrees with which a picture is searched again if nothing was found in it."""


class Detection(NamedTuple):
    """A detected face.

    Attributes
    ----------
    box : Box
        Bounding box in pixels of the picture.
    score : float
        Score, 0 to 1.
    landmarks : ndarray of float64, shape (5, 2)
        x and y of `fer_infer.photos.found_face.LANDMARKS` in pixels of the picture.
    """

    box: Box
    score: float
    landmarks: NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A scaled and perhaps rotated part of a picture, in which faces are searched.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue.
    scale : float
        Pixels of the window per pixel of the picture.
    to_picture : ndarray of float64, shape (2, 3)
        Affine transform from positions in the window to positions in the picture.
    largest : float
        Side in pixels of the window of the largest face to look for; other windows show larger ones.
    cut : tuple of bool
        Whether the left, top, right and bottom edge of the window cut the picture.
    """

    pixels: NDArray[np.uint8]
    scale: float
    to_picture: NDArray[np.float64]
    largest: float = math.inf
    cut: tuple[bool, bool, bool, bool] = (False, False, False, False)


class FaceDetector:
    """Finds faces with YuNet in ONNX Runtime, on the CPU.

    Threads may share a detector; each call uses only the caller's thread. A picture is seen whole, scaled to 640 pixels
    on its longer side, and, if faces of `min_face` pixels would then be too small, also in overlapping tiles of a
    larger scale. If nothing is found, it is searched again at other scales and rotated.

    Parameters
    ----------
    min_face : int
        Smallest side of the faces to find, in pixels; a smaller value costs time on large pictures.

    Raises
    ------
    FerError
        If the package that contains the network is not installed.

    Examples
    --------
    >>> from fer_infer.photos.detector import FaceDetector
    >>> FaceDetector().detect(np.zeros((480, 640, 3), np.uint8))
    []
    """

    def __init__(self, min_face: int = MIN_FACE) -> None:
        self.min_face = min_face
        self._session: PerProcess[Any] = PerProcess()
        self._session.get(open_network)

    def detect(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in a picture.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (H, W, 3)
            Red, green and blue of an upright picture.

        Returns
        -------
        list of Detection
            Faces from left to right; of those with equal left sides, from top to bottom.
        """
        found = self._detect_in(windows(pixels, self.min_face)) or self._detect_in(second_look(pixels))
        return sorted(found, key=lambda face: face.box)

    def detect_filling(self, gray: NDArray[np.uint8]) -> Detection | None:
        """Find the face that fills a square picture.

        Parameters
        ----------
        gray : ndarray of uint8, shape (N, N)
            Gray levels of a picture that shows one upright face.

        Returns
        -------
        Detection or None
            The face with the highest score among those of about the size of the picture and near its center.
        """
        pixels = np.repeat(gray[..., None], 3, axis=2)
        side = len(gray)
        fitting = [
            face
            for face in _faces_of(_window(Image.fromarray(pixels), 1.0), self._session.get(open_network))
            if abs(face.box.left + face.box.width / 2 - side / 2) < FILLING_TOLERANCE * side
            and abs(face.box.top + face.box.height / 2 - side / 2) < FILLING_TOLERANCE * side
            and face.box.width > side / 2
        ]
        return max(fitting, key=lambda face: face.score, default=None)

    def _detect_in(self, seen: Iterable[Window]) -> list[Detection]:
        session = self._session.get(open_network)
        return without_repeats([face for window in seen for face in _faces_of(window, session)])


def _faces_of(window: Window, session: Any) -> Iterator[Detection]:
    scores, boxes, landmarks = run_network(session, window.pixels)
    height, width = window.pixels.shape[:2]
    left, top, right, bottom = window.cut
    for place in np.flatnonzero(scores >= SCORE_THRESHOLD):
        x, y, w, h = boxes[place]
        # another window shows a face whole that is too large for this one or cut by its edge
        cut = (left and x < 0) or (top and y < 0) or (right and x + w > width) or (bottom and y + h > height)
        if cut or max(w, h) > window.largest or not _is_plausible(boxes[place], landmarks[place]):
            continue
        center = transformed(window.to_picture, np.array([x + w / 2, y + h / 2]))
        w, h = w / window.scale, h / window.scale
        box = Box(float(center[0] - w / 2), float(center[1] - h / 2), float(w), float(h))
        yield Detection(box, float(scores[place]), transformed(window.to_picture, landmarks[place]))


def _is_plausible(box: NDArray[np.float64], landmarks: NDArray[np.float64]) -> bool:
    """Return whether a box is finite and its landmarks are far enough apart to align a face by them."""
    size = math.sqrt(box[2] * box[3])
    return math.isfinite(size) and float(np.std(landmarks, axis=0).max()) >= SMALLEST_SPREAD * size


def windows(pixels: NDArray[np.uint8], min_face: int) -> Iterator[Window]:
    """Yield the windows of a picture in which faces of at least `min_face` pixels are searched."""
    picture = Image.fromarray(pixels)
    whole = min(1.0, WINDOW_SIDE / max(picture.size))
    yield _window(picture, whole)
    scale = min(1.0, SMALLEST_IN_WINDOW / min_face)
    if whole >= scale:
        return
    scaled = np.asarray(_scaled(picture, scale))
    # faces that are too small in the whole picture must fit into the overlap of two tiles
    overlap = min(WINDOW_SIDE // 2, math.ceil(1.5 * SMALLEST_IN_WINDOW * scale / whole))
    height, width = scaled.shape[:2]
    for top, above, below in _starts(height, overlap):
        for left, before, after in _starts(width, overlap):
            tile = scaled[top : top + WINDOW_SIDE, left : left + WINDOW_SIDE]
            to_picture = np.array([[1, 0, left], [0, 1, top]]) / scale
            yield Window(tile, scale, to_picture, overlap, (before, above, after, below))


def second_look(pixels: NDArray[np.uint8]) -> Iterator[Window]:
    """Yield the windows of a picture in which nothing was found: smaller, rotated and, if there is room, larger.

    The network misses some faces that fill a picture, lean to a side, or are small and blurred.
    """
    picture = Image.fromarray(pixels)
    whole = min(1.0, WINDOW_SIDE / max(picture.size))
    for factor in SECOND_LOOK_SCALES:
        if factor * whole * max(picture.size) <= 2 * WINDOW_SIDE:
            yield _window(picture, factor * whole)
    for roll in SECOND_LOOK_ROLLS:
        yield _window(picture, whole, roll)


def _window(picture: Image.Image, scale: float, roll: float = 0.0) -> Window:
    scaled = _scaled(picture, scale)
    if roll:
        scaled = scaled.rotate(roll, Image.Resampling.BILINEAR)  # counterclockwise about the center
    cosine, sine = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    center = np.array(scaled.size) / 2
    to_picture = np.column_stack([rotation, center - rotation @ center]) / scale
    return Window(np.asarray(scaled), scale, to_picture)


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    if scale == 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _starts(length: int, overlap: int) -> Iterator[tuple[int, bool, bool]]:
    """Yield where tiles of `WINDOW_SIDE` pixels begin, and whether something lies before and behind them."""
    count = max(1, math.ceil((length - overlap) / (WINDOW_SIDE - overlap)))
    last = max(0, length - WINDOW_SIDE)
    for number in range(count):
        yield round(last * number / max(1, count - 1)), number > 0, number < count - 1


def without_repeats(faces: list[Detection]) -> list[Detection]:
    """Keep the highest score among boxes that overlap (non-maximum suppression), ties broken by position."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda face: (-face.score, face.box)):
        if all(overlap_of(face.box, other.box) <= OVERLAP_THRESHOLD for other in kept):
            kept.append(face)
    return kept


def overlap_of(one: Box, other: Box) -> float:
    """Return the intersection of two boxes as a fraction of their union, 0 to 1."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0.0, width) * max(0.0, height)
    union = one.width * one.height + other.width * other.height - shared
    return shared / union if union else 0.0

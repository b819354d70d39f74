"""Align a face to 48x48 as the faces of FER2013 are: their mean landmarks are the template."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.fer2013 import IMAGE_SIZE

TEMPLATE_FILE: Final = "template.json"

REDUCED_SCALE: Final = 4
"""Pixels of the photo per pixel of the face from which on the photo is first averaged over blocks."""


@dataclass(frozen=True, eq=False)
class Template:
    """Landmarks to which faces are aligned.

    Attributes
    ----------
    name : str
        Name of the template.
    sha256 : str
        SHA-256 of its file as hexadecimal text.
    n : int
        Number of faces from which it was fitted.
    landmarks : ndarray of float64, shape (5, 2)
        Mean x and y in the 48x48 face, whose first pixel has its center at (0.5, 0.5).
    spread : ndarray of float64, shape (5, 2)
        Standard deviations of x and y between faces, in pixels.
    """

    name: str
    sha256: str
    n: int
    landmarks: NDArray[np.float64]
    spread: NDArray[np.float64]


@cache
def load_template() -> Template:
    """Return the template that this package contains; `scripts/fit_template.py` fits it to FER2013.

    Examples
    --------
    >>> from fer_infer.photos.alignment import load_template
    >>> load_template().landmarks.shape
    (5, 2)
    """
    content = files("fer_infer.photos").joinpath(TEMPLATE_FILE).read_bytes()
    stored = json.loads(content)
    landmarks, spread = np.array(stored["landmarks"]), np.array(stored["spread"])
    return Template(stored["name"], hashlib.sha256(content).hexdigest(), stored["n"], landmarks, spread)


def similarity(landmarks: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity transform that best maps landmarks to a template.

    It minimizes the sum of squared distances (Umeyama, IEEE TPAMI 13(4), 1991). With points as complex numbers,
    relative to their means, a rotation and scaling is a multiplication by ``a = sum(q * conj(p)) / sum(|p|^2)``.

    Parameters
    ----------
    landmarks : ndarray of float64, shape (N, 2)
        x and y in the photo.
    template : ndarray of float64, shape (N, 2)
        x and y in the aligned face.

    Returns
    -------
    ndarray of float64, shape (2, 3)
        Transform without reflection: ``transform @ (x, y, 1)`` is a position in the aligned face.

    Raises
    ------
    ValueError
        If the landmarks coincide or are not finite.

    Examples
    --------
    >>> from fer_infer.photos.alignment import similarity
    >>> points = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])
    >>> similarity(points, points / 2 + 1)
    array([[0.5, 0. , 1. ],
           [0. , 0.5, 1. ]])
    """
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (landmarks, template))
    centered = p - p.mean()
    size = (np.abs(centered) ** 2).sum()
    if not (np.isfinite(size) and size > 0):
        raise ValueError("the landmarks coincide or are not finite")
    a = (np.conj(centered) * (q - q.mean())).sum() / size
    offset = q.mean() - a * p.mean()
    return np.array([[a.real, -a.imag, offset.real], [a.imag, a.real, offset.imag]]) + 0.0  # never -0.0


def gray_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (ITU-R BT.601) of red, green and blue, (H, W, 3), as gray levels, uint8 (H, W)."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def warp(pixels: NDArray[np.uint8], transform: NDArray[np.float64], size: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Sample an aligned face from a photo.

    Each pixel of the face is the mean over the area that it covers in the photo. Outside the photo, the pixels of its
    border are repeated.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue of an upright photo.
    transform : ndarray of float64, shape (2, 3)
        Similarity transform from the photo to the face.
    size : int
        Side of the face in pixels.

    Returns
    -------
    ndarray of uint8, shape (size, size)
        Gray levels.
    """
    to_photo = inverse(transform)
    step = math.hypot(to_photo[0, 0], to_photo[1, 0])  # pixels of the photo per pixel of the face
    region, corner = _region(pixels, to_photo, size, margin=math.ceil(step) + 2)
    block = max(1, int(step / REDUCED_SCALE))
    gray = Image.fromarray(gray_of(region)).convert("F")
    if block > 1:
        gray = gray.reduce(block)
    samples = max(1, math.ceil(step / block))
    # Pillow maps the center of an output pixel to a position whose integer part is the input pixel
    matrix = to_photo.copy()
    matrix[:, 2] -= corner
    matrix[:, :2] /= samples
    sampled = gray.transform(
        (size * samples, size * samples),
        Image.Transform.AFFINE,
        tuple((matrix / block).ravel().tolist()),
        Image.Resampling.BILINEAR,
    )
    levels = np.asarray(sampled.reduce(samples) if samples > 1 else sampled)
    face: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return face


def transformed(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply an affine transform, shape (2, 3), to points, shape (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of an affine transform, both of shape (2, 3)."""
    linear = np.linalg.inv(transform[:, :2])
    return np.column_stack([linear, -linear @ transform[:, 2]])


def _region(
    pixels: NDArray[np.uint8], to_photo: NDArray[np.float64], size: int, margin: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the part of a photo that a face covers, extended beyond the borders, and its upper left corner."""
    ends = transformed(to_photo, np.array([[0, 0], [size, 0], [0, size], [size, size]]))
    low = np.floor(ends.min(axis=0)).astype(np.int64) - margin
    high = np.ceil(ends.max(axis=0)).astype(np.int64) + margin
    columns, rows = (np.arange(low[axis], high[axis]) for axis in (0, 1))
    height, width = pixels.shape[:2]
    return pixels[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)], low

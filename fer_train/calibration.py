"""Calibration: the Training faces that give an int8 graph the ranges of its activations, and how they do."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces, read_faces
from fer_infer.onnx_runtime import load_runtime_module

CALIBRATION_FACES: Final = 512
"""At most so many Training faces, evenly spaced over the file, give the ranges of the activations."""
CALIBRATION_BATCH: Final = 32
"""Faces whose activations are held at once."""

METHODS: Final[dict[str, dict[str, Any]]] = {
    "MinMax": {},
    "Percentile": {"percentile": 99.999, "num_bins": 2048},
    # By default as many bins as levels: then the only range there is to choose is that of MinMax.
    "Entropy": {"num_bins": 256, "num_quantized_bins": 128},
}
"""How ranges come from activations: all that was seen; all but outliers; the least Kullback-Leibler divergence."""


@dataclass(frozen=True)
class CalibrationData:
    """What an int8 graph is made and chosen by.

    Attributes
    ----------
    training : Faces
        Give the ranges of the activations.
    selection : Faces
        Choose among the candidates: the labelled PublicTest rows; or, where there are none, Training rows that are
        not in `training`, without their labels, which the network has learned.
    """

    training: Faces
    selection: Faces


def load_calibration(data: str | Path) -> CalibrationData:
    """Read a file's Training rows to calibrate on, and the rows to choose by.

    Raises
    ------
    DataError
        If the file cannot be read or has no two Training rows.
    """
    faces = read_faces(data)
    training = faces.with_usage("Training")
    if len(training) < 2:
        raise DataError(training.source, "expected at least two Training faces to calibrate on, found one")
    count = min(len(training), 2 * CALIBRATION_FACES)
    spaced = training.take(np.linspace(0, len(training) - 1, count).astype(np.intp))
    selection = labelled_public(faces) or replace(spaced.take(slice(1, None, 2)), labels=None)
    return CalibrationData(spaced.take(slice(0, None, 2)), selection)


def labelled_public(faces: Faces) -> Faces | None:
    """Return the labelled PublicTest rows, by which everything is chosen; None where there are none."""
    if faces.labels is None or faces.usage is None or not np.any(faces.usage == "PublicTest"):
        return None
    return faces.with_usage("PublicTest")


class _Batches:
    """Faces as ONNX Runtime's calibration takes them; an empty answer ends them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._batches = iter([{"faces": images}])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


def calibrate(graph: Path, faces: Faces, method: str, operators: Sequence[str], ranges: Path) -> None:
    """Write the ranges of a graph's activations as ONNX Runtime's quantizer reads them.

    Parameters
    ----------
    graph : Path
        In float32, BatchNorm folded.
    faces : Faces
        To run it on.
    method : str
        In `METHODS`.
    operators : sequence of str
        Types of the operators whose inputs and outputs are to be quantized.
    ranges : Path
        The JSON file to write.
    """
    quantization = load_runtime_module("quantization")
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its histograms there
        calibrator = quantization.create_calibrator(
            graph,
            operators,
            augmented_model_path=str(ranges.with_suffix(".onnx")),
            calibrate_method=quantization.CalibrationMethod[method],
            extra_options=METHODS[method],
        )
        for start in range(0, len(faces), CALIBRATION_BATCH):
            calibrator.collect_data(_Batches(faces.images[start : start + CALIBRATION_BATCH]))
        quantization.save_tensors_data(calibrator.compute_data(), ranges)

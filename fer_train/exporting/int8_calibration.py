"""Quantization calibration: ranges of activations from Training faces."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces, ModelCard, read_faces
from fer_infer.runtime.onnx_runtime import load_runtime_module
from fer_train.data.hold_out import HELD_OUT
from fer_train.data.splits import validation_faces
from fer_train.data.validation import VALIDATION_SPLITS

DEFAULT_SPLIT: Final = VALIDATION_SPLITS[0]
CALIBRATION_FACES: Final = 512
"""Largest number of Training faces, evenly spaced over the file, that give the ranges of the activations."""
CALIBRATION_BATCH: Final = 32
"""Number of faces whose activations are in memory at once."""

METHODS: Final[dict[str, dict[str, Any]]] = {
    "MinMax": {},
    "Percentile": {"percentile": 99.999, "num_bins": 2048},
    # By default there are as many bins as levels, so that the range is always that of MinMax.
    "Entropy": {"num_bins": 256, "num_quantized_bins": 128},
}
"""Ranges of activations: all values; all but outliers; smallest Kullback-Leibler divergence."""


@dataclass(frozen=True)
class CalibrationData:
    """Faces that calibrate and select an int8 graph.

    Attributes
    ----------
    training : Faces
        Faces that give the ranges of the activations.
    selection : Faces
        Faces that select among the candidates: the labeled validation faces, with their split as `splits`; or, without
        them, Training rows that are not in `training`, without their labels, which the network has learned.
    split : str
        Name of the validation split.
    """

    training: Faces
    selection: Faces
    split: str = DEFAULT_SPLIT


def load_calibration(data: str | Path, card: ModelCard | None = None) -> CalibrationData:
    """Read the Training rows to calibrate on, and the rows to select by.

    Parameters
    ----------
    data : str or Path
        Faces with splits; or, for a network with a held-out split, the faces that it was drawn from.
    card : ModelCard, optional
        Card of the network. Its validation split is used, or PublicTest if `data` lacks it or there is no card.

    Raises
    ------
    DataError
        If the file cannot be read or has fewer than two Training rows.
    """
    return split_calibration(read_faces(data), card)


def split_calibration(faces: Faces, card: ModelCard | None) -> CalibrationData:
    """Divide faces into those to calibrate on and those to select by; errors are those of `load_calibration`."""
    chosen = labeled_validation(faces, card)
    if chosen is not None and chosen.splits is not None and chosen.splits[0] == HELD_OUT:
        rest = faces if faces.splits is None else faces.of_split("Training")
        training = rest.take(~np.isin(rest.rows, chosen.rows))
    else:
        training = faces.of_split("Training")
    if len(training) < 2:
        raise DataError(training.source, "expected at least two Training faces to calibrate on, found one")
    count = min(len(training), 2 * CALIBRATION_FACES)
    spaced = training.take(np.linspace(0, len(training) - 1, count).astype(np.intp))
    selection = chosen or replace(spaced.take(slice(1, None, 2)), labels=None)
    return CalibrationData(spaced.take(slice(0, None, 2)), selection, split_of(chosen, card))


def labeled_validation(faces: Faces, card: ModelCard | None) -> Faces | None:
    """Return the labeled validation faces of a network, with their split as `splits`.

    They are those of the network's validation split, else those of PublicTest; None if there are neither.
    """
    found = None if card is None else validation_faces(faces, card)
    if found is not None or faces.labels is None or faces.splits is None or DEFAULT_SPLIT not in faces.splits:
        return found
    return faces.of_split(DEFAULT_SPLIT)


def split_of(validation: Faces | None, card: ModelCard | None) -> str:
    """Return the split of validation faces, or the split that was expected if there are none."""
    if validation is not None and validation.splits is not None:
        return str(validation.splits[0])
    return DEFAULT_SPLIT if card is None else card.validation_split


class _Batches:
    """Faces for the calibration of ONNX Runtime; None ends them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._batches = iter([{"faces": images}])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


def calibrate(graph: Path, faces: Faces, method: str, operators: Sequence[str], ranges: Path) -> None:
    """Write the ranges of the activations of a graph for the quantizer of ONNX Runtime.

    Parameters
    ----------
    graph : Path
        Graph in float32, with BatchNorm folded.
    faces : Faces
        Faces to calibrate on.
    method : str
        Key of `METHODS`.
    operators : sequence of str
        Types of the operators to quantize.
    ranges : Path
        JSON file to write.
    """
    quantization = load_runtime_module("quantization")
    with contextlib.redirect_stdout(io.StringIO()):  # where it prints its histograms
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

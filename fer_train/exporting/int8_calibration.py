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

from fer_core import DataError, Faces, ModelCard, read_faces
from fer_infer.runtime.onnx_runtime import load_runtime_module
from fer_train.data.hold_out import HELD_OUT
from fer_train.data.splits import validation_faces
from fer_train.data.validation import VALIDATION_SPLITS

DEFAULT_SPLIT: Final = VALIDATION_SPLITS[0]
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
        Choose among the candidates: the labeled validation faces, with their split as `split`; or, where there are
        none, Training rows that are not in `training`, without their labels, which the network has learned.
    split : str
        Name of the validation split.
    """

    training: Faces
    selection: Faces
    split: str = DEFAULT_SPLIT


def load_calibration(data: str | Path, card: ModelCard | None = None) -> CalibrationData:
    """Read a file's Training rows to calibrate on, and the rows to choose by.

    Parameters
    ----------
    data : str or Path
        Faces with splits; or, for a network whose validation split was drawn, the faces that it was drawn from.
    card : ModelCard, optional
        Of the network; its validation split is used, PublicTest where there is none in `data`, or no card.

    Raises
    ------
    DataError
        If the file cannot be read or has no two Training rows.
    """
    return split_calibration(read_faces(data), card)


def split_calibration(faces: Faces, card: ModelCard | None) -> CalibrationData:
    """Choose the faces to calibrate on and those to choose by; errors as for `load_calibration`."""
    chosen = labelled_validation(faces, card)
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


def labelled_validation(faces: Faces, card: ModelCard | None) -> Faces | None:
    """Return the labeled faces by which everything is chosen, with their split as `split`.

    They are those of the network's validation split, else those of PublicTest; None where there are neither.
    """
    found = None if card is None else validation_faces(faces, card)
    if found is not None or faces.labels is None or faces.splits is None or DEFAULT_SPLIT not in faces.splits:
        return found
    return faces.of_split(DEFAULT_SPLIT)


def split_of(validation: Faces | None, card: ModelCard | None) -> str:
    """Return the name of the split of validation faces, or of the split that was looked for where there are none."""
    if validation is not None and validation.splits is not None:
        return str(validation.splits[0])
    return DEFAULT_SPLIT if card is None else card.validation_split


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

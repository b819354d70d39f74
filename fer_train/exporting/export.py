"""Export a run: ONNX graphs, weights, model card, and the check that they agree."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import nn

from fer_core import ConfigError, DataError, Faces, ModelCard, ModelError, TrainingWarning, read_faces
from fer_core.exports_folder import (
    CARD_FILE,
    GRAPH_FILES,
    MODEL_FILE,
    PARITY_FILE,
    README_FILE,
    SALIENCY_FILE,
    WEIGHTS_FILE,
)
from fer_core.io.crop import ALIGNED
from fer_core.io.reader import OnError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_infer.evaluation.chance import chance_note
from fer_infer.photos.crops import crop_for
from fer_train.exporting.config import ExportConfig
from fer_train.exporting.graph import write_graph
from fer_train.exporting.half import write_half
from fer_train.exporting.int8_calibration import CalibrationData, labeled_validation, split_calibration, split_of
from fer_train.exporting.parity import Parity, check_parity, graph_checksums
from fer_train.exporting.quantize import quantize
from fer_train.exporting.readme import export_readme
from fer_train.exporting.saliency.graph import write_saliency_graph
from fer_train.exporting.saliency.parity import check_saliency
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model_and_card, save_weights
from fer_train.runs.provenance import git_commit, library_versions
from fer_train.runs.run_folder import SAMPLE_FILE
from fer_train.temperature import temperature_record

FOLDER: Final = OutputFolder(
    always=(MODEL_FILE, CARD_FILE),
    sometimes=(*GRAPH_FILES.values(), SALIENCY_FILE, WEIGHTS_FILE, PARITY_FILE, README_FILE),
)
"""Names of the files that are written."""


@dataclass(frozen=True)
class _Sources:
    """Faces that an export uses.

    Attributes
    ----------
    calibration : CalibrationData or None
        Faces that calibrate and select the int8 graph; None without int8.
    selection : Faces or None
        Validation faces, which fit the temperature if they are labeled; None without `calibration`.
    parity : Faces
        Faces to check parity on.
    """

    calibration: CalibrationData | None
    selection: Faces | None
    parity: Faces


def export(
    run: str | PathLike[str],
    output: str | PathLike[str],
    *,
    data: str | Path | None = None,
    calibration: str | Path | None = None,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
    faces: str = ALIGNED,
    **settings: Any,
) -> Parity:
    """Export a run to ONNX, and verify that the graphs reproduce its outputs before the folder appears.

    Parameters
    ----------
    run : str, Path or Run
        Run, or exports folder whose files are made again from its weights.
    output : str or Path
        Exports folder to write: `model.onnx`, `weights.safetensors`, `card.json`, `parity.json`, `README.md`, and the
        graphs of `int8`, `fp16` and `saliency`. It may be the exports folder `run` itself, which is then replaced at
        the end.
    data : str or Path, optional
        Faces to check parity on; by default the sample of validation faces in the run, or else the validation faces of
        `calibration`.
    calibration : str or Path, optional
        Faces to calibrate and select the int8 graph, see `fer_train.exporting.int8_calibration.load_calibration`. Their
        labeled validation faces also fit the temperature; without them, the temperature of the run stays.
    force : bool
        Replace an existing folder.
    on_error, input_columns
        Parameters `on_error` and `columns` of `fer_core.iter_faces`, for `data` and `calibration`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images in `data` and `calibration`, see `fer_infer.photos.crops.crop_for`.
    **settings
        Fields of `ExportConfig`: `atol`, `int8`, `int8_tolerance`, `fp16`, `saliency`.

    Returns
    -------
    Parity
        Content of `parity.json`.

    Raises
    ------
    ModelError
        If the run cannot be read, or a graph differs too much from the network; `output` then stays as it was.
    OutputError
        If `output` exists and `force` is false, or it would overwrite an input.
    ConfigError, DataError
        If a setting is out of range, there are no faces to check parity or to calibrate on, or an exports folder would
        lose a graph.

    Examples
    --------
    >>> parity = export("exports/compact", "exports/copy", data="faces.csv")
    >>> parity.changed_predictions, parity.max_absolute_difference < parity.atol
    (0, True)
    """
    config = ExportConfig(**settings)
    crop = crop_for(faces)
    run, output = Path(run), Path(output)
    if config.int8 and calibration is None:
        raise ConfigError("requires `calibration`, the faces to calibrate on", parameter="int8")
    itself = (run / WEIGHTS_FILE).is_file() and output.is_dir() and run.samefile(output)
    if itself:
        _require_graphs_kept(output, config)
    model, card = load_model_and_card(run)
    if note := chance_note(card.scores):
        warnings.warn(f"{run}: {note}", TrainingWarning, stacklevel=2)
    card = replace(card, versions=library_versions(), git_commit=git_commit())
    read = partial(read_faces, on_error=on_error, columns=input_columns, crop=crop)
    # An exports folder may replace itself; a run contains more than its export, and may not be replaced by it.
    with staged(output, force=force, folder=FOLDER, inputs=(data, calibration, None if itself else run)) as stage:
        data_faces, calibration_faces = (None if path is None else read(path) for path in (data, calibration))
        sources = _sources(run, data_faces, calibration_faces, card, config)
        card = _calibrated(card, sources.selection, model)
        write_graph(model, card, stage / MODEL_FILE)
        save_weights(stage / WEIGHTS_FILE, model.state_dict(), card)
        card.save_json(stage / CARD_FILE)
        logits = predict_logits(model, sources.parity.images)
        parity = check_parity(model.state_dict(), logits, card, stage / MODEL_FILE, sources.parity, atol=config.atol)
        if sources.calibration is not None:
            int8 = stage / GRAPH_FILES["int8"]
            quantized = quantize(stage / MODEL_FILE, int8, sources.calibration, card, tolerance=config.int8_tolerance)
            parity = replace(parity, int8=quantized)
        if config.fp16:
            parity = replace(parity, fp16=write_half(model, card, stage / GRAPH_FILES["fp16"], sources.parity, logits))
        if config.saliency:
            write_saliency_graph(stage / MODEL_FILE, stage / SALIENCY_FILE)
            explained = check_saliency(model, stage / SALIENCY_FILE, sources.parity, atol=config.atol)
            parity = replace(parity, saliency=explained)
        parity = replace(parity, graph_sha256=graph_checksums(stage))
        (stage / PARITY_FILE).write_text(json.dumps(parity.record(), indent=2) + "\n", encoding="utf-8")
        (stage / README_FILE).write_text(export_readme(output.name, card, parity), encoding="utf-8")
    return parity


def _require_graphs_kept(output: Path, config: ExportConfig) -> None:
    """Raise ConfigError if an exports folder that replaces itself would lose one of its optional graphs."""
    files = {"int8": GRAPH_FILES["int8"], "fp16": GRAPH_FILES["fp16"], "saliency": SALIENCY_FILE}
    for name, file in files.items():
        if (output / file).is_file() and not getattr(config, name):
            remedy = f"add `{name}=True`, or delete the graph first"
            raise ConfigError(f"{output}: {file} would be lost; {remedy}")


def _sources(
    run: Path, data: Faces | None, calibration: Faces | None, card: ModelCard, config: ExportConfig
) -> _Sources:
    """Determine which faces calibrate, select and check; errors are those of `export`."""
    calibrated = selection = None
    if calibration is not None and config.int8:
        calibrated = split_calibration(calibration, card)
        selection = calibrated.selection
    elif calibration is not None:
        selection = labeled_validation(calibration, card)
        if selection is None:
            expected = f"expected labeled {card.validation_split} rows to fit the temperature on, found none"
            raise DataError(calibration.source, expected)
    return _Sources(calibrated, selection, _parity_faces(run, data, selection))


def _calibrated(card: ModelCard, selection: Faces | None, model: nn.Module) -> ModelCard:
    """Return the card with the temperature fitted on labeled validation faces, if there are any."""
    if selection is None or selection.labels is None:
        return card
    logits = predict_logits(model, selection.images)
    return replace(card, temperature=temperature_record(logits, selection.labels, split_of(selection, card)))


def _parity_faces(run: Path, data: Faces | None, selection: Faces | None) -> Faces:
    if data is not None:
        if not len(data):
            raise DataError(data.source, "expected at least one face to check parity on, found none")
        return data
    sample = run / SAMPLE_FILE
    if sample.is_file():
        try:
            with np.load(sample) as stored:
                return Faces(stored["images"], stored["rows"], source=str(stored["source"]))
        except Exception as error:  # the errors of NumPy at a damaged file have no common base class
            raise ModelError(f"{sample}: cannot be read; name faces with `data`: {error}") from None
    if selection is not None:
        return selection
    raise ConfigError(f"{run}: has no {SAMPLE_FILE} to check parity on; name faces with `data`")

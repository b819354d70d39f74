"""From a run to an exports folder: the ONNX graphs, the weights, the card, and the proof that they agree."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from torch import nn

from fer_core import ConfigError, DataError, Faces, ModelCard, ModelError, TrainingWarning, read_faces
from fer_core.exports_folder import CARD_FILE, GRAPH_FILES, MODEL_FILE, PARITY_FILE, README_FILE, WEIGHTS_FILE
from fer_core.io.reader import OnError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_infer.evaluation.chance import chance_note
from fer_infer.runtime.session import available_devices
from fer_infer.scorer import Scorer
from fer_train.exporting.agreement import Agreement, halve, stamp
from fer_train.exporting.graph import write_graph
from fer_train.exporting.int8_calibration import CalibrationData, labelled_validation, split_calibration, split_of
from fer_train.exporting.parity import PARITY_ATOL, Parity, check_parity, graph_checksums
from fer_train.exporting.quantize import TOLERANCE, quantize
from fer_train.exporting.readme import export_readme
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model_and_card, save_weights
from fer_train.runs.provenance import git_commit, library_versions
from fer_train.runs.run_folder import SAMPLE_FILE
from fer_train.temperature import temperature_record

HALF_ATOL: Final = 0.05
"""The same for float16, which keeps eleven bits of a number."""

FOLDER: Final = OutputFolder(
    always=(MODEL_FILE, CARD_FILE),
    sometimes=(*GRAPH_FILES.values(), "saliency.onnx", WEIGHTS_FILE, PARITY_FILE, README_FILE),
)
"""Names of all that is written."""


def export(
    run: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    atol: float = PARITY_ATOL,
    int8: bool = False,
    calibration: str | Path | None = None,
    int8_tolerance: float = TOLERANCE,
    fp16: bool = False,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
) -> Parity:
    """Export a run and prove it before it appears.

    Parameters
    ----------
    run : str or Path
        A run, or an exports folder, from whose weights all is made anew.
    output : str or Path
        The exports folder to make: `model.onnx`, `weights.safetensors`, `card.json`, `parity.json`, `README.md`,
        and the graphs asked for by `int8` and `fp16`. It may be an exports folder `run` itself, which then stays until
        all is proven.
    data : str or Path, optional
        Faces to check parity on; by default the sample of validation faces that the run kept, or else the faces of
        `calibration` by which the temperature is fitted and the int8 graph is chosen.
    atol : float
        Largest absolute difference of a logit that passes.
    int8 : bool
        Make `model.int8.onnx`, too; see `fer_train.exporting.quantize.quantize`.
    calibration : str or Path, optional
        The data for it, see `fer_train.exporting.int8_calibration.load_calibration`; its labeled validation faces also
        fit the temperature, with `int8` or without. The temperature of the run's card stays where nothing is
        named here.
    int8_tolerance : float
        Points of accuracy that it may lose.
    fp16 : bool
        Make `model.fp16.onnx`, too.
    force : bool
        Replace an existing folder.
    on_error, input_columns
        As `on_error` and `columns` of `fer_core.iter_faces`, for `data` and `calibration`.

    Returns
    -------
    Parity
        As written to `parity.json`.

    Raises
    ------
    ModelError
        If the run cannot be read, the graph does not compute what the original computes, or one of lower precision
        is too far from it; then `output` is as it was.
    OutputError
        If `output` exists and `force` is false, or is or holds what is read.
    ConfigError, DataError
        If a limit is none, there are no faces to check parity or to calibrate on, or an exports folder that is made
        anew from its own weights holds a graph that is not asked for and would be lost.
    """
    if int8 and calibration is None:
        raise ConfigError("--int8 needs --calibration, the faces to calibrate on")
    if not int8 and int8_tolerance != TOLERANCE:
        raise ConfigError("--int8-tolerance is nothing without --int8")
    if not 0 < atol < math.inf:
        raise ConfigError(f"--atol: expected a number above 0, found {atol:g}")
    itself = (Path(run) / WEIGHTS_FILE).is_file() and Path(output).is_dir() and Path(run).samefile(output)
    if itself:
        _require_graphs_kept(Path(output), {"int8": int8, "fp16": fp16})
    read = partial(read_faces, on_error=on_error, columns=input_columns)
    model, card = load_model_and_card(run)
    if note := chance_note(card.scores):
        warnings.warn(f"{run}: {note}", TrainingWarning, stacklevel=2)
    card = replace(card, versions=library_versions(), git_commit=git_commit())
    # An exports folder may be made anew from itself; a run holds more than an export does, and is not to be replaced.
    inputs = (data, calibration, None if itself else run)
    with staged(output, force=force, folder=FOLDER, inputs=inputs) as stage:
        chosen_from = None if calibration is None else read(calibration)
        calibrated = split_calibration(chosen_from, card) if int8 and chosen_from is not None else None
        selection = _selection(chosen_from, calibrated, card)
        if selection is not None and selection.labels is not None:
            logits = predict_logits(model, selection.images)
            card = replace(card, temperature=temperature_record(logits, selection.labels, split_of(selection, card)))
        faces = _parity_faces(Path(run), None if data is None else read(data), selection)
        graph = stage / MODEL_FILE
        write_graph(model, card, graph)
        save_weights(stage / WEIGHTS_FILE, model.state_dict(), card)
        card.save_json(stage / CARD_FILE)
        parity = check_parity(model, card, graph, faces, atol)
        if calibrated is not None:
            made = quantize(graph, stage / GRAPH_FILES["int8"], calibrated, card, tolerance=int8_tolerance)
            parity = replace(parity, int8=made)
        if fp16:
            parity = replace(parity, fp16=_write_half(model, card, stage / GRAPH_FILES["fp16"], faces))
        parity = replace(parity, graph_sha256=graph_checksums(stage))
        (stage / PARITY_FILE).write_text(json.dumps(asdict(parity), indent=2) + "\n", encoding="utf-8")
        (stage / README_FILE).write_text(export_readme(Path(output).name, card, parity), encoding="utf-8")
    return parity


def _require_graphs_kept(output: Path, wanted: dict[str, bool]) -> None:
    """Raise ConfigError where a folder made anew from itself would lose a graph of lower precision."""
    for precision, asked in wanted.items():
        if (output / GRAPH_FILES[precision]).is_file() and not asked:
            expected = f"expected --{precision} as well, or the graph deleted first"
            raise ConfigError(f"{output}: holds {GRAPH_FILES[precision]}, which would be lost; {expected}")


def _selection(calibration: Faces | None, calibrated: CalibrationData | None, card: ModelCard) -> Faces | None:
    """Return the faces that fit the temperature, where they have labels, and choose the int8 graph."""
    if calibration is None or calibrated is not None:
        return None if calibrated is None else calibrated.selection
    chosen = labelled_validation(calibration, card)
    if chosen is None:
        expected = f"expected labelled {card.validation_split} rows to fit the temperature on, found none"
        raise DataError(calibration.source, expected)
    return chosen


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
        except Exception as error:  # what NumPy raises at a damaged file has no base in common
            raise ModelError(f"{sample}: cannot be read; name faces with --data: {error}") from None
    if selection is not None:
        return selection
    raise ConfigError(f"{run}: kept no {SAMPLE_FILE} to check parity on; name faces with --data")


def _write_half(model: nn.Module, card: ModelCard, path: Path, faces: Faces) -> Agreement:
    """Write the half-precision graph and compare it with the original, on CUDA where that is to be had."""
    card = replace(card, precision="fp16", scores={})
    write_graph(halve(model), card, path)
    scorer = Scorer(path, available_devices()[-1])
    agreement = Agreement.of(faces, scorer.provider, scorer.run(faces.images)[0], predict_logits(model, faces.images))
    if not agreement.max_absolute_difference <= HALF_ATOL:
        raise ModelError(f"{path.name}: {agreement.to_text()}; expected at most {HALF_ATOL:g}")
    stamp(path, replace(card, scores=agreement.scores()))
    return agreement

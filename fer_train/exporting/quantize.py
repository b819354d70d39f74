"""The int8 graph for CPUs: calibrated on Training faces, and of several the one that predicts most like float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, ModelCard, ModelError
from fer_core.exports_folder import INT8_WEIGHTS
from fer_core.outputs.staging import scratch_folder
from fer_core.terminal.progress import progress
from fer_infer.runtime.onnx_runtime import load_runtime, load_runtime_module
from fer_infer.scorer import Scorer
from fer_train.exporting.agreement import Agreement, stamp
from fer_train.exporting.int8_calibration import METHODS, CalibrationData, calibrate

FLOAT_LAYERS: Final = {"last": 1, "first and last": 2}
"""Which of the layers with weights stay in float32, and how many they are; each costs speed.

The last one always does. It is next to no work, and as bytes its outputs, the logits, would be equal for several
classes of many a face, whose prediction would then be whichever class comes first.
"""

QUANTIZED: Final = [
    *("Conv", "Gemm", "MatMul"),
    *("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Sigmoid"),
    *("Flatten", "Reshape", "Transpose"),
]
"""Operators that run in int8. Standardization, the average over the image and softmax stay in float32."""

WEIGHT_LIMIT: Final = 64
"""The largest weight in an int8 graph, of 127 that a byte holds.

x86 processors without VNNI add two products at a time in 16 bits, up to 2 * 255 * 64 = 32,640 of 32,767: with larger
weights the sum is cut where it does not fit, and the network is another one.
"""

TOLERANCE: Final = 0.3
"""Points of accuracy that the int8 graph may lose."""


@dataclass(frozen=True)
class Candidate:
    """One way to quantize a graph, and how it does.

    Attributes
    ----------
    method : str
        In `fer_train.exporting.int8_calibration.METHODS`.
    float_layers : str
        In `FLOAT_LAYERS`.
    agreement : Agreement
        With the float32 graph, on the faces that choose.
    """

    method: str
    float_layers: str
    agreement: Agreement


@dataclass(frozen=True)
class Quantization:
    """An int8 graph: the candidate that was chosen, and by what.

    Attributes
    ----------
    chosen : Candidate
    chosen_by : str
        In words.
    calibration_source, calibration_n : str, int
        The Training faces that gave the ranges.
    quantizer : str
        Library and version.
    candidates : list of Candidate
        All that were tried.
    """

    chosen: Candidate
    chosen_by: str
    calibration_source: str
    calibration_n: int
    quantizer: str
    candidates: list[Candidate]


def quantize(
    graph: Path, output: Path, data: CalibrationData, card: ModelCard, *, tolerance: float = TOLERANCE
) -> Quantization:
    """Write the int8 graph of a float32 graph.

    Weights are int8, symmetric, up to `WEIGHT_LIMIT`, with a scale for each channel; activations are uint8 with one
    scale a tensor (Jacob et al. 2018, eq. 1 and section 3). Unsigned, because ONNX Runtime's x86 kernels are: signed
    ones are converted when the session is made, except where a tensor has two readers, and there the layer then runs
    in float32.

    Parameters
    ----------
    graph : Path
        The float32 graph.
    output : Path
        The ONNX file to write.
    data : CalibrationData
        See `fer_train.exporting.int8_calibration.load_calibration`.
    card : ModelCard
        Of the float32 graph; the int8 graph's own follows from it.
    tolerance : float
        Points of accuracy that it may lose on the validation split; not checked where that has no labels.

    Returns
    -------
    Quantization

    Raises
    ------
    ModelError
        If it loses more.
    ConfigError
        If `tolerance` is negative.
    """
    if not tolerance >= 0:
        raise ConfigError(f"int8 tolerance: expected at least 0 points, found {tolerance:g}")
    expected = Scorer(graph, "cpu").run(data.selection.images)[0]
    candidates: list[Candidate] = []
    equal = []
    with scratch_folder() as folder, progress("quantize", len(METHODS) * len(FLOAT_LAYERS), "graphs") as advance:
        folded, ranges = folder / "folded.onnx", folder / "ranges.json"
        _fold(graph, folded)
        for method in METHODS:
            calibrate(folded, data.training, method, QUANTIZED, ranges)
            for float_layers in FLOAT_LAYERS:
                file = folder / f"{len(candidates)}.onnx"
                _write(folded, ranges, method, float_layers, file)
                stamp(file, replace(card, precision="int8", selection=INT8_WEIGHTS, scores={}))
                scorer = Scorer(file, "cpu")
                logits = scorer.run(data.selection.images)[0]
                agreement = Agreement.of(data.selection, scorer.provider, logits, expected)
                candidates.append(Candidate(method, float_layers, agreement))
                equal.append(logits.argmax(axis=1) == expected.argmax(axis=1))
                advance(1)
        layers = [FLOAT_LAYERS[candidate.float_layers] for candidate in candidates]
        within = [points_lost(candidate.agreement) <= tolerance for candidate in candidates]
        number = choose(np.array(equal), layers, within)
        quantization = Quantization(
            chosen=candidates[number],
            chosen_by=_chosen_by(data, len(candidates)),
            calibration_source=Path(data.training.source).name,
            calibration_n=len(data.training),
            quantizer=f"onnxruntime {load_runtime().__version__}",
            candidates=candidates,
        )
        _require_accuracy(output.name, quantization.chosen.agreement, tolerance)
        output.write_bytes((folder / f"{number}.onnx").read_bytes())
    stamp(output, int8_card(card, quantization))
    return quantization


def choose(equal: NDArray[np.bool_], float_layers: Sequence[int], within: Sequence[bool]) -> int:
    """Return the candidate with the fewest float layers among those as close to float32 as the closest, up to noise.

    Accuracy does not choose, it only excludes: which of several roundings of one network has the most right is mostly
    luck, and the luckiest is not the one that stays closest to the network.

    The rule of one standard error (Breiman et al. 1984, section 3.4.3), here of the paired difference: two
    candidates that differ in `d` of `n` faces differ by chance by sqrt(d) faces.

    Parameters
    ----------
    equal : ndarray of bool, shape (candidates, N)
        For which faces each candidate predicts what the float32 graph predicts.
    float_layers : sequence of int
        Of each candidate.
    within : sequence of bool
        Which candidates lose no more accuracy than they may; the others are passed over, unless there is none.
    """
    allowed = np.flatnonzero(within) if any(within) else np.arange(len(equal))
    same = equal.sum(axis=1)
    best = int(max(allowed, key=lambda number: same[number]))
    noise = np.sqrt((equal != equal[best]).sum(axis=1))
    as_good = [int(number) for number in allowed if same[best] - same[number] <= noise[number]]
    return min(as_good, key=lambda number: (float_layers[number], -same[number]))


def points_lost(agreement: Agreement) -> float:
    """Return by how many points the int8 graph is less accurate than the float32 graph; 0 without labels."""
    if agreement.accuracy is None or agreement.fp32_accuracy is None:
        return 0.0
    return round(100 * (agreement.fp32_accuracy - agreement.accuracy), 9)


def int8_card(card: ModelCard, quantization: Quantization) -> ModelCard:
    """Return the card of the int8 graph: the float32 graph's, with what is its own."""
    chosen = quantization.chosen
    return replace(
        card,
        precision="int8",
        selection=f"{card.selection}; int8: {chosen.method} ranges of {quantization.calibration_n:,} Training faces, "
        f"{INT8_WEIGHTS}, layers in float32: {chosen.float_layers}; {quantization.chosen_by}",
        scores=chosen.agreement.scores(),
    )


def _chosen_by(data: CalibrationData, candidates: int) -> str:
    what = f"of {candidates} candidates by predictions equal to float32 on {len(data.selection):,}"
    if data.selection.labels is not None:
        return f"{what} {data.split} faces"
    return f"{what} held-out Training faces, {data.split} has no labels"


def _require_accuracy(name: str, agreement: Agreement, tolerance: float) -> None:
    if (lost := points_lost(agreement)) > tolerance:
        raise ModelError(
            f"{name}: loses {lost:.2f} points of accuracy ({agreement.accuracy:.2%} of {agreement.n:,} "
            f"{agreement.split} faces, float32 {agreement.fp32_accuracy:.2%}), more than the {tolerance:g} allowed; "
            "--int8-tolerance sets the limit"
        )


def _fold(graph: Path, folded: Path) -> None:
    """Write a graph with BatchNorm folded into its convolutions, which the quantizer expects."""
    quantization = load_runtime_module("quantization")
    quantization.quant_pre_process(graph, folded, skip_symbolic_shape=True)  # ONNX infers all our operators' shapes


def _layers_first_met(walk: Iterable[tuple[Any, Sequence[str], Sequence[str]]]) -> list[str]:
    """Return the layers with weights before which no other one is met; an ensemble has one such a member.

    Parameters
    ----------
    walk : iterable of (node, names of tensors it is come to by, names of those it leads on to)
        The nodes of a graph, in their order or in the opposite one.
    """
    beyond: set[str] = set()
    found = []
    for node, come_by, lead_on in walk:
        met = not beyond.isdisjoint(come_by)
        layer = node.op_type in ("Conv", "Gemm", "MatMul")
        if layer and not met:
            found.append(node.name)
        if layer or met:
            beyond.update(lead_on)
    return found


def _write(folded: Path, ranges: Path, method: str, float_layers: str, output: Path) -> None:
    import onnx

    quantization = load_runtime_module("quantization")
    nodes = list(onnx.load(folded).graph.node)
    last = _layers_first_met([(node, node.output, node.input) for node in reversed(nodes)])
    first = _layers_first_met([(node, node.input, node.output) for node in nodes])
    kept = {"last": last, "first and last": [*first, *last]}[float_layers]
    quantization.quantize_static(
        folded,
        output,
        calibration_cache_path=ranges,
        calibrate_method=quantization.CalibrationMethod[method],
        op_types_to_quantize=QUANTIZED,
        nodes_to_exclude=kept,
        per_channel=True,
        reduce_range=True,  # weights up to WEIGHT_LIMIT
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )

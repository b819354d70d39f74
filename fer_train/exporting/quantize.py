"""The int8 graph for CPUs: calibrated on Training faces, and selected by its agreement with float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
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
from fer_train.exporting.comparison import PrecisionComparison
from fer_train.exporting.config import ExportConfig
from fer_train.exporting.graph import stamp
from fer_train.exporting.int8_calibration import METHODS, CalibrationData, calibrate

FLOAT_LAYERS: Final = {"last": 1, "first and last": 2}
"""Weighted layers that stay in float32, and their number; each costs speed.

The last layer always does. It is cheap, and logits of one byte would often be equal for several classes, of which the
first one would be predicted.
"""

QUANTIZED: Final = [
    *("Conv", "Gemm", "MatMul"),
    *("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Sigmoid"),
    *("Flatten", "Reshape", "Transpose"),
]
"""Operators that run in int8; standardization and softmax stay in float32."""

WEIGHT_LIMIT: Final = 64
"""Largest weight in an int8 graph, although a byte can hold 127.

x86 processors without VNNI add pairs of products in 16 bits, up to 2 * 255 * 64 = 32,640 of 32,767: with larger weights
the sums would saturate, and predictions would differ between processors.
"""

TOLERANCE: Final = ExportConfig().int8_tolerance


@dataclass(frozen=True)
class Candidate:
    """One way to quantize a graph, and its comparison with float32.

    Attributes
    ----------
    method : str
        Key of `fer_train.exporting.int8_calibration.METHODS`.
    float_layers : str
        Key of `FLOAT_LAYERS`.
    comparison : PrecisionComparison
        Comparison with the float32 graph on the faces that select.
    """

    method: str
    float_layers: str
    comparison: PrecisionComparison

    def record(self) -> dict[str, Any]:
        """Return the candidate as `parity.json` states it."""
        agreement = self.comparison.record()
        return {"method": self.method, "float_layers": self.float_layers, "agreement": agreement}


@dataclass(frozen=True)
class Quantization:
    """An int8 graph: the selected candidate, and how it was selected.

    Attributes
    ----------
    chosen : Candidate
    chosen_by : str
        Description of the selection.
    calibration_source, calibration_n : str, int
        Name and number of the Training faces that gave the ranges.
    quantizer : str
        Library and version.
    candidates : list of Candidate
        All candidates.
    """

    chosen: Candidate
    chosen_by: str
    calibration_source: str
    calibration_n: int
    quantizer: str
    candidates: list[Candidate]

    def record(self) -> dict[str, Any]:
        """Return the quantization as `parity.json` states it."""
        table = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            **table,
            "chosen": self.chosen.record(),
            "candidates": [candidate.record() for candidate in self.candidates],
        }


def quantize(
    graph: Path, output: Path, data: CalibrationData, card: ModelCard, *, tolerance: float = TOLERANCE
) -> Quantization:
    """Write the int8 graph of a float32 graph.

    Weights are int8, symmetric, up to `WEIGHT_LIMIT`, with one scale per channel; activations are uint8 with one scale
    per tensor (Jacob et al. 2018, eq. 1 and section 3). They are unsigned, like the x86 kernels of ONNX Runtime: signed
    activations are converted when the session is created, except for tensors with two readers, whose layers would run
    in float32.

    Parameters
    ----------
    graph : Path
        Float32 graph.
    output : Path
        ONNX file to write.
    data : CalibrationData
        Faces from `fer_train.exporting.int8_calibration.load_calibration`.
    card : ModelCard
        Card of the float32 graph, from which the card of the int8 graph follows.
    tolerance : float
        Points of accuracy that the int8 graph may lose on the validation split; not checked without labels.

    Returns
    -------
    Quantization

    Raises
    ------
    ModelError
        If it loses more than `tolerance`.
    ConfigError
        If `tolerance` is negative.
    """
    if not tolerance >= 0:
        raise ConfigError(f"expected at least 0 points, found {tolerance:g}", parameter="int8_tolerance")
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
                comparison = PrecisionComparison.of(data.selection, scorer.provider, logits, expected)
                candidates.append(Candidate(method, float_layers, comparison))
                equal.append(logits.argmax(axis=1) == expected.argmax(axis=1))
                advance(1)
        layers = [FLOAT_LAYERS[candidate.float_layers] for candidate in candidates]
        within = [points_lost(candidate.comparison) <= tolerance for candidate in candidates]
        number = choose(np.array(equal), layers, within)
        quantization = Quantization(
            chosen=candidates[number],
            chosen_by=_chosen_by(data, len(candidates)),
            calibration_source=Path(data.training.source).name,
            calibration_n=len(data.training),
            quantizer=f"onnxruntime {load_runtime().__version__}",
            candidates=candidates,
        )
        _require_accuracy(output.name, quantization.chosen.comparison, tolerance)
        output.write_bytes((folder / f"{number}.onnx").read_bytes())
    stamp(output, int8_card(card, quantization))
    return quantization


def choose(equal: NDArray[np.bool_], float_layers: Sequence[int], within: Sequence[bool]) -> int:
    """Return the candidate with the fewest float layers among those that agree with float32 as well as the best.

    Accuracy only excludes candidates: which of several roundings of one network is most accurate is mostly luck, and
    not a sign of agreement with the network.

    Agreement is compared by the rule of one standard error (Breiman et al. 1984, section 3.4.3) of the paired
    difference: two candidates that differ in `d` of `n` faces differ by chance by sqrt(d) faces.

    Parameters
    ----------
    equal : ndarray of bool, shape (candidates, N)
        Whether each candidate predicts the same class as the float32 graph.
    float_layers : sequence of int
        Number of float layers of each candidate.
    within : sequence of bool
        Whether each candidate is within the tolerance of accuracy; the others are excluded, unless none is.
    """
    allowed = np.flatnonzero(within) if any(within) else np.arange(len(equal))
    same = equal.sum(axis=1)
    best = int(max(allowed, key=lambda number: same[number]))
    noise = np.sqrt((equal != equal[best]).sum(axis=1))
    as_good = [int(number) for number in allowed if same[best] - same[number] <= noise[number]]
    return min(as_good, key=lambda number: (float_layers[number], -same[number]))


def points_lost(comparison: PrecisionComparison) -> float:
    """Return the loss of accuracy of the int8 graph in points; 0 without labels."""
    if comparison.accuracy is None or comparison.fp32_accuracy is None:
        return 0.0
    return round(100 * (comparison.fp32_accuracy - comparison.accuracy), 9)


def int8_card(card: ModelCard, quantization: Quantization) -> ModelCard:
    """Return the card of the int8 graph, derived from that of the float32 graph."""
    chosen = quantization.chosen
    return replace(
        card,
        precision="int8",
        selection=f"{card.selection}; int8: {chosen.method} ranges of {quantization.calibration_n:,} Training faces, "
        f"{INT8_WEIGHTS}, layers in float32: {chosen.float_layers}; {quantization.chosen_by}",
        scores=chosen.comparison.scores(),
    )


def _chosen_by(data: CalibrationData, candidates: int) -> str:
    what = f"of {candidates} candidates by predictions equal to float32 on {len(data.selection):,}"
    if data.selection.labels is not None:
        return f"{what} {data.split} faces"
    return f"{what} held-out Training faces, {data.split} has no labels"


def _require_accuracy(name: str, comparison: PrecisionComparison, tolerance: float) -> None:
    if (lost := points_lost(comparison)) > tolerance:
        raise ModelError(
            f"{name}: loses {lost:.2f} points of accuracy ({comparison.accuracy:.2%} of {comparison.agreement.n:,} "
            f"{comparison.split} faces, float32 {comparison.fp32_accuracy:.2%}), more than the {tolerance:g} allowed; "
            "`int8_tolerance` sets the limit"
        )


def _fold(graph: Path, folded: Path) -> None:
    """Write a graph with BatchNorm folded into its convolutions, as the quantizer expects."""
    quantization = load_runtime_module("quantization")
    quantization.quant_pre_process(graph, folded, skip_symbolic_shape=True)  # ONNX infers the shapes of all operators


def _first_weighted_layers(walk: Iterable[tuple[Any, Sequence[str], Sequence[str]]]) -> list[str]:
    """Return the first weighted layer of each member of an ensemble, or of the network.

    Parameters
    ----------
    walk : iterable of (node, names of its incoming tensors, names of its outgoing tensors)
        Nodes of a graph in their order, or in reverse, which gives the last weighted layers.
    """
    reached: set[str] = set()
    found = []
    for node, incoming, outgoing in walk:
        behind = not reached.isdisjoint(incoming)
        weighted = node.op_type in ("Conv", "Gemm", "MatMul")
        if weighted and not behind:
            found.append(node.name)
        if weighted or behind:
            reached.update(outgoing)
    return found


def _write(folded: Path, ranges: Path, method: str, float_layers: str, output: Path) -> None:
    import onnx

    quantization = load_runtime_module("quantization")
    nodes = list(onnx.load(folded).graph.node)
    last = _first_weighted_layers([(node, node.output, node.input) for node in reversed(nodes)])
    first = _first_weighted_layers([(node, node.input, node.output) for node in nodes])
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

"""Parity of the exported graph and the PyTorch network, checked by the production scorer on real faces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fer_core import Faces, ModelCard, ModelError
from fer_core.agreement import Agreement
from fer_core.exports_folder import ExportsFolder
from fer_infer.config import DEFAULT_BATCH_SIZE
from fer_infer.runtime.session import available_devices
from fer_infer.scorer import Scorer
from fer_train.exporting.comparison import PrecisionComparison
from fer_train.exporting.config import ExportConfig
from fer_train.exporting.quantize import Quantization
from fer_train.exporting.saliency.parity import SaliencyParity
from fer_train.prediction import softmax

PARITY_ATOL: Final = ExportConfig().atol
"""Largest difference of a logit between PyTorch and ONNX Runtime that an export may have."""
BATCH_SIZES: Final = (1, 2, 7, DEFAULT_BATCH_SIZE)
SINGLE_FACES: Final = 256
"""Number of faces that are scored one at a time, which is slow."""


@dataclass(frozen=True)
class Parity:
    """Difference between the deployed graph and the PyTorch network on the same faces.

    Attributes
    ----------
    source, n : str, int
        Name of the data, and number of faces.
    providers : list of str
        Providers of ONNX Runtime that scored them.
    batch_sizes : list of int
        Batch sizes on each provider.
    max_absolute_difference, max_relative_difference : float
        Largest difference of a logit; relative to the largest absolute logit of the face.
    max_probability_difference : float
        Largest difference of a probability, from the softmax of the network's logits at the temperature of the card.
    changed_predictions : int
        Number of faces whose predicted class differs in any comparison.
    weights_in_graph : str
        How many tensors of `weights.safetensors` are in the graph, equal to the bit.
    atol : float
        Limit of `max_absolute_difference`.
    int8 : Quantization or None
        How the int8 graph was made, and how it compares; None without one.
    fp16 : PrecisionComparison or None
        How the float16 graph compares; None without one.
    saliency : SaliencyParity or None
        How the maps of `saliency.onnx` compare with PyTorch's gradients; None without one.
    graph_sha256 : dict of str to str
        SHA-256 of each graph by file name; `fer_infer.Scorer` refuses a graph with another one.
    """

    source: str
    n: int
    providers: list[str]
    batch_sizes: list[int]
    max_absolute_difference: float
    max_relative_difference: float
    max_probability_difference: float
    changed_predictions: int
    weights_in_graph: str
    atol: float
    int8: Quantization | None = None
    fp16: PrecisionComparison | None = None
    saliency: SaliencyParity | None = None
    graph_sha256: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the content of `parity.json`."""
        table = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            **table,
            "int8": None if self.int8 is None else self.int8.record(),
            "fp16": None if self.fp16 is None else self.fp16.record(),
            "saliency": None if self.saliency is None else self.saliency.record(),
        }

    def to_text(self) -> str:
        """Return the comparison of each graph in one line."""
        lines = [
            f"parity on {self.n:,} faces, {', '.join(self.providers)}: max |d logit| "
            f"{self.max_absolute_difference:.1e}, {self.changed_predictions} predictions changed"
        ]
        comparisons = {"int8": None if self.int8 is None else self.int8.chosen.comparison, "fp16": self.fp16}
        for precision, comparison in comparisons.items():
            if comparison is not None:
                lines.append(f"{precision} on {comparison.agreement.n:,} faces: {comparison.to_text()}")
        if self.saliency is not None:
            lines.append(self.saliency.to_text())
        return "\n".join(lines)


def graph_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each graph in an exports folder by file name."""
    exports = ExportsFolder(folder)
    graphs = [exports.graph(precision) for precision in exports.precisions()]
    graphs += [exports.saliency] if exports.saliency.is_file() else []
    return {graph.name: hashlib.sha256(graph.read_bytes()).hexdigest() for graph in graphs}


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Output of the scorer on one provider at one batch size, compared with the network."""

    provider: str
    logits: Agreement
    relative_difference: float
    probability_difference: float


def check_parity(
    state: Mapping[str, Tensor],
    logits: NDArray[np.float32],
    card: ModelCard,
    path: Path,
    faces: Faces,
    *,
    atol: float = PARITY_ATOL,
) -> Parity:
    """Compare the production scorer with the PyTorch network, at every batch size and on every provider.

    Parameters
    ----------
    state : mapping of str to Tensor
        Weights of the network.
    logits : ndarray of float32, shape (N, classes)
        Logits of the network for `faces`.
    card : ModelCard
        Card of the graph.
    path : Path
        ONNX file.
    faces : Faces
        At least one face.
    atol : float
        Largest difference of a logit that passes.

    Raises
    ------
    ModelError
        If a logit differs by more than `atol`, a probability by more than such logits explain, a prediction changes,
        or the graph holds other weights.
    """
    temperature = card.temperature["value"]
    comparisons = list(_comparisons(path, faces.images, logits, softmax(logits, temperature)))
    held, total = count_held_weights(path, state)
    parity = Parity(
        source=Path(faces.source).name,
        n=len(faces),
        providers=list(dict.fromkeys(each.provider for each in comparisons)),
        batch_sizes=list(BATCH_SIZES),
        max_absolute_difference=max(each.logits.max_absolute_difference for each in comparisons),
        max_relative_difference=max(each.relative_difference for each in comparisons),
        max_probability_difference=max(each.probability_difference for each in comparisons),
        changed_predictions=len({face for each in comparisons for face in each.logits.changed.tolist()}),
        weights_in_graph=f"{held} of {total}",
        atol=atol,
    )
    _require_parity(parity, path.name, temperature)
    if held != total:
        raise ModelError(f"{path.name}: expected all {total} tensors of the PyTorch network, to the bit, found {held}")
    return parity


def _comparisons(
    path: Path, images: NDArray[np.uint8], logits: NDArray[np.float32], probabilities: NDArray[np.float32]
) -> Iterator[_Comparison]:
    scale = np.maximum(np.abs(logits).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    for device in available_devices():
        scorer = Scorer(path, device)
        for batch_size in BATCH_SIZES:
            part = slice(SINGLE_FACES) if batch_size == 1 else slice(None)
            found, found_probabilities = scorer.run(images[part], batch_size=batch_size)
            yield _Comparison(
                scorer.provider,
                Agreement.between(logits[part], found),
                float((np.abs(found - logits[part]) / scale[part]).max()),
                float(np.abs(found_probabilities - probabilities[part]).max()),
            )


def _require_parity(parity: Parity, name: str, temperature: float) -> None:
    # Logits that differ by d change a probability by at most d / (2 temperature).
    limit = parity.atol / temperature
    if (
        parity.max_absolute_difference <= parity.atol
        and parity.max_probability_difference <= limit
        and not parity.changed_predictions
    ):
        return
    raise ModelError(
        f"{name}: differs from the PyTorch network: max |d logit| {parity.max_absolute_difference:.3g} "
        f"(limit {parity.atol:.3g}), max |d probability| {parity.max_probability_difference:.3g} "
        f"(limit {limit:.3g}), {parity.changed_predictions} of {parity.n} predictions changed"
    )


def count_held_weights(graph: Any, state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Count the tensors of a state that are among the initializers of a graph, equal to the bit, and all its tensors.

    The graph is an ``onnx.ModelProto`` or the path of one. Integers, such as the number of batches that BatchNorm has
    seen, are not weights.
    """
    import onnx

    parsed = onnx.load(graph) if isinstance(graph, str | Path) else graph
    held = {onnx.numpy_helper.to_array(tensor).tobytes() for tensor in parsed.graph.initializer}
    weights = [tensor for tensor in state.values() if tensor.is_floating_point()]
    return sum(tensor.cpu().numpy().tobytes() in held for tensor in weights), len(weights)

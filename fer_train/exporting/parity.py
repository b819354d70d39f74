"""Parity: the graph that is deployed against the PyTorch original, by the production scorer, on real rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor, nn

from fer_core import Faces, ModelCard, ModelError
from fer_core.exports_folder import ExportsFolder
from fer_infer.config import DEFAULT_BATCH_SIZE
from fer_infer.runtime.session import available_devices
from fer_infer.scorer import Scorer
from fer_train.exporting.agreement import Agreement
from fer_train.exporting.quantize import Quantization
from fer_train.prediction import predict_logits, softmax

PARITY_ATOL: Final = 1e-4
"""Largest difference of a logit between PyTorch and ONNX Runtime that an export may show."""
BATCH_SIZES: Final = (1, 2, 7, DEFAULT_BATCH_SIZE)


@dataclass(frozen=True)
class Parity:
    """How far the deployed graph is from the PyTorch original, on the same rows.

    Attributes
    ----------
    source, n : str, int
        The faces compared.
    providers : list of str
        ONNX Runtime providers that computed them.
    batch_sizes : list of int
        Each tried on each provider.
    max_absolute_difference, max_relative_difference : float
        Of logits, over all of them; relative to the largest absolute logit of the face.
    max_probability_difference : float
        Of probabilities, from the softmax of the original's logits divided by the temperature of the card.
    changed_predictions : int
        Faces whose most probable class differs in any of the comparisons.
    weights_in_graph : str
        How many tensors of `weights.safetensors` stand in the graph bit for bit.
    atol : float
        The limit that was kept.
    int8 : Quantization or None
        How the int8 graph was made and how it compares; None where there is none.
    fp16 : Agreement or None
        How the half-precision graph compares; None where there is none.
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
    fp16: Agreement | None = None
    graph_sha256: dict[str, str] = field(default_factory=dict)


def graph_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each graph in an exports folder by file name."""
    exports = ExportsFolder(folder)
    graphs = [exports.graph(precision) for precision in exports.precisions()]
    return {graph.name: hashlib.sha256(graph.read_bytes()).hexdigest() for graph in graphs}


def check_parity(model: nn.Module, card: ModelCard, path: Path, faces: Faces, atol: float) -> Parity:
    """Compare the production scorer with the PyTorch original, at every batch size and on every provider.

    Raises
    ------
    ModelError
        If a logit differs by more than `atol`, a probability by more than such logits explain, a prediction changes,
        or the graph holds other weights.
    """
    temperature = card.temperature["value"]
    expected = predict_logits(model, faces.images)
    expected_probabilities = softmax(expected, temperature)
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    absolute = relative = of_probability = 0.0
    changed = np.zeros(len(faces), bool)
    providers = []
    for device in available_devices():
        scorer = Scorer(path, device)
        providers.append(scorer.provider)
        for batch_size in BATCH_SIZES:
            # one face at a time is slow and shows nothing new after some hundred
            part = slice(256) if batch_size == 1 else slice(None)
            found, probabilities = scorer.run(faces.images[part], batch_size=batch_size)
            difference = np.abs(found - expected[part])
            absolute = max(absolute, float(difference.max()))
            relative = max(relative, float((difference / scale[part]).max()))
            difference = np.abs(probabilities - expected_probabilities[part])
            of_probability = max(of_probability, float(difference.max()))
            changed[part] |= found.argmax(axis=1) != expected[part].argmax(axis=1)
    held, total = count_held_weights(path, model.state_dict())
    parity = Parity(
        source=Path(faces.source).name,
        n=len(faces),
        providers=providers,
        batch_sizes=list(BATCH_SIZES),
        max_absolute_difference=absolute,
        max_relative_difference=relative,
        max_probability_difference=of_probability,
        changed_predictions=int(changed.sum()),
        weights_in_graph=f"{held} of {total}",
        atol=atol,
    )
    # Logits that differ by d let a probability differ by d / (2 temperature) at most.
    if not absolute <= atol or not of_probability <= atol / temperature or changed.any():
        raise ModelError(
            f"{path.name}: differs from its PyTorch original: max |d logit| {absolute:.3g} (limit {atol:.3g}), "
            f"max |d probability| {of_probability:.3g} (limit {atol / temperature:.3g}), "
            f"{int(changed.sum())} of {len(faces)} predictions changed"
        )
    if held != total:
        raise ModelError(
            f"{path.name}: expected all {total} tensors of its PyTorch original, bit for bit, found {held}"
        )
    return parity


def count_held_weights(path: Path, state: dict[str, Tensor]) -> tuple[int, int]:
    """Count the tensors of a state that stand bit for bit among a graph's initializers, and the tensors in all.

    Integers, the count of batches that BatchNorm has seen while training, are no weights.
    """
    import onnx

    held = {onnx.numpy_helper.to_array(tensor).tobytes() for tensor in onnx.load(path).graph.initializer}
    weights = [tensor for tensor in state.values() if tensor.is_floating_point()]
    return sum(tensor.cpu().numpy().tobytes() in held for tensor in weights), len(weights)

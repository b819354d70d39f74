"""Verify that the explained network and the deployed ONNX graph are the same model: by weights, cards and logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import CardError, ModelCard, ModelError
from fer_core.agreement import Agreement
from fer_core.exports_folder import MODEL_FILE, ExportsFolder
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import Scorer
from fer_infer.graph_selection import find_graph
from fer_train.exporting.parity import PARITY_ATOL, count_held_weights
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model_and_card, weights_path

PROBES: Final = 8
"""Number of drawn faces that are scored by both networks when a model is loaded."""


@dataclass(frozen=True, eq=False)
class VerifiedModel:
    """A network to explain, verified against the exported graph next to it.

    Attributes
    ----------
    network : torch.nn.Module
        The PyTorch network, in evaluation mode, on the CPU.
    card : ModelCard
        Model card of the weights.
    weights_file : Path
        File of the weights.
    scorer : Scorer or None
        The exported float32 graph, on the CPU; None if the folder has no graph.
    tensors_in_graph : tuple of int or None
        Number of the network's tensors that the graph contains bit for bit, and number of all tensors.
    probe_agreement : Agreement or None
        Agreement of network and graph on `PROBES` drawn faces; None without a graph.

    Examples
    --------
    >>> model = load_verified("exports/compact")
    >>> len(model.card.labels), len(model.weights_sha256)
    (7, 64)
    """

    network: nn.Module
    card: ModelCard
    weights_file: Path
    scorer: Scorer | None
    tensors_in_graph: tuple[int, int] | None
    probe_agreement: Agreement | None = None

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights; loading them compares it with the tensors."""
        return self.card.weights_sha256

    @property
    def temperature(self) -> float:
        """Divisor of the logits before the scorer's softmax."""
        return float(self.card.temperature["value"])


@dataclass(frozen=True, eq=False)
class ComparedLogits:
    """Logits of the same faces by the PyTorch network and by the exported graph.

    Attributes
    ----------
    pytorch, onnx : ndarray of float32, shape (N, classes)
        Logits.
    agreement : Agreement
        Comparison of the two.
    """

    pytorch: NDArray[np.float32]
    onnx: NDArray[np.float32]
    agreement: Agreement


@dataclass(frozen=True, eq=False)
class ComparedGraph:
    """A graph of lower precision, compared with the network that is explained.

    Attributes
    ----------
    file : str
        Name of the graph's file.
    precision : str
        Precision of the graph, e.g. ``int8``.
    is_default : bool
        Whether this graph scores by default on this machine's CPU.
    agreement : Agreement
        Comparison of its logits with the network's.
    """

    file: str
    precision: str
    is_default: bool
    agreement: Agreement


def load_verified(model: str | Path) -> VerifiedModel:
    """Load a network and verify that the exported graph next to it is the same model.

    Weights and graph must have the same hash and the same card, and agree on drawn faces.

    Parameters
    ----------
    model : str or Path
        An exports folder or a run. A run that was never exported has no graph to compare with.

    Returns
    -------
    VerifiedModel

    Raises
    ------
    CardError
        If a card is incomplete, the graph's card states other weights, or the two cards differ.
    ModelError
        If weights or graph are missing or damaged, do not match their own card, or compute different logits.

    Examples
    --------
    >>> model = load_verified("exports/compact")
    >>> model.card.architecture, model.probe_agreement.equal_predictions
    ('compact', 1.0)
    """
    folder = Path(model)
    file = weights_path(folder)
    network, card = load_model_and_card(folder)
    path = ExportsFolder(folder).graph()
    if not path.is_file():
        return VerifiedModel(network, card, file, None, None)
    graph = _read_graph(path)
    stated = ModelCard.from_metadata({entry.key: entry.value for entry in graph.metadata_props}, str(path))
    if card.weights_sha256 != stated.weights_sha256:
        raise CardError(
            f"{file} and {path}: expected the same model, found weights with sha256 {card.weights_sha256} and a graph "
            f"of weights with sha256 {stated.weights_sha256}"
        )
    card.require_equal(stated, str(file), str(path))
    held = count_held_weights(graph, network.state_dict())
    verified = VerifiedModel(network, card, file, Scorer(path, "cpu"), held)
    probes = compare_logits(verified, draw_faces(PROBES, seed=0).images)
    return replace(verified, probe_agreement=probes.agreement if probes else None)


def compare_logits(verified: VerifiedModel, images: NDArray[np.uint8]) -> ComparedLogits | None:
    """Score faces by the PyTorch network and by the exported graph.

    Parameters
    ----------
    verified : VerifiedModel
        A loaded model, see `load_verified`.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.

    Returns
    -------
    ComparedLogits or None
        None without a graph.

    Raises
    ------
    ModelError
        If a logit or a probability differs by more than `fer_train.exporting.parity.PARITY_ATOL`.
    """
    if verified.scorer is None:
        return None
    pytorch = predict_logits(verified.network, images)
    onnx, probabilities = verified.scorer.run(images)
    agreement = Agreement.between(pytorch, onnx)
    of_probabilities = float(np.abs(softmax(onnx, verified.temperature) - probabilities).max(initial=0.0))
    for compared, difference in (
        ("logits", agreement.max_absolute_difference),
        ("probabilities at the card's temperature", of_probabilities),
    ):
        if not difference <= PARITY_ATOL:
            raise ModelError(
                f"{verified.weights_file} and {verified.scorer.path}: expected equal {compared}, found a difference "
                f"of {difference:.3g} (limit {PARITY_ATOL:g})"
            )
    return ComparedLogits(pytorch, onnx, agreement)


def compare_precisions(
    verified: VerifiedModel, images: NDArray[np.uint8], compared: ComparedLogits | None
) -> tuple[ComparedGraph, ...]:
    """Compare the graphs of lower precision in the exports folder with the network.

    Parameters
    ----------
    verified : VerifiedModel
        A loaded model, see `load_verified`.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    compared : ComparedLogits or None
        Logits of these faces, as `compare_logits` returns them.

    Returns
    -------
    tuple of ComparedGraph
        Empty without faces, or without other graphs.

    Raises
    ------
    CardError
        If the card of a graph states other weights.
    ModelError
        If a graph cannot be run.
    """
    if verified.scorer is None or compared is None or not len(images):
        return ()
    folder = ExportsFolder(verified.scorer.path.parent)
    default = find_graph(folder.path, "auto", "cpu")
    graphs = []
    for precision in folder.precisions():
        path = folder.graph(precision)
        if path.name == MODEL_FILE:
            continue
        scorer = Scorer(path, "cpu")
        if scorer.card.weights_sha256 != verified.weights_sha256:
            raise CardError(f"{scorer.path}: its card's weights_sha256 is not that of {verified.weights_file}")
        agreement = Agreement.between(compared.pytorch, scorer.run(images)[0])
        graphs.append(ComparedGraph(path.name, precision, scorer.path == default, agreement))
    return tuple(graphs)


def _read_graph(path: Path) -> Any:
    """Parse an ONNX file."""
    import onnx

    try:
        return onnx.load(path)
    except Exception as error:  # protobuf has no types, and its errors no common base with the file system's
        raise ModelError(f"{path}: cannot be read as ONNX: {error}") from None

"""That the network being explained is the network that scores: by its weights, and by its logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import CardError, ModelCard, ModelError
from fer_core.exports_folder import GRAPH_FILES, MODEL_FILE
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import Scorer
from fer_infer.graph_selection import find_graph
from fer_train.exporting.parity import PARITY_ATOL, count_held_weights
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model_and_card, weights_path, weights_sha256

PROBES: Final = 8
"""Drawn faces that pass through both networks before anything is explained."""


@dataclass(frozen=True)
class Proven:
    """A network to explain, its weights checked against everything that stands beside them.

    Attributes
    ----------
    network : torch.nn.Module
        The PyTorch original, in evaluation mode, on the CPU.
    card : ModelCard
        Of its weights.
    weights_file : Path
        Where they were read from.
    weights_sha256 : str
        Computed from the tensors just read, not copied from a card.
    scorer : Scorer or None
        The exported graph, on the CPU; None where the folder holds none.
    tensors_in_graph : tuple of int or None
        How many of the network's tensors stand in the graph bit for bit, and how many there are.
    probed : Agreement or None
        Of `PROBES` drawn faces; None where there is no graph.
    """

    network: nn.Module
    card: ModelCard
    weights_file: Path
    weights_sha256: str
    scorer: Scorer | None
    tensors_in_graph: tuple[int, int] | None
    probed: Agreement | None = None

    @property
    def temperature(self) -> float:
        """By which the scorer divides logits before the softmax."""
        return float(self.card.temperature["value"])


@dataclass(frozen=True)
class Agreement:
    """The same faces through both.

    Attributes
    ----------
    pytorch, onnx : ndarray of float32, shape (N, classes)
        Logits.
    max_difference : float
        Largest absolute difference between them, in logits; 0 without faces.
    """

    pytorch: NDArray[np.float32]
    onnx: NDArray[np.float32]
    max_difference: float


def load_proven(model: str | Path) -> Proven:
    """Load the network of a folder, unless the folder scores with another one, as drawn faces would show.

    Parameters
    ----------
    model : str or Path
        An exports folder or a run. A run that was never exported has no graph to compare with.

    Returns
    -------
    Proven

    Raises
    ------
    CardError
        If a card is incomplete, the graph's card states another sha256 than the weights have, or the two cards differ.
    ModelError
        If weights or graph are absent, damaged, or not those of their own card, or the graph computes something else.
    """
    folder = Path(model)
    file = weights_path(folder)
    network, card = load_model_and_card(folder)
    found = weights_sha256(network.state_dict())
    graph = folder / MODEL_FILE
    if not graph.is_file():
        return Proven(network, card, file, found, None, None)
    stated = _graph_card(graph).weights_sha256
    if found != stated:
        raise CardError(
            f"{file} and {graph}: expected one model, found weights of sha256 {found} and a graph made from "
            f"weights of sha256 {stated}; what is explained would not be what scores"
        )
    scorer = Scorer(graph, "cpu")
    card.require_equal(scorer.card, str(file), str(graph))
    proven = Proven(network, card, file, found, scorer, count_held_weights(graph, network.state_dict()))
    return replace(proven, probed=compare_logits(proven, draw_faces(PROBES, seed=0).images))


def compare_logits(proven: Proven, images: NDArray[np.uint8]) -> Agreement | None:
    """Pass faces through the PyTorch original and through the graph that scores.

    Parameters
    ----------
    proven : Proven
        As `load_proven` returns it.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.

    Returns
    -------
    Agreement or None
        None where there is no graph.

    Raises
    ------
    ModelError
        If a logit or a probability differs by more than an export may show, `fer_train.exporting.parity.PARITY_ATOL`:
        then the graph carries the right card but computes something else.
    """
    if proven.scorer is None:
        return None
    pytorch = predict_logits(proven.network, images)
    onnx, probabilities = proven.scorer.run(images)
    difference = float(np.abs(pytorch - onnx).max(initial=0.0))
    calibrated = float(np.abs(softmax(onnx, proven.temperature) - probabilities).max(initial=0.0))
    for what, found in (("logits", difference), ("probabilities at the card's temperature", calibrated)):
        if not found <= PARITY_ATOL:
            raise ModelError(
                f"{proven.weights_file} and {proven.scorer.path}: expected equal {what}, found a difference of "
                f"{found:.3g} (limit {PARITY_ATOL:g}); what is explained would not be what scores"
            )
    return Agreement(pytorch, onnx, difference)


@dataclass(frozen=True)
class LowerPrecision:
    """A graph of lower precision, made from the same weights, beside the network that is explained.

    Attributes
    ----------
    file, precision : str
        Its name, and what it computes in.
    default : bool
        Whether it is the one that scores on this machine's CPU where no precision is asked for.
    max_difference : float
        Largest absolute difference of a logit.
    changed : ndarray of int64, shape (K,)
        Positions of the faces that it predicts otherwise.
    """

    file: str
    precision: str
    default: bool
    max_difference: float
    changed: NDArray[np.int64]


def compare_precisions(
    proven: Proven, images: NDArray[np.uint8], agreement: Agreement | None
) -> tuple[LowerPrecision, ...]:
    """Pass faces, one at least, through the graphs of lower precision that stand beside the network.

    Parameters
    ----------
    proven : Proven
        As `load_proven` returns it.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    agreement : Agreement or None
        Of these faces, as `compare_logits` returns it.

    Raises
    ------
    CardError
        If the card of one states other weights.
    ModelError
        If one cannot be run.
    """
    if proven.scorer is None or agreement is None or not len(images):
        return ()
    folder, logits, found = proven.scorer.path.parent, agreement.pytorch, []
    default = find_graph(folder, "auto", "cpu")
    for precision, name in GRAPH_FILES.items():
        if name == MODEL_FILE or not (folder / name).is_file():
            continue
        scorer = Scorer(folder / name, "cpu")
        if scorer.card.weights_sha256 != proven.weights_sha256:
            raise CardError(f"{scorer.path}: its card's weights_sha256 is not that of {proven.weights_file}")
        others = scorer.run(images)[0]
        changed = np.flatnonzero(others.argmax(axis=1) != logits.argmax(axis=1))
        difference = float(np.abs(others - logits).max())
        found.append(LowerPrecision(name, precision, scorer.path == default, difference, changed))
    return tuple(found)


def _graph_card(path: Path) -> ModelCard:
    """Read the card of an ONNX file without running it."""
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has no types, and its errors no common base with the file system's
        raise ModelError(f"{path}: cannot be read as ONNX: {error}") from None
    return ModelCard.from_metadata({entry.key: entry.value for entry in graph.metadata_props}, str(path))

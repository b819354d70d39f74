"""Consistency of the files of an exports folder: model card, precision and checksum of a graph, parameter count."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, Final

from fer_core import CardError, ModelCard, ModelError
from fer_core.exports_folder import CARD_FILE, GRAPH_FILES, INT8_WEIGHTS, PARITY_FILE, WEIGHTS_FILE

BUFFERS: Final = ("running_mean", "running_var", "num_batches_tracked", "standardize.mean", "standardize.std")
"""Endings of the names of tensors that are not parameters."""
HEADER_LIMIT: Final = 1 << 24
"""Maximum size of a safetensors header in bytes; a larger one is not a header of this project."""


def read_card(session: Any, path: Path, *, in_folder: bool) -> ModelCard:
    """Return the model card in the metadata of a session's graph.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Session of the graph.
    path : Path
        ONNX file. Its card must equal `card.json` in the same folder, if that exists.
    in_folder : bool
        Whether `card.json` must exist.

    Raises
    ------
    CardError
        If a card is missing, incomplete, or differs from the other.
    """
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise CardError(f"{path}: contains a model card that is not UTF-8") from None
    if not metadata:
        raise CardError(f"{path}: contains no model card in its metadata_props")
    card = ModelCard.from_metadata(metadata, str(path))
    in_json = path.with_name(CARD_FILE)
    if in_json.exists() or in_folder:
        card.require_equal(ModelCard.load_json(in_json), str(path), str(in_json))
    return card


def require_precision(card: ModelCard, path: Path, asked: str) -> None:
    """Raise ModelError unless the graph at `path` has the requested precision and, with int8, portable weights."""
    by_name = {file: precision for precision, file in GRAPH_FILES.items()}
    expected = by_name.get(path.name, card.precision) if asked == "auto" else asked
    if card.precision != expected:
        raise ModelError(f"{path}: expected a graph of precision {expected}, found {card.precision}")
    if expected == "int8" and INT8_WEIGHTS not in card.selection:
        why = f"expected an int8 graph with {INT8_WEIGHTS}, which gives equal results on all processors"
        raise ModelError(f"{path}: {why}; `fer-train export` makes a new one")


def require_checksum(graph: Path, sha256: str) -> None:
    """Raise ModelError unless a graph has the SHA-256 that `parity.json` states.

    Exports made before graphs had a checksum state none, and then nothing is checked.

    Parameters
    ----------
    graph : Path
        ONNX file.
    sha256 : str
        SHA-256 of its content, as hex.
    """
    parity = graph.with_name(PARITY_FILE)
    try:
        table = json.loads(parity.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ModelError(f"{parity}: cannot be read as JSON: {getattr(error, 'strerror', None) or error}") from None
    stated = table.get("graph_sha256") if isinstance(table, dict) else None
    expected = stated.get(graph.name) if isinstance(stated, dict) else None
    if expected is not None and expected != sha256:
        found = f"expected SHA-256 {expected[:12]}..., as {PARITY_FILE} states, found {sha256[:12]}..."
        raise ModelError(f"{graph}: is damaged or from another export: {found}")


def count_parameters(graph: Path, weights_sha256: str) -> int | None:
    """Return the number of parameters of the network that a graph was exported from.

    It is read from the header of `weights.safetensors` in the same folder; no tensor is loaded.

    Parameters
    ----------
    graph : Path
        ONNX file.
    weights_sha256 : str
        Checksum of the weights that the graph's card states.

    Returns
    -------
    int or None
        None if the file is absent, unreadable, or contains the weights of another network.
    """
    try:
        with graph.with_name(WEIGHTS_FILE).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(min(length, HEADER_LIMIT)))
        metadata = header.pop("__metadata__")
        if json.loads(metadata["weights_sha256"]) != weights_sha256:
            return None
        return sum(int(math.prod(tensor["shape"])) for name, tensor in header.items() if not name.endswith(BUFFERS))
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
        return None

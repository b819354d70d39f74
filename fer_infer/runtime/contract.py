"""Contracts of exported graphs: one file, and inputs and outputs of fixed names, types and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fer_core import IMAGE_SIZE, ModelError
from fer_core.git_lfs import refuse_lfs_pointer

EXTERNAL_DATA: Final = b"\n\x08location"
"""Key of tensors with external data, in the wire format of protobuf (field 1, eight bytes)."""

Signatures = dict[str, tuple[str, tuple[int | None, ...]]]
"""Types and shapes of a graph's inputs or outputs by name; None is a dynamic dimension."""


def read_graph(path: Path) -> bytes:
    """Return the content of an ONNX file; raise ModelError if it uses external data or cannot be read."""
    refuse_lfs_pointer(path, ModelError)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    if EXTERNAL_DATA in content:
        raise ModelError(f"{path}: stores tensors in other files; expected a model in one file")
    return content


FACES: Final[Signatures] = {"faces": ("uint8", (None, IMAGE_SIZE, IMAGE_SIZE))}
MAP: Final = ("float32", (None, IMAGE_SIZE, IMAGE_SIZE))


def require_contract(session: Any, classes: int, path: Path) -> None:
    """Raise ModelError unless the inputs and outputs of a session of the graph in `path` fulfil the contract."""
    _require(session, path, FACES, _scores(classes))


def require_saliency_contract(session: Any, classes: int, path: Path) -> None:
    """Raise ModelError unless a session of `saliency.onnx` fulfils its contract.

    It also takes `target`, and returns `saliency` and, if the network has a convolution, `grad_cam`.
    """
    outputs = {**_scores(classes), "saliency": MAP}
    if any(node.name == "grad_cam" for node in session.get_outputs()):
        outputs["grad_cam"] = MAP
    _require(session, path, {**FACES, "target": ("int64", (None,))}, outputs)


def _scores(classes: int) -> Signatures:
    return {"logits": ("float32", (None, classes)), "probabilities": ("float32", (None, classes))}


def _require(session: Any, path: Path, inputs: Signatures, outputs: Signatures) -> None:
    for kind, expected, nodes in (
        ("input", inputs, session.get_inputs()),
        ("output", outputs, session.get_outputs()),
    ):
        found = {node.name: _signature(node) for node in nodes}
        if found != expected:
            raise ModelError(f"{path}: expected {kind} {_shown(expected)}, found {_shown(found)}")


def _signature(node: Any) -> tuple[str, tuple[int | None, ...]]:
    """Return the type and shape of an input or output."""
    types = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int64)": "int64"}
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return types.get(node.type, node.type), shape


def _shown(signatures: Signatures) -> str:
    """Format signatures like those of the contract: 'faces' uint8 (batch, 48, 48)."""
    return ", ".join(
        f"'{name}' {kind} ({', '.join('batch' if size is None else str(size) for size in shape)})"
        for name, (kind, shape) in signatures.items()
    )

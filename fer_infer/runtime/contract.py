"""Contract of exported graphs: one file, the input `faces`, and the outputs `logits` and `probabilities`."""

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


def require_contract(session: Any, classes: int, path: Path) -> None:
    """Raise ModelError unless the inputs and outputs of a session of the graph in `path` fulfil the contract."""
    faces: Signatures = {"faces": ("uint8", (None, IMAGE_SIZE, IMAGE_SIZE))}
    scores: Signatures = {"logits": ("float32", (None, classes)), "probabilities": ("float32", (None, classes))}
    for kind, expected, nodes in (
        ("input", faces, session.get_inputs()),
        ("output", scores, session.get_outputs()),
    ):
        found = {node.name: _signature(node) for node in nodes}
        if found != expected:
            raise ModelError(f"{path}: expected {kind} {_shown(expected)}, found {_shown(found)}")


def _signature(node: Any) -> tuple[str, tuple[int | None, ...]]:
    """Return the type and shape of an input or output."""
    types = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return types.get(node.type, node.type), shape


def _shown(signatures: Signatures) -> str:
    """Format signatures like those of the contract: `faces` uint8 (batch, 48, 48)."""
    return ", ".join(
        f"`{name}` {kind} ({', '.join('batch' if size is None else str(size) for size in shape)})"
        for name, (kind, shape) in signatures.items()
    )

"""The contract of exported graphs: one file, one input `faces`, two outputs `logits` and `probabilities`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fer_core import IMAGE_SIZE, ModelError
from fer_core.git_lfs import refuse_lfs_pointer

EXTERNAL_DATA: Final = b"\n\x08location"
"""The key that every tensor kept in another file has, as protobuf writes it (field 1, eight bytes)."""

Signatures = dict[str, tuple[str, tuple[int | None, ...]]]
"""By name, the type and shape of a graph's inputs or outputs; None stands for a free dimension."""


def read_graph(path: Path) -> bytes:
    """Return the content of an ONNX file, and refuse one whose tensors stand in other files."""
    refuse_lfs_pointer(path, ModelError)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    if EXTERNAL_DATA in content:
        raise ModelError(f"{path}: keeps tensors in other files; expected a model in one file")
    return content


def require_contract(session: Any, classes: int, path: Path) -> None:
    """Raise ModelError if the inputs or outputs of a session of the graph in `path` are not those of the contract."""
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
    """Return the type and shape of one input or output of a graph."""
    types = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return types.get(node.type, node.type), shape


def _shown(signatures: Signatures) -> str:
    """Write signatures as the contract does: `faces` uint8 (batch, 48, 48)."""
    return ", ".join(
        f"`{name}` {kind} ({', '.join('batch' if size is None else str(size) for size in shape)})"
        for name, (kind, shape) in signatures.items()
    )

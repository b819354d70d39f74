"""The exports folder: the files of a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

GRAPH_FILES: Final = {"fp32": "model.onnx", "int8": "model.int8.onnx", "fp16": "model.fp16.onnx"}
"""ONNX graph of each precision; the float32 graph is always present."""
MODEL_FILE: Final = GRAPH_FILES["fp32"]
SALIENCY_FILE: Final = "saliency.onnx"
"""Optional ONNX graph of the float32 model and its gradient at the pixels."""
CARD_FILE: Final = "card.json"
WEIGHTS_FILE: Final = "weights.safetensors"
PARITY_FILE: Final = "parity.json"
README_FILE: Final = "README.md"

INT8_WEIGHTS: Final = "weights of 7 bits"
"""Text in the `selection` of an int8 graph's card.

On processors without VNNI, 8-bit weights can overflow, and predictions would differ.
"""


@dataclass(frozen=True)
class ExportsFolder:
    """A folder with one exported model.

    Parameters
    ----------
    path : Path
        The folder.

    Examples
    --------
    >>> folder = ExportsFolder(Path("exports/compact"))
    >>> folder.graph("int8").as_posix()
    'exports/compact/model.int8.onnx'
    """

    path: Path

    @property
    def card(self) -> Path:
        """Path of the model card."""
        return self.path / CARD_FILE

    @property
    def saliency(self) -> Path:
        """Path of the graph with the gradient at the pixels."""
        return self.path / SALIENCY_FILE

    @property
    def weights(self) -> Path:
        """Path of the PyTorch weights."""
        return self.path / WEIGHTS_FILE

    @property
    def parity(self) -> Path:
        """Path of the record that compares the graphs with the PyTorch original."""
        return self.path / PARITY_FILE

    @property
    def readme(self) -> Path:
        """Path of the README."""
        return self.path / README_FILE

    def graph(self, precision: str = "fp32") -> Path:
        """Return the path of the ONNX graph of a precision."""
        return self.path / GRAPH_FILES[precision]

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions whose graphs exist."""
        return tuple(precision for precision in GRAPH_FILES if self.graph(precision).is_file())

    def exists(self) -> bool:
        """Return whether the folder contains a float32 graph."""
        return self.graph().is_file()

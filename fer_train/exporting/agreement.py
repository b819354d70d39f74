"""Graphs of lower precision: how they are told from the float32 one, measured beside it, and made half as wide."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import Faces, ModelCard
from fer_train.runs.provenance import accuracy_record


@dataclass(frozen=True)
class Agreement:
    """A graph of lower precision beside the float32 graph, on the same faces.

    Attributes
    ----------
    source, split, n : str, str, int
        The faces; the split is empty where they are not all of one.
    provider : str
        On which the graph of lower precision ran.
    accuracy, fp32_accuracy : float or None
        Of the two graphs; None where the faces have no labels.
    equal_predictions : float
        Share of faces with the same most probable class.
    max_absolute_difference : float
        Of a logit.
    """

    source: str
    split: str
    n: int
    provider: str
    accuracy: float | None
    fp32_accuracy: float | None
    equal_predictions: float
    max_absolute_difference: float

    @classmethod
    def of(
        cls, faces: Faces, provider: str, logits: NDArray[np.float32], fp32_logits: NDArray[np.float32]
    ) -> Agreement:
        """Compare the logits, float32 (N, classes), of N faces, one at least."""
        found, expected = logits.argmax(axis=1), fp32_logits.argmax(axis=1)
        splits = [] if faces.splits is None else np.unique(faces.splits).tolist()
        return cls(
            source=Path(faces.source).name,
            split=splits[0] if len(splits) == 1 else "",
            n=len(faces),
            provider=provider,
            accuracy=None if faces.labels is None else float(np.mean(found == faces.labels)),
            fp32_accuracy=None if faces.labels is None else float(np.mean(expected == faces.labels)),
            equal_predictions=float(np.mean(found == expected)),
            max_absolute_difference=float(np.abs(logits - fp32_logits).max()),
        )

    def scores(self) -> dict[str, Any]:
        """Return the `scores` of a model card: those of one labelled split, or none."""
        if self.accuracy is None or not self.split:
            return {}
        return {
            self.split: {
                **accuracy_record(self.accuracy, self.n),
                "fp32_accuracy": self.fp32_accuracy,
                "equal_predictions": self.equal_predictions,
                "max_absolute_difference": self.max_absolute_difference,
            }
        }

    def to_text(self) -> str:
        """Return the comparison in a line."""
        text = f"{self.equal_predictions:.2%} of {self.n:,} predictions as in float32"
        text += f", max |d logit| {self.max_absolute_difference:.2g}"
        if self.accuracy is not None:
            text += f"; accuracy {self.accuracy:.2%}, float32 {self.fp32_accuracy:.2%}"
        return text


def stamp(graph: Path, card: ModelCard) -> None:
    """Make `card` all that the metadata of a graph holds, and check the graph with the ONNX checker."""
    import onnx

    model = onnx.load(graph)
    del model.metadata_props[:]  # what the tools that wrote it left there
    onnx.helper.set_model_props(model, card.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    graph.write_bytes(model.SerializeToString())


class _ToHalf(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.half()


def halve(model: nn.Module) -> nn.Module:
    """Return a copy of a network in float16 for GPUs, with the standardization of the pixels still in float32.

    Micikevicius et al. 2018 ("Mixed precision training") show that inference needs no more.
    """
    half = copy.deepcopy(model).half()
    for name, module in model.named_modules():  # those of an ensemble's members are deeper down
        if name.rpartition(".")[2] == "standardize":
            half.set_submodule(name, nn.Sequential(copy.deepcopy(module), _ToHalf()))
    return half

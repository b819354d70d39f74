"""The float16 graph for GPUs."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import Faces, ModelCard, ModelError
from fer_infer.runtime.session import available_devices
from fer_infer.scorer import Scorer
from fer_train.exporting.comparison import PrecisionComparison
from fer_train.exporting.graph import stamp, write_graph

HALF_ATOL: Final = 0.05
"""Largest difference of a logit between float16, which has a significand of 11 bits, and float32."""


class _ToHalf(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.half()


def halve(model: nn.Module) -> nn.Module:
    """Return a copy of a network in float16, with the standardization of the pixels in float32.

    Micikevicius et al. 2018 ("Mixed precision training") show that inference needs no more.
    """
    half = copy.deepcopy(model).half()
    for name, module in model.named_modules():  # an ensemble has one per member
        if name.rpartition(".")[2] == "standardize":
            half.set_submodule(name, nn.Sequential(copy.deepcopy(module), _ToHalf()))
    return half


def write_half(
    model: nn.Module, card: ModelCard, path: Path, faces: Faces, logits: NDArray[np.float32]
) -> PrecisionComparison:
    """Write the float16 graph and compare it with the network, on CUDA if available.

    Parameters
    ----------
    model : torch.nn.Module
        Network in evaluation mode.
    card : ModelCard
        Card of the float32 graph.
    path : Path
        ONNX file to write.
    faces : Faces
        Faces to compare on.
    logits : ndarray of float32, shape (N, classes)
        Logits of the network for these faces.

    Raises
    ------
    ModelError
        If a logit differs by more than `HALF_ATOL`.
    """
    card = replace(card, precision="fp16", scores={})
    write_graph(halve(model), card, path)
    scorer = Scorer(path, available_devices()[-1])
    comparison = PrecisionComparison.of(faces, scorer.provider, scorer.run(faces.images)[0], logits)
    if not comparison.agreement.max_absolute_difference <= HALF_ATOL:
        raise ModelError(f"{path.name}: {comparison.to_text()}; expected at most {HALF_ATOL:g}")
    stamp(path, replace(card, scores=comparison.scores()))
    return comparison

"""Faces that are explained together, and what a method returns for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import ModelError
from fer_explain.config import AttributionConfig
from fer_train.models.layers import Standardize

MethodOutput = dict[str, Tensor]
"""Output of a method: `attributions` (B, 1, 48, 48) and further tensors, e.g. `deltas`, with first axis B."""

DELTAS: Final = "deltas"
"""Name of the convergence deltas (B,): the sum of the attributions minus the difference of outputs it approximates."""


@dataclass(frozen=True)
class Batch:
    """B faces that are explained together.

    Attributes
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to the output that is explained, (batch, classes); in evaluation mode.
    images : Tensor
        float32 (B, 1, 48, 48) in 0..255, which requires a gradient.
    targets : Tensor
        int64 (B,).
    rows : ndarray of int64, shape (B,)
        Row numbers, which seed the random numbers of each face.
    config : AttributionConfig
        Settings of the method.
    batch_size : int
        Number of images that may pass through the network together.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    rows: NDArray[np.int64]
    config: AttributionConfig
    batch_size: int

    @property
    def baseline(self) -> float:
        """Gray level of the baseline image."""
        return baseline_of(self.model, self.config)

    def generators(self) -> list[np.random.Generator]:
        """Return one random generator per face; it does not depend on the other faces of the batch."""
        return [np.random.default_rng((self.config.seed, row)) for row in self.rows.tolist()]


def baseline_of(model: nn.Module, config: AttributionConfig) -> float:
    """Return the gray level, 0..255, of the baseline image."""
    return standardization_of(model)[0] if config.baseline is None else config.baseline


def standardization_of(model: nn.Module) -> tuple[float, float]:
    """Return mean and standard deviation, in gray levels, of the network's Training split."""
    for module in model.modules():
        if isinstance(module, Standardize):
            return float(module.mean), float(module.std)
    raise ModelError("expected a network with a Standardize layer, which states the mean gray level; found none")

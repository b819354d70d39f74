"""Faces that are explained together, and what a method returns for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import ModelError
from fer_core.terminal.progress import Advance
from fer_explain.config import AttributionConfig
from fer_infer.attribution.sampling import generators_for
from fer_train.models.layers import Standardize

MethodOutput = dict[str, Tensor]
"""Output of a method: `attributions` (B, 1, 48, 48) and further tensors, e.g. `deltas`, with first axis B."""


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
        int64 (B,), or (B, K) for a method that needs no gradient.
    rows : ndarray of int64, shape (B,)
        Row numbers, which seed the random numbers of each face.
    config : AttributionConfig
        Settings of the method.
    batch_size : int
        Number of images that may pass through the network together.
    known_outputs : Tensor, optional
        Explained outputs of the faces, float32, of the shape of `targets`, if they were computed before.
    advance : callable, optional
        Called with the number of faces whose maps are complete.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    rows: NDArray[np.int64]
    config: AttributionConfig
    batch_size: int
    known_outputs: Tensor | None = None
    advance: Advance | None = None

    @property
    def baseline(self) -> float:
        """Gray level of the baseline image."""
        return baseline_of(self.model, self.config)

    @cached_property
    def face_outputs(self) -> Tensor:
        """Explained outputs of the faces, float32, of the shape of `targets`."""
        if self.known_outputs is not None:
            return self.known_outputs
        with torch.no_grad():
            faces = torch.arange(len(self.images), device=self.images.device)
            parts = [self.outputs(self.images[chunk], chunk) for chunk in torch.split(faces, self.batch_size)]
        return torch.cat(parts)

    def outputs(self, points: Tensor, faces: Tensor) -> Tensor:
        """Return the explained outputs, (n,) or (n, K), at points (n, 1, 48, 48) of `faces`, int64 (n,)."""
        targets, outputs = self.targets[faces], self.model(points)
        found: Tensor = outputs.gather(1, targets.view(len(faces), -1)).view(targets.shape)
        return found

    def gradients(self, points: Tensor, faces: Tensor) -> Tensor:
        """Return the gradients (n, 1, 48, 48) of the explained outputs at points that belong to `faces`."""
        points = points.requires_grad_()
        return torch.autograd.grad(self.outputs(points, faces).sum(), points)[0]

    def generators(self) -> list[np.random.Generator]:
        """Return one random generator per face; it does not depend on the other faces of the batch."""
        return generators_for(self.rows, self.config.seed)

    def finish(self, faces: int) -> None:
        """Report that the maps of further faces are complete."""
        if self.advance is not None and faces:
            self.advance(faces)


def baseline_of(model: nn.Module, config: AttributionConfig) -> float:
    """Return the gray level, 0..255, of the baseline image."""
    return standardization_of(model)[0] if config.baseline is None else config.baseline


def standardization_of(model: nn.Module) -> tuple[float, float]:
    """Return mean and standard deviation, in gray levels, of the network's Training split."""
    for module in model.modules():
        if isinstance(module, Standardize):
            return float(module.mean), float(module.std)
    raise ModelError("expected a network with a Standardize layer, which states the mean gray level; found none")

"""Layers that every architecture here shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """First layer of every network: (pixel - mean) / std, so that its input stays in pixel units.

    Parameters
    ----------
    mean, std : float
        Of the Training split, in pixel units 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to the same shape with mean 0 and deviation 1."""
        return (images - self.mean) / self.std

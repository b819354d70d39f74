"""Several networks as one, which is trained, exported, scored and explained like any other."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of the probabilities of several networks.

    Its logits are the logarithms of these means, so that their softmax is the mean itself (a linear opinion pool:
    Genest and Zidek 1986, eq. 1.1, with equal weights).

    Parameters
    ----------
    members : iterable of nn.Module
        Each maps images to logits of the same classes.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.log_softmax = nn.LogSoftmax(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to logits, float32 (batch, classes)."""
        opinions = torch.stack([self.log_softmax(member(images).float()) for member in self.members])
        return torch.logsumexp(opinions, dim=0) - math.log(len(self.members))

"""An ensemble: one network that averages the probabilities of several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Mean of the probabilities of several networks, each at the temperature of its model card.

    Its logits are the logarithms of these means, so that their softmax is the mean (a linear opinion pool:
    Genest and Zidek 1986, eq. 1.1, with equal weights).

    Parameters
    ----------
    members : iterable of nn.Module
        Each maps images to logits of the same classes.
    temperatures : sequence of float, optional
        Divisors of the members' logits before the softmax; 1 by default.

    Raises
    ------
    ValueError
        If the numbers of temperatures and members differ.
    """

    def __init__(self, members: Iterable[nn.Module], temperatures: Sequence[float] | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(temperatures or [1.0] * len(self.members))
        if len(self.temperatures) != len(self.members):
            raise ValueError(f"expected {len(self.members)} temperatures, found {len(self.temperatures)}")
        self.log_softmax = nn.LogSoftmax(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to logits, float32 (batch, classes)."""
        pairs = zip(self.members, self.temperatures, strict=True)
        log_probabilities = torch.stack(
            [self.log_softmax(member(images).float() / temperature) for member, temperature in pairs]
        )
        return torch.logsumexp(log_probabilities, dim=0) - math.log(len(self.members))

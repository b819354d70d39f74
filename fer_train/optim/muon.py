"""Muon: orthogonal updates for the weights of hidden layers, AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic polynomial; it is steep at 0, so that five steps bring every singular value near 1."""
ITERATIONS: Final = 5
MOMENTUM: Final = 0.95
BETAS: Final = (0.9, 0.99)
"""Decays of the two averages of AdamW."""
EPSILON: Final = 1e-8


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum (Jordan et al. 2024) for the weights of hidden layers, AdamW for other parameters.

    `torch.optim.Muon` accepts only matrices. Here the weights of a convolution are the matrix of its filters, outputs
    by inputs * height * width. A step is an orthogonal matrix times 0.2 * sqrt(larger side), so that its entries are as
    large as those of an AdamW step, and both can share learning rate and weight decay (Liu et al. 2025, "Muon is
    scalable for LLM training", eq. 4).

    Parameters
    ----------
    hidden : sequence of Tensor
        Weights of two or more dimensions, updated by orthogonal matrices.
    others : sequence of dict
        Parameter groups of all other parameters.
    lr : float
        Learning rate of both.
    weight_decay : float
        Weight decay of `hidden`, decoupled as in AdamW; the groups state that of the others.
    dtype : torch.dtype
        Precision of the iteration: bfloat16 suffices, and is faster with hardware support.
    """

    def __init__(
        self,
        hidden: Sequence[Tensor],
        others: Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        first = {"params": hidden, "weight_decay": weight_decay, "hidden": True}
        super().__init__([first, *others], {"lr": lr, "weight_decay": 0.0, "hidden": False})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            lr = group["lr"]
            update = self._update_hidden if group["hidden"] else self._update_other
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - lr * group["weight_decay"])
                    update(parameter, parameter.grad, lr)

    def _update_hidden(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov momentum
        direction = orthogonalized(matrix, self.dtype).view(parameter.shape)
        parameter.add_(direction, alpha=-lr * 0.2 * max(matrix.shape) ** 0.5)

    def _update_other(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        mean = state["mean"].lerp_(gradient, 1 - BETAS[0]) / (1 - BETAS[0] ** state["step"])
        square = state["square"].lerp_(gradient.square(), 1 - BETAS[1]) / (1 - BETAS[1] ** state["step"])
        parameter.addcdiv_(mean, square.sqrt_().add_(EPSILON), value=-lr)


def orthogonalized(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximate the closest matrix with orthonormal rows or columns, U V^T of the singular value decomposition.

    A Newton-Schulz iteration needs only matrix products. The singular values become about 0.7 to 1.2, which works as
    well as 1 (Jordan et al. 2024).

    Parameters
    ----------
    matrix : Tensor
        (rows, columns), floating point; zeros stay zeros.
    dtype : torch.dtype
        Precision of the iteration.

    Returns
    -------
    Tensor
        Matrix of the shape and type of `matrix`.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=1e-7)  # Frobenius: no singular value is above 1
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)

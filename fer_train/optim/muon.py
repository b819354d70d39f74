"""Muon: the weights of hidden layers move by orthogonal matrices, all else as AdamW moves it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial that is iterated: steep at 0, so that five steps bring every singular value near 1."""
ITERATIONS: Final = 5
MOMENTUM: Final = 0.95
BETAS: Final = (0.9, 0.99)
"""Of AdamW's two averages."""
EPSILON: Final = 1e-8


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal (Jordan et al. 2024), and AdamW for what is no hidden layer's weight.

    `torch.optim.Muon` takes matrices alone. Here a convolution's weights are the matrix of its filters, outputs by
    inputs * height * width. A step is 0.2 * sqrt(larger side) of an orthogonal matrix, whose entries then are as large
    as those of AdamW's, so that one rate and one decay serve both (Liu et al. 2025, Muon is scalable for LLM training,
    eq. 4).

    Parameters
    ----------
    hidden : sequence of Tensor
        Weights of two or more dimensions, to be made orthogonal.
    others : sequence of dict
        Groups of all other parameters, as optimizers of PyTorch take them.
    lr : float
        Of both.
    weight_decay : float
        Of `hidden`, decoupled as AdamW's; that of the others stands in their groups.
    dtype : torch.dtype
        In which the iteration computes: bfloat16 is enough, and faster where there is hardware for it.
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
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            lr = group["lr"]
            move = self._move_hidden if group["hidden"] else self._move_other
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - lr * group["weight_decay"])
                    move(parameter, parameter.grad, lr)

    def _move_hidden(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's look ahead
        direction = orthogonalized(matrix, self.dtype).view(parameter.shape)
        parameter.add_(direction, alpha=-lr * 0.2 * max(matrix.shape) ** 0.5)

    def _move_other(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        mean = state["mean"].lerp_(gradient, 1 - BETAS[0]) / (1 - BETAS[0] ** state["step"])
        square = state["square"].lerp_(gradient.square(), 1 - BETAS[1]) / (1 - BETAS[1] ** state["step"])
        parameter.addcdiv_(mean, square.sqrt_().add_(EPSILON), value=-lr)


def orthogonalized(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return nearly the closest matrix of orthonormal rows or columns: U V^T of the singular value decomposition.

    By a Newton-Schulz iteration, which needs products of matrices alone. Singular values come out between about 0.7 and
    1.2, which serves as well as 1 (Jordan et al. 2024).

    Parameters
    ----------
    matrix : Tensor
        (rows, columns), floating point; zeros stay zeros.
    dtype : torch.dtype
        In which to compute.

    Returns
    -------
    Tensor
        The shape and type of `matrix`.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=1e-7)  # Frobenius: no singular value is above 1
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)

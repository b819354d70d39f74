"""Diagnose a network that does not learn: dead layers, vanishing gradients, NaN and infinity, by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_core.errors import listed
from fer_train.models.layers import SqueezeExcitation

FACES: Final = 256
"""Number of Training faces used."""
VANISHED: Final = 1e-8
"""Root mean square of a layer's gradient below which its weights no longer move: Adam's epsilon."""


def diagnose(model: nn.Module, images: Tensor, labels: Tensor) -> list[str]:
    """Pass faces forward and backward once, and return the layers that cannot learn.

    Weights, gradients, running statistics and random state stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
        Network from float32 (N, 1, 48, 48) in 0..255 to logits.
    images : Tensor
        uint8 (N, 1, 48, 48); the first `FACES` are used.
    labels : Tensor
        int64 (N,).

    Returns
    -------
    list of str
        One text per kind of problem, with its first layer and the number of others; empty without problems.
    """
    batch = images[:FACES].float().contiguous(memory_format=torch.channels_last)
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim >= 2}
    with _evaluating(model), _activations_watched(model) as dead, torch.enable_grad():
        loss = functional.cross_entropy(model(batch), labels[:FACES])
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    size = {
        name.removesuffix(".weight"): float(gradient.square().mean().sqrt())
        for name, gradient in zip(parameters, gradients, strict=True)
        if gradient is not None
    }
    infinite = [name.removesuffix(".weight") for name, weight in parameters.items() if not weight.isfinite().all()]
    infinite = infinite or [name for name, value in size.items() if not value < float("inf")]
    vanished = [name for name, value in size.items() if value < VANISHED]
    kinds = (
        ("weights or gradients that are not finite", infinite),
        ("layers with no active unit", dead),
        ("vanishing gradients", vanished),
    )
    return [f"{what} ({listed(names, 1)})" for what, names in kinds if names]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _activations_watched(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list to which a forward pass appends the ReLU layers whose outputs are all zero."""
    dead: list[str] = []

    def check(name: str, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        if not (output > 0).any():
            dead.append(name)

    # A squeeze-and-excitation gate without active units is constant, and the features still pass.
    gates = {id(part) for gate in model.modules() if isinstance(gate, SqueezeExcitation) for part in gate.modules()}
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ReLU) and id(module) not in gates
    ]
    hooks = [module.register_forward_hook(partial(check, name)) for name, module in layers]
    try:
        yield dead
    finally:
        for hook in hooks:
            hook.remove()

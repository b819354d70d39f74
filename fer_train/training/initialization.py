"""What convolutions may begin with instead of noise: with passing features on, and with decorrelating pixels."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_core import ConfigError
from fer_train.config import FitConfig

PATCH_FACES: Final = 5000
"""Most Training faces whose patches tell how pixels vary together; evenly spaced, so that no randomness enters."""
SMALLEST_VARIANCE: Final = 5e-4
"""Added to the variance of each direction of patches, so that what hardly varies is not blown up to noise."""


def initialize(model: nn.Module, config: FitConfig, images: NDArray[np.uint8]) -> None:
    """Let a fresh network begin as its recipe says.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    config : FitConfig
        The recipe: `dirac` and `whitening`.
    images : ndarray
        uint8 (N, 48, 48), of Training.

    Raises
    ------
    ConfigError
        As from `pass_features_on` and `whiten_patches`.
    """
    if config.dirac:
        pass_features_on(model)
    if config.whitening:
        whiten_patches(model, images)


@torch.no_grad()
def pass_features_on(model: nn.Module) -> None:
    """Let each convolution but the first begin by copying its inputs (Jordan 2024, 94 % on CIFAR-10, section 3.3).

    Of its filters, as many as there are inputs begin as the identity, the others as they were.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Raises
    ------
    ConfigError
        If it has no convolution of more than 1x1 behind the first.
    """
    later = [conv for conv in _convolutions(model)[1:] if max(conv.kernel_size) > 1]
    if not later:
        raise ConfigError("dirac: expected a convolution of more than 1x1 pixels behind the first, found none")
    for convolution in later:
        nn.init.dirac_(convolution.weight[: convolution.in_channels])


@torch.no_grad()
def whiten_patches(model: nn.Module, images: NDArray[np.uint8]) -> None:
    """Let the first convolution begin with the directions in which patches of faces vary most, scaled to variance 1.

    Each eigenvector of the patches' second moments, divided by the root of its eigenvalue, is one filter and its
    negative another (Jordan 2024, 94 % on CIFAR-10, section 3.2; frozen there, trained here). Filters beyond those stay
    as they were.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    images : ndarray
        uint8 (N, 48, 48), of Training.

    Raises
    ------
    ConfigError
        If its first convolution has no place for a filter and its negative, is larger than what it sees, or is absent.
    """
    convolutions = _convolutions(model)
    if not convolutions:
        raise ConfigError("whitening: expected a network with a convolution, found none")
    first = convolutions[0]
    n = min(len(first.weight) // 2, first.weight[0].numel())
    if n == 0:
        raise ConfigError("whitening: expected a first convolution of two filters at least, found one")
    faces = torch.from_numpy(images[:: -(-len(images) // PATCH_FACES)]).to(first.weight).unsqueeze(1)
    seen, side = _input_of(first, model, faces), first.kernel_size
    if side[0] > seen.shape[2] or side[1] > seen.shape[3]:
        raise ConfigError(
            f"whitening: expected a first convolution within {seen.shape[2]}x{seen.shape[3]} pixels, "
            f"found {side[0]}x{side[1]}"
        )
    patches = functional.unfold(seen, side, stride=side).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending
    filters = (directions / (variances.clamp(min=0) + SMALLEST_VARIANCE).sqrt()).T.flip(0)[:n]
    first.weight[:n] = filters.view_as(first.weight[:n])
    first.weight[n : 2 * n] = -first.weight[:n]


class _Reached(Exception):  # noqa: N818 - no error
    """Ends a forward pass at the layer whose input was asked for."""


def _input_of(layer: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """Return what a layer is given for images, without running what follows it."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])
        raise _Reached

    hook = layer.register_forward_pre_hook(keep)
    try:
        with suppress(_Reached):
            model(images)
    finally:
        hook.remove()
    return found[0]


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]

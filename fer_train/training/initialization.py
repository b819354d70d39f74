"""Initialization of convolutions: identities (Dirac), and whitening filters."""

from __future__ import annotations

import math
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
"""Largest number of Training faces whose patches give the covariance; evenly spaced, so without randomness."""
SMALLEST_VARIANCE: Final = 5e-4
"""Added to the variance of each direction of patches, so that small variances do not amplify noise."""


def initialize(model: nn.Module, config: FitConfig, images: NDArray[np.uint8]) -> None:
    """Apply the initializations of a config to a new network.

    Parameters
    ----------
    model : torch.nn.Module
        Network to change in place.
    config : FitConfig
        Config with `dirac` and `whitening`.
    images : ndarray
        Training images, uint8 (N, 48, 48).

    Raises
    ------
    ConfigError
        If the network does not allow it; see `initialize_dirac` and `initialize_whitening`.
    """
    if config.dirac:
        initialize_dirac(model)
    if config.whitening:
        initialize_whitening(model, images)


@torch.no_grad()
def initialize_dirac(model: nn.Module) -> None:
    """Initialize each convolution after the first as an identity (Jordan 2024, "94% on CIFAR-10", section 3.3).

    As many filters as there are input channels become identities; the others stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
        Network to change in place.

    Raises
    ------
    ConfigError
        If no convolution after the first is larger than 1x1.
    """
    later = [conv for conv in _convolutions(model)[1:] if max(conv.kernel_size) > 1]
    if not later:
        raise ConfigError("expected a convolution larger than 1x1 after the first, found none", parameter="dirac")
    for convolution in later:
        nn.init.dirac_(convolution.weight[: convolution.in_channels])


@torch.no_grad()
def initialize_whitening(model: nn.Module, images: NDArray[np.uint8]) -> None:
    """Initialize the first convolution with filters that whiten patches of faces.

    Each eigenvector of the patches' second moments, divided by the root of its eigenvalue, gives one filter, and its
    negative another (Jordan 2024, "94% on CIFAR-10", section 3.2; frozen there, trained here). Further filters stay as
    they are.

    Parameters
    ----------
    model : torch.nn.Module
        Network to change in place.
    images : ndarray
        Training images, uint8 (N, 48, 48).

    Raises
    ------
    ConfigError
        If there is no convolution, the first has fewer than two filters, or it is larger than its input.
    """
    convolutions = _convolutions(model)
    if not convolutions:
        raise ConfigError("expected a network with a convolution, found none", parameter="whitening")
    first = convolutions[0]
    n = min(len(first.weight) // 2, first.weight[0].numel())
    if n == 0:
        raise ConfigError("expected at least two filters in the first convolution, found one", parameter="whitening")
    faces = torch.from_numpy(images[:: math.ceil(len(images) / PATCH_FACES)]).to(first.weight).unsqueeze(1)
    seen, side = _input_of(first, model, faces), first.kernel_size
    if side[0] > seen.shape[2] or side[1] > seen.shape[3]:
        raise ConfigError(
            f"expected a first convolution of at most {seen.shape[2]}x{seen.shape[3]} pixels, "
            f"found {side[0]}x{side[1]}",
            parameter="whitening",
        )
    patches = functional.unfold(seen, side, stride=side).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending
    filters = (directions / (variances.clamp(min=0) + SMALLEST_VARIANCE).sqrt()).T.flip(0)[:n]
    first.weight[:n] = filters.view_as(first.weight[:n])
    first.weight[n : 2 * n] = -first.weight[:n]


class _Reached(Exception):  # noqa: N818 - not an error
    """Ends a forward pass at a layer."""


def _input_of(layer: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """Return the input of a layer, without running the layers after it."""
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

"""What convolutions may begin with instead of noise: with passing features on, and with decorrelating pixels."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_core import ConfigError

PATCH_FACES: Final = 5000
"""Training faces whose patches tell how pixels vary together: the first ones, so that no randomness enters."""
SMALLEST_VARIANCE: Final = 5e-4
"""Added to the variance of each direction of patches, so that what hardly varies is not blown up to noise."""


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
        raise ConfigError("dirac: expected a network with two convolutions at least, found less")
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
        If it has no convolution.
    """
    convolutions = _convolutions(model)
    if not convolutions:
        raise ConfigError("whitening: expected a network with a convolution, found none")
    weight = convolutions[0].weight
    side = weight.shape[-1]
    standardize = model.get_submodule("standardize")
    faces: Tensor = standardize(torch.from_numpy(images[:PATCH_FACES]).to(weight).unsqueeze(1))
    patches = functional.unfold(faces, side, stride=side).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending
    filters = (directions / (variances.clamp(min=0) + SMALLEST_VARIANCE).sqrt()).T.flip(0)[: len(weight) // 2]
    n = len(filters)
    weight[:n] = filters.view(n, 1, side, side)
    weight[n : 2 * n] = -weight[:n]


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]

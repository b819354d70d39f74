"""Layers that every architecture here shares."""

from __future__ import annotations

from typing import Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_core import EXPRESSIONS, ConfigError

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


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


class StandardizeFace(Standardize):
    """First layer that takes each face minus its own mean, divided by its own deviation.

    So light and contrast of a picture, and with them those of its background, tell nothing any more: instance
    normalization (Ulyanov et al. 2016, eq. 3) of the pixels. One gray level squared is added to the variance, so that a
    blank face becomes zero.

    Parameters
    ----------
    mean, std : float
        Of the Training split, in pixel units: they compute nothing, but explanations ask for the mean gray level.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__(mean, std)
        for name, value in list(self.named_buffers()):
            self.register_buffer(name, value, persistent=False)  # no weight, for the exported graph has none of it

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to the same shape, each with mean 0 and deviation 1."""
        return functional.instance_norm(images, eps=1.0)


STANDARDIZE: Final = ("training", "face")
"""Whose mean and deviation the first layer takes: those of all Training pixels, or each face's own."""


def standardization(kind: str, mean: float, std: float) -> nn.Module:
    """Return the first layer of a network; raise ConfigError where `kind` is not in `STANDARDIZE`."""
    if kind not in STANDARDIZE:
        raise ConfigError(f"standardize: expected one of {', '.join(STANDARDIZE)}, found {kind!r}")
    return (Standardize if kind == "training" else StandardizeFace)(mean, std)


def require_sizes(**sizes: int) -> None:
    """Raise ConfigError unless each argument of a network is 1 or more."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"{name}: expected an integer of at least 1, found {size!r}")


def require_flags(**flags: bool) -> None:
    """Raise ConfigError unless each argument of a network is true or false, which a text never is."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ConfigError(f"{name}: expected true or false, found {flag!r}")


def he_normal(layer: Layer) -> Layer:
    """Draw the weights of a layer that a ReLU follows so that the variance of its inputs passes on; biases are zero.

    Weights are normal with variance 2 / fan-in (He et al. 2015, "Delving deep into rectifiers", eq. 10). PyTorch's
    own, uniform with variance 1 / (3 fan-in), lose a factor of 6 of the variance per layer: over ten layers without
    normalization the signal vanishes, and the network can stay at chance.
    """
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def output_layer(inputs: int) -> nn.Linear:
    """Return the layer that computes logits; it starts near zero, so that all classes start equally probable."""
    layer = nn.Linear(inputs, len(EXPRESSIONS))
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the size, or divides it by the stride, and the BatchNorm that folds into it."""
    # PyTorch's small initial weights are kept: under BatchNorm a weight's scale divides its learning rate twice over
    # (van Laarhoven 2017, eq. 9), and a run of some thousand steps is too short for weight decay to shrink larger ones.
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class SqueezeExcitation(nn.Module):
    """Weigh channels by what is seen over the whole image (Hu et al. 2018, section 3).

    Parameters
    ----------
    channels : int
        Of the features.
    squeeze : int
        Channels per unit of the bottleneck.
    """

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        units = max(channels // squeeze, 4)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, units, 1),
            nn.ReLU(inplace=False),
            nn.Conv2d(units, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (batch, channels, height, width) to the same shape."""
        weighed: Tensor = features * self.weigh(features)
        return weighed


class StochasticDepth(nn.Module):
    """Drop a whole residual branch for some of the faces while training (Huang et al. 2016, section 3).

    What is kept is divided by the share kept, so that evaluation needs no correction.

    Parameters
    ----------
    drop : float
        Share of faces whose branch is dropped, 0 to below 1.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        if not 0 <= drop < 1:
            raise ConfigError(f"stochastic_depth: expected 0 to below 1, found {drop}")
        self.drop = drop

    def forward(self, features: Tensor) -> Tensor:
        """Map features (batch, channels, height, width) to the same shape."""
        if not self.training or self.drop == 0:
            return features
        kept = torch.rand(len(features), 1, 1, 1, device=features.device) >= self.drop
        return features * (kept / (1 - self.drop)).to(features.dtype)

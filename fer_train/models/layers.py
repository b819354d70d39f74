"""Layers that the architectures share."""

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
        Mean and standard deviation of the Training split, in pixel units 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to the same shape with mean 0 and standard deviation 1."""
        return (images - self.mean) / self.std


class StandardizeFace(Standardize):
    """First layer that standardizes each face by its own mean and standard deviation.

    This is instance normalization of the pixels (Ulyanov et al. 2016, eq. 3): the brightness and contrast of a picture
    cannot influence the prediction. One gray level squared is added to the variance, so that a blank face becomes zero.

    Parameters
    ----------
    mean, std : float
        Mean and standard deviation of the Training split, in pixel units. They do not enter the computation;
        attribution methods use the mean gray level.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__(mean, std)
        for name, value in list(self.named_buffers()):
            self.register_buffer(name, value, persistent=False)  # the exported graph has no such weight

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to the same shape, each face with mean 0, deviation 1."""
        return functional.instance_norm(images, eps=1.0)


STANDARDIZE: Final = ("training", "face")
"""Kinds of standardization: by the statistics of all Training pixels, or of each face."""


def standardization(kind: str, mean: float, std: float) -> nn.Module:
    """Return the first layer of a network; raise ConfigError if `kind` is not in `STANDARDIZE`."""
    if kind not in STANDARDIZE:
        raise ConfigError(f"expected one of {', '.join(STANDARDIZE)}, found {kind!r}", parameter="standardize")
    return (Standardize if kind == "training" else StandardizeFace)(mean, std)


def require_sizes(**sizes: int) -> None:
    """Raise ConfigError unless each argument of a network is 1 or more."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"expected an integer of at least 1, found {size!r}", parameter=name)


def require_flags(**flags: bool) -> None:
    """Raise ConfigError unless each argument of a network is a bool."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ConfigError(f"expected true or false, found {flag!r}", parameter=name)


def he_normal(layer: Layer) -> Layer:
    """Initialize a layer that a ReLU follows, so that it preserves the variance of its inputs; biases become zero.

    Weights are normal with variance 2 / fan-in (He et al. 2015, "Delving deep into rectifiers", eq. 10). PyTorch's
    defaults, uniform with variance 1 / (3 fan-in), lose a factor of 6 of the variance per layer: over ten layers
    without normalization the signal vanishes, and the network can stay at chance.
    """
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def output_layer(inputs: int) -> nn.Linear:
    """Return the layer that computes logits, initialized near zero so that all classes start equally probable."""
    layer = nn.Linear(inputs, len(EXPRESSIONS))
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def pooled_classifier(channels: int, dropout: float) -> nn.Sequential:
    """Return the layers from feature maps to logits: average over the image, dropout, output layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), output_layer(channels))


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution with padding and the BatchNorm that folds into it."""
    # PyTorch's small initial weights are kept: under BatchNorm a weight's scale divides its learning rate twice over
    # (van Laarhoven 2017, eq. 9), and a run of some thousand steps is too short for weight decay to shrink larger ones.
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class SqueezeExcitation(nn.Module):
    """Weigh channels by their means over the image, squeeze-and-excitation (Hu et al. 2018, section 3).

    Parameters
    ----------
    channels : int
        Number of input channels.
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
    """Drop a residual branch for a random fraction of the faces during training (Huang et al. 2016, section 3).

    Branches that are kept are divided by the probability of keeping them, so that evaluation needs no correction.

    Parameters
    ----------
    drop : float
        Fraction of faces whose branch is dropped, 0 to below 1.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        if not 0 <= drop < 1:
            raise ConfigError(f"expected 0 to below 1, found {drop}", parameter="stochastic_depth")
        self.drop = drop

    def forward(self, features: Tensor) -> Tensor:
        """Map features (batch, channels, height, width) to the same shape."""
        if not self.training or self.drop == 0:
            return features
        kept = torch.rand(len(features), 1, 1, 1, device=features.device) >= self.drop
        return features * (kept / (1 - self.drop)).to(features.dtype)

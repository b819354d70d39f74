"""The two networks of the course report: a CNN and a DNN with about as many parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_core import IMAGE_SIZE, PIXELS, ConfigError
from fer_train.models.layers import (
    convolution,
    he_normal,
    output_layer,
    require_flags,
    require_sizes,
    standardization,
)


def _dense(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [he_normal(nn.Linear(inputs, outputs)), nn.ReLU(inplace=False), nn.Dropout(dropout)]


class CourseCNN(nn.Module):
    """Convolutions in groups of 2, 2 and 3, each group max-pooled, then dense 256, 256, 7.

    Parameters
    ----------
    mean, std : float
        Standardization in pixel units.
    widths : sequence of int
        Channels of the three groups.
    hidden : int
        Units of the two hidden dense layers.
    dropout : float
        Dropout rate of the hidden dense layers.
    batch_norm : bool
        Add BatchNorm after each convolution (Ioffe and Szegedy 2015).
    standardize : {"training", "face"}
        Standardize by `mean` and `std`, or each face by its own mean and standard deviation.
    """

    def __init__(
        self,
        mean: float,
        std: float,
        widths: Sequence[int] = (48, 96, 192),
        hidden: int = 256,
        dropout: float = 0.5,
        batch_norm: bool = False,
        standardize: str = "training",
    ) -> None:
        super().__init__()
        if len(widths) != 3 or min(widths) < 1:
            raise ConfigError(f"expected three numbers of channels, found {tuple(widths)}", parameter="widths")
        require_sizes(hidden=hidden)
        require_flags(batch_norm=batch_norm)
        self.standardize = standardization(standardize, mean, std)
        layers: list[nn.Module] = []
        channels = 1
        for width, convolutions in zip(widths, (2, 2, 3), strict=True):
            for _ in range(convolutions):
                if batch_norm:
                    layers += convolution(channels, width, 3)
                else:
                    layers.append(he_normal(nn.Conv2d(channels, width, 3, padding=1)))
                layers.append(nn.ReLU(inplace=False))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = IMAGE_SIZE // 8
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *_dense(channels * side * side, hidden, dropout),
            *_dense(hidden, hidden, dropout),
            output_layer(hidden),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to logits, float32 (batch, 7)."""
        logits: Tensor = self.classifier(self.features(self.standardize(images)))
        return logits


class CourseDNN(nn.Module):
    """Dense 2304-1024-512-256-7.

    Parameters
    ----------
    mean, std : float
        Standardization in pixel units.
    widths : sequence of int
        Units of the hidden layers.
    dropout : float
        Dropout rate of the hidden layers.
    standardize : {"training", "face"}
        Standardize by `mean` and `std`, or each face by its own mean and standard deviation.
    """

    def __init__(
        self,
        mean: float,
        std: float,
        widths: Sequence[int] = (1024, 512, 256),
        dropout: float = 0.3,
        standardize: str = "training",
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ConfigError(f"expected numbers of units, found {tuple(widths)}", parameter="widths")
        self.standardize = standardization(standardize, mean, std)
        layers: list[nn.Module] = [nn.Flatten()]
        units = PIXELS
        for width in widths:
            layers += _dense(units, width, dropout)
            units = width
        self.classifier = nn.Sequential(*layers, output_layer(units))

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to logits, float32 (batch, 7)."""
        logits: Tensor = self.classifier(self.standardize(images))
        return logits

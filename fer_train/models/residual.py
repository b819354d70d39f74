"""A narrow residual network with squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_core import ConfigError
from fer_train.models.layers import (
    SqueezeExcitation,
    Standardize,
    StochasticDepth,
    convolution,
    pooled_classifier,
    require_sizes,
)


class _Block(nn.Module):
    """Basic residual block of two convolutions (He et al. 2016, fig. 5 left).

    If the block halves the resolution, the shortcut averages before its 1x1 convolution (He et al. 2019, ResNet-D).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: int, drop: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *convolution(inputs, outputs, 3, stride),
            nn.ReLU(inplace=False),
            *convolution(outputs, outputs, 3),
            SqueezeExcitation(outputs, squeeze),
            StochasticDepth(drop),
        )
        shortcut: list[nn.Module] = [nn.AvgPool2d(stride)] if stride > 1 else []
        if inputs != outputs:
            shortcut += convolution(inputs, outputs, 1)
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.ReLU(inplace=False)

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.shortcut(features) + self.branch(features))
        return activated


class ResidualNet(nn.Module):
    """Residual stages, each at half the resolution of the one before, then the average over the image.

    Parameters
    ----------
    mean, std : float
        Standardization in pixel units.
    widths : sequence of int
        Channels of each stage.
    blocks : sequence of int
        Residual blocks of each stage.
    stem_kernel, stem_stride : int
        Kernel size and stride of the first convolution; stride 2 quarters the cost.
    squeeze : int
        Channels per unit of the squeeze-and-excitation bottleneck.
    stochastic_depth : float
        Fraction of faces for which the last block is skipped during training; it rises linearly over the blocks.
    dropout : float
        Dropout rate of the averaged features.
    """

    def __init__(  # noqa: PLR0913 - arguments of the architecture
        self,
        mean: float,
        std: float,
        widths: Sequence[int] = (64, 128, 256, 256),
        blocks: Sequence[int] = (2, 2, 2, 2),
        stem_kernel: int = 3,
        stem_stride: int = 1,
        squeeze: int = 8,
        stochastic_depth: float = 0.1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(blocks) or min(*widths, *blocks) < 1:
            raise ConfigError(
                f"widths and blocks: expected equally many positive numbers, found {tuple(widths)} and {tuple(blocks)}"
            )
        require_sizes(stem_kernel=stem_kernel, stem_stride=stem_stride, squeeze=squeeze)
        StochasticDepth(stochastic_depth)  # raises for the whole rate, rather than for the share of a block
        self.standardize = Standardize(mean, std)
        self.stem = nn.Sequential(*convolution(1, widths[0], stem_kernel, stem_stride), nn.ReLU(inplace=False))
        stages, channels, number = [], widths[0], 0
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers = []
            for block in range(count):
                number += 1
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_Block(channels, width, stride, squeeze, stochastic_depth * number / sum(blocks)))
                channels = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.classifier = pooled_classifier(channels, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to logits, float32 (batch, 7)."""
        logits: Tensor = self.classifier(self.stages(self.stem(self.standardize(images))))
        return logits

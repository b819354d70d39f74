"""A plain chain of convolutions, fast in int8."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fer_core import ConfigError
from fer_train.models.layers import Standardize, convolution, pooled_classifier, require_flags


class PlainNet(nn.Module):
    """Convolutions with BatchNorm, which folds into them, then the average over the image.

    There are no depthwise convolutions, shortcuts or attention: each of these costs an int8 network more time than its
    multiply-adds suggest.

    Parameters
    ----------
    mean, std : float
        Standardization in pixel units.
    widths : sequence of sequences of int
        Channels of the convolutions of each group. The first convolution of a group halves the resolution by its
        stride.
    space_to_depth : bool
        Rearrange each 2x2 pixels into four channels before the first group; otherwise the first convolution is 5x5
        with stride 2.
    dropout : float
        Dropout rate of the averaged features.
    """

    def __init__(
        self,
        mean: float,
        std: float,
        widths: Sequence[Sequence[int]] = ((32,), (32, 64, 64, 64), (128, 128, 128)),
        space_to_depth: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not widths or not all(widths) or min(map(min, widths)) < 1:
            raise ConfigError(f"expected numbers of channels in groups, found {widths!r}", parameter="widths")
        require_flags(space_to_depth=space_to_depth)
        self.standardize = Standardize(mean, std)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)] if space_to_depth else []
        channels = 4 if space_to_depth else 1
        for group, group_widths in enumerate(widths):
            for number, width in enumerate(group_widths):
                first = number == 0
                kernel = 5 if first and group == 0 and not space_to_depth else 3
                stride = 2 if first and (group > 0 or not space_to_depth) else 1
                layers += [*convolution(channels, width, kernel, stride), nn.ReLU(inplace=False)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = pooled_classifier(channels, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, float32 (batch, 1, 48, 48) in 0..255, to logits, float32 (batch, 7)."""
        logits: Tensor = self.classifier(self.features(self.standardize(images)))
        return logits

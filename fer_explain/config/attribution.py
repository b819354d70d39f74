"""Settings of the attribution methods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fer_core.errors import ConfigError
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.settings import setting
from fer_infer.config import SamplingConfig

MEMORY_MB: Final = 512.0
"""Default memory limit of the passes through the network, in MiB."""
OUTPUTS: Final = ("logits", "probabilities")
"""Outputs of a network that can be explained."""
TARGET_HELP: Final = "predicted, true, or the name of a class."


@dataclass(frozen=True)
class AttributionConfig(SamplingConfig):
    """Settings of the attribution methods.

    Each method uses some of them, see `fer_explain.attribution.Method.uses`. `temperature`, by which logits are divided
    before the softmax of ``of="probabilities"``, comes from the model card.

    Examples
    --------
    >>> AttributionConfig(samples=64).samples
    64
    >>> AttributionConfig(window=8, stride=9)
    Traceback (most recent call last):
        ...
    fer_core.errors.ConfigError: stride: expected at most the window, 8, found 9
    """

    of: str = setting(
        "logits",
        "Output to explain. A probability also rises when the logit of another class falls, and its gradient vanishes "
        "where the network is confident.",
        choices=OUTPUTS,
        default_text="logits",
    )
    window: int = setting(
        8, "Side of the occluding square, in pixels.", at_least=1, at_most=IMAGE_SIZE, metavar="PIXELS"
    )
    stride: int = setting(4, "Step of the occluding square, in pixels; at most its side.", at_least=1, metavar="PIXELS")
    layer: str | int | None = setting(
        None,
        "Layer of Grad-CAM, by name or index; `fer-explain layers` lists them.",
        default_text="activation after the last convolution",
        metavar="NAME|INDEX",
    )
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.window:
            raise ConfigError(f"expected at most the window, {self.window}, found {self.stride}", parameter="stride")

    @property
    def windows(self) -> int:
        """Number of positions of the occluding square."""
        return (math.ceil((IMAGE_SIZE - self.window) / self.stride) + 1) ** 2

"""What every attribution method is given: some faces, the network that judges them, and how to go about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, ModelError
from fer_train.models.layers import Standardize

Output = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Settings:
    """How a method goes about it; `fer_explain.attribution.Method.uses` says which of these it looks at."""

    of: Output = "logits"
    """What is explained. A probability also rises where another class falls, and its gradient vanishes where the
    network is sure."""
    temperature: float = 1.0
    """By which logits are divided before the softmax, where `of` asks for one: the scorer's, from its model card."""
    samples: int = 32
    """Points at which a face's gradient is taken: steps of the path, noisy copies or random baselines."""
    baseline: float | None = None
    """Gray level, 0..255, of the image without any face in it. None: the mean of the Training split."""
    noise: float = 0.15
    """Standard deviation of the noise as a share of the face's own range from darkest to brightest pixel."""
    window: int = 8
    """Side of the occluding square in pixels."""
    stride: int = 4
    """Pixels from one position of the square to the next."""
    layer: str | int | None = None
    """Name or index of the layer whose channels are weighed. None: the last convolution's activation."""
    seed: int = 0
    """Of all chance; with it, a face's row number alone decides what is drawn for that face."""

    def __post_init__(self) -> None:
        if self.of not in get_args(Output):
            raise ConfigError(f"of: expected {' or '.join(get_args(Output))}, found {self.of!r}")
        for name, low, high in (
            ("samples", 1, 10_000),
            ("window", 1, IMAGE_SIZE),
            ("stride", 1, self.window),
            ("seed", 0, 2**32 - 1),
            ("noise", 0, 10),
            ("baseline", 0, 255),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name}: expected {low} to {high}, found {value}")

    @property
    def windows(self) -> int:
        """Positions of the occluding square."""
        return (-(-(IMAGE_SIZE - self.window) // self.stride) + 1) ** 2


@dataclass(frozen=True)
class Batch:
    """Faces that are explained together, B of them.

    Attributes
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to what is explained, (batch, classes); in evaluation mode.
    images : Tensor
        float32 (B, 1, 48, 48) in 0..255, which asks for a gradient.
    targets : Tensor
        int64 (B,).
    rows : ndarray of int64, shape (B,)
        Row numbers, from which, with the seed, all chance follows.
    settings : Settings
        Of the method.
    at_once : int
        Images that may pass through the network together.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    rows: NDArray[np.int64]
    settings: Settings
    at_once: int

    @property
    def baseline(self) -> float:
        """Gray level of the image without any face in it."""
        return baseline_of(self.model, self.settings)

    def generators(self) -> list[np.random.Generator]:
        """Return one source of chance a face, the same whichever faces stand beside it."""
        return [np.random.default_rng((self.settings.seed, row)) for row in self.rows.tolist()]


Found = dict[str, Tensor]
"""What a method returns of a batch: `attributions` (B, 1, 48, 48) and what else it tells, first axis B."""

DELTAS: Final = "deltas"
"""Name of the convergence deltas (B,): the sum of the attributions minus the difference of outputs it should be."""


def baseline_of(model: nn.Module, settings: Settings) -> float:
    """Return the gray level, 0..255, that stands for no face."""
    return standardization_of(model)[0] if settings.baseline is None else settings.baseline


def standardization_of(model: nn.Module) -> tuple[float, float]:
    """Return mean and standard deviation, in gray levels, of the Training split that a network was made for."""
    for module in model.modules():
        if isinstance(module, Standardize):
            return float(module.mean), float(module.std)
    raise ModelError("expected a network that begins by Standardize, which knows the mean gray level; found none")

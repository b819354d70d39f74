"""Settings of the commands: default, range and help of each, declared once.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fer_core.errors import ConfigError
from fer_core.fer2013 import IMAGE_SIZE, PIXELS
from fer_core.settings import SEED_LIMIT, Settings, setting

# Attribution maps.

OUTPUTS: Final = ("logits", "probabilities")
"""Outputs of a network that can be explained."""
TARGET_HELP: Final = "predicted, true, or the name of a class."


@dataclass(frozen=True)
class AttributionConfig(Settings):
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
        "Output to explain. A probability also rises when another class falls, and its gradient vanishes where the "
        "network is certain.",
        choices=OUTPUTS,
        default_text="logits",
    )
    samples: int = setting(
        32,
        "Number of gradients per face: path steps, noisy copies or random baselines.",
        at_least=1,
        at_most=10_000,
        metavar="N",
    )
    baseline: float | None = setting(
        None,
        "Gray level of the baseline image.",
        at_least=0,
        at_most=255,
        default_text="mean of the Training split",
        metavar="GRAY",
    )
    noise: float = setting(
        0.15, "Standard deviation of the noise, as a fraction of the image's range.", at_least=0, at_most=10
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
    seed: int = setting(
        0, "Random seed; a face's random numbers depend on it and the row number.", at_least=0, at_most=SEED_LIMIT
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


# Evaluation of attribution maps.

CONTROLS_PER_MAP: Final = 39
"""Matched controls of a map. A map that is like its controls beats all of them in 1 of 40 draws: 2.5%, one-sided."""
CONTROLS_PER_METHOD: Final = 300
"""Control maps that are enough for a mean over faces."""


@dataclass(frozen=True)
class SampleConfig(Settings):
    """Faces that attribution maps are evaluated on, and the class that the maps explain.

    `rows` are row numbers to use instead of drawing faces, `split` and `limit` restrict the faces to draw from, and
    `columns` maps roles to column names as in `fer_core.iter_faces`.

    Examples
    --------
    >>> SampleConfig(faces=100, split="PublicTest").target
    'predicted'
    """

    faces: int = setting(300, "Number of faces to draw from DATA, unless rows are given.", at_least=2, metavar="N")
    target: str = setting("predicted", f"Class whose logit is explained: {TARGET_HELP}", metavar="CLASS")
    rows: tuple[int, ...] | None = None
    split: str | None = None
    limit: int | None = None
    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 2:
            raise ConfigError(f"expected at least 2, found {self.limit}", parameter="limit")


@dataclass(frozen=True)
class SanitySampleConfig(SampleConfig):
    """Sample of the sanity check, which needs fewer faces."""

    faces: int = setting(24, "Number of faces to draw from DATA, unless rows are given.", at_least=2, metavar="N")


@dataclass(frozen=True)
class FaithfulnessConfig(Settings):
    """Settings of the faithfulness metrics.

    Examples
    --------
    >>> FaithfulnessConfig(steps=8).count_controls(faces=100)
    3
    """

    steps: int = setting(16, "Steps of deletion and of insertion.", at_least=1, at_most=PIXELS)
    blur_sigma: float = setting(
        6.0,
        "Standard deviation, in pixels, of the blur of the image that insertion starts from.",
        above=0,
        metavar="PIXELS",
    )
    squares: int = setting(64, "Number of square patches removed from each face for infidelity.", at_least=1)
    square_side: int = setting(12, "Side of such a patch, in pixels.", at_least=1, at_most=IMAGE_SIZE, metavar="PIXELS")
    controls: int | None = setting(
        None,
        "Control maps per face and method.",
        at_least=1,
        default_text=f"as many as make {CONTROLS_PER_METHOD} per method, at most {CONTROLS_PER_MAP}",
    )
    sensitivity_faces: int = setting(
        20, "Number of faces for max-sensitivity, 0 or at least 2; each costs several more maps per method.", at_least=0
    )
    sensitivity_samples: int = setting(5, "Perturbed copies of each of these faces.", at_least=1)
    sensitivity_radius: int = setting(
        5, "Largest change of a pixel in a copy, in gray levels.", at_least=1, at_most=255, metavar="LEVELS"
    )
    batch_size: int = setting(32, "Images per forward pass; affects speed and memory, not results.", at_least=1)
    seed: int = setting(0, "Random seed.", at_least=0, at_most=SEED_LIMIT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sensitivity_faces == 1:
            raise ConfigError("expected 0, or at least 2 for an interval, found 1", parameter="sensitivity_faces")

    def count_controls(self, faces: int) -> int:
        """Return the number of control maps per method for each of `faces` faces."""
        return self.controls or min(max(math.ceil(CONTROLS_PER_METHOD / max(faces, 1)), 1), CONTROLS_PER_MAP)

    def count_passes(self, methods: int, faces: int) -> int:
        """Return the number of images that `fer_explain.evaluation.metrics.faithfulness.measure_maps` scores."""
        maps = methods * (1 + self.count_controls(faces))
        return faces * (maps * 2 * (self.steps - 1) + self.squares + 1 + 3 * methods)


@dataclass(frozen=True)
class GroundTruthConfig(Settings):
    """Settings of the comparison with drawn faces whose expressive regions are known.

    Examples
    --------
    >>> GroundTruthConfig(faces=60).seed
    1000
    """

    faces: int = setting(300, "Number of faces to draw.", at_least=2, metavar="N")
    seed: int = setting(
        1000,
        "Random seed of the drawing; use another one than for the faces the model was trained on.",
        at_least=0,
        at_most=SEED_LIMIT,
    )

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

MEMORY_MB: Final = 512.0
"""Default memory limit of the passes through the network, in MiB."""
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
        "Output to explain. A probability also rises when the logit of another class falls, and its gradient vanishes "
        "where the network is confident.",
        choices=OUTPUTS,
        default_text="logits",
    )
    samples: int = setting(
        32,
        "Number of gradients per face: steps of the path, noisy copies or random baselines.",
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
        0,
        "Random seed; the random numbers of a face depend only on it and the row number.",
        at_least=0,
        at_most=SEED_LIMIT,
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

    steps: int = setting(16, "Number of steps of deletion and of insertion.", at_least=1, at_most=PIXELS)
    blur_sigma: float = setting(
        6.0,
        "Standard deviation, in pixels, of the blur of the image that insertion starts from.",
        above=0,
        metavar="PIXELS",
    )
    squares: int = setting(64, "Number of square patches removed from each face for infidelity.", at_least=1)
    square_side: int = setting(
        12, "Side of the square patches for infidelity, in pixels.", at_least=1, at_most=IMAGE_SIZE, metavar="PIXELS"
    )
    controls: int | None = setting(
        None,
        "Number of control maps per face and method.",
        at_least=1,
        default_text=f"as many as give {CONTROLS_PER_METHOD} per method, at most {CONTROLS_PER_MAP}",
    )
    sensitivity_faces: int = setting(
        20, "Number of faces for max-sensitivity, 0 or at least 2; each costs several more maps per method.", at_least=0
    )
    sensitivity_samples: int = setting(5, "Number of perturbed copies per face for max-sensitivity.", at_least=1)
    sensitivity_radius: int = setting(
        5, "Largest change of a pixel in a perturbed copy, in gray levels.", at_least=1, at_most=255, metavar="LEVELS"
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
        "Random seed of the drawn faces; use another one than for the training data.",
        at_least=0,
        at_most=SEED_LIMIT,
    )


# Layers, activation maximization and reports.

FACE_LIMIT: Final = 4096
"""Faces of a file that a layer is measured on, unless another limit is given."""


@dataclass(frozen=True)
class AscentConfig(Settings):
    """Settings of activation maximization by gradient ascent, see `fer_explain.maximize`.

    Examples
    --------
    >>> AscentConfig(steps=128, space="pixel").step_size
    12.0
    >>> AscentConfig(decay=1)
    Traceback (most recent call last):
        ...
    fer_core.errors.ConfigError: decay: expected 0 to below 1, found 1
    """

    steps: int = setting(64, "Number of gradient steps.", at_least=1)
    space: str = setting("fourier", "Image parametrization in which steps are taken.", choices=("fourier", "pixel"))
    step_size: float = setting(
        12.0,
        "RMS of the first step, in gray levels for pixel space and in scaled coefficients for Fourier space. "
        "The step size decays linearly to a tenth.",
        at_least=0,
    )
    noise: float = setting(
        12.0, "Standard deviation of the noise added to the start image, in gray levels.", at_least=0
    )
    decay: float = setting(
        0.01, "L2 penalty: fraction of the difference from the start image removed at each step.", at_least=0, below=1
    )
    total_variation: float = setting(
        0.1, "Weight of the total variation gradient relative to the activation gradient.", at_least=0, below=1
    )
    jitter: int = setting(
        2, "Maximum random shift before each step, in pixels. Dense layers use no random transforms.", at_least=0
    )
    rotation: float = setting(5.0, "Maximum random rotation before each step, in degrees.", at_least=0, at_most=180)
    zoom: float = setting(0.05, "Maximum random change of scale before each step, as a fraction.", at_least=0, below=1)
    images: int = setting(1, "Number of images per objective.", at_least=1, metavar="N")
    diversity: float = setting(
        0.5, "Weight of the diversity term, which makes the images of one objective differ.", at_least=0
    )
    seed: int = setting(0, "Random seed of noise and transforms.", at_least=0, at_most=SEED_LIMIT)


@dataclass(frozen=True)
class FilterConfig(Settings):
    """Settings of `fer_explain.draw_filters`.

    Examples
    --------
    >>> FilterConfig(top=4).limit
    4096
    """

    top: int = setting(9, "Number of top-activating faces shown per filter.", at_least=1, metavar="N")
    limit: int = setting(FACE_LIMIT, "Use at most the first N faces.", at_least=1, metavar="N")
    rare: float = setting(
        0.001, "A filter that is active at a smaller fraction of positions is reported as rare.", at_least=0, at_most=1
    )
    cosine: float = setting(
        0.95, "Minimum cosine similarity of the weights of duplicate filters.", at_least=0, at_most=1
    )
    correlation: float = setting(
        0.95, "Minimum correlation of the outputs of duplicate filters.", at_least=0, at_most=1
    )


@dataclass(frozen=True)
class ReportConfig(Settings):
    """Settings of `fer_explain.write_report`.

    Examples
    --------
    >>> ReportConfig(worst=10).share
    0.2
    """

    worst: int | None = setting(
        None,
        "Show this number of the most confident mistakes instead of the default selection.",
        at_least=1,
        metavar="N",
        default_text="6 mistakes and 12 faces of all classes",
    )
    share: float = setting(
        0.2, "Fraction of the pixels, the most salient ones, that masked faces show.", above=0, at_most=1
    )
    seed: int = setting(
        0,
        "Random seed of attribution methods, control maps and activation maximization.",
        at_least=0,
        at_most=SEED_LIMIT,
    )

"""Settings of the tests of attribution maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fer_core.errors import ConfigError
from fer_core.fer2013 import IMAGE_SIZE, PIXELS
from fer_core.io.crop import FacesConfig
from fer_core.settings import SEED_LIMIT, Settings, setting
from fer_explain.config.attribution import TARGET_HELP

CONTROLS_PER_MAP: Final = 39
"""Matched controls of a map. A map that is like its controls beats all of them in 1 of 40 draws: 2.5%, one-sided."""
CONTROLS_PER_METHOD: Final = 300
"""Control maps that are enough for a mean over faces."""


@dataclass(frozen=True)
class SampleConfig(FacesConfig):
    """Faces that attribution maps are evaluated on, and the class that the maps explain.

    `rows` are row numbers to use instead of drawing faces, `split` and `limit` restrict the faces to draw from, and
    `columns` and `on_error` are those of `fer_core.iter_faces`.

    Examples
    --------
    >>> SampleConfig(sample_size=100, split="PublicTest").target
    'predicted'
    """

    sample_size: int = setting(
        300, "Number of faces to draw from DATA, unless rows are given.", at_least=2, metavar="N"
    )
    target: str = setting("predicted", f"Class whose logit is explained: {TARGET_HELP}", metavar="CLASS")
    rows: tuple[int, ...] | None = None
    split: str | None = None
    limit: int | None = None
    columns: Mapping[str, str] | None = None
    on_error: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 2:
            raise ConfigError(f"expected at least 2, found {self.limit}", parameter="limit")


@dataclass(frozen=True)
class SanitySampleConfig(SampleConfig):
    """Sample of the sanity check, which needs fewer faces."""

    sample_size: int = setting(24, "Number of faces to draw from DATA, unless rows are given.", at_least=2, metavar="N")


@dataclass(frozen=True)
class RegionSampleConfig(SampleConfig):
    """Sample of the comparison of regions, which costs one map per face and should contain faces of every class."""

    sample_size: int = setting(
        1000, "Number of faces to draw from DATA, unless rows are given.", at_least=2, metavar="N"
    )


@dataclass(frozen=True)
class RegionConfig(Settings):
    """Settings of the comparison of regions of the face.

    Examples
    --------
    >>> RegionConfig(controls=20).seed
    0
    """

    controls: int = setting(5, "Number of matched control maps per map.", at_least=1, metavar="N")
    seed: int = setting(0, "Random seed.", at_least=0, at_most=SEED_LIMIT)


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
        return faces * (maps * 2 * (self.steps - 1) + self.squares + 1 + 3)


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

"""Settings of activation maximization and of filter reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fer_core.settings import SEED_LIMIT, Settings, setting

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

"""Settings of attribution maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fer_core.errors import ConfigError
from fer_core.settings import SEED_LIMIT, Settings, setting

MAP_METHODS: Final = ("saliency", "input-x-gradient", "grad-cam", "integrated-gradients", "smoothgrad")
"""Attribution methods that need only the gradient of a model, and Grad-CAM."""


@dataclass(frozen=True)
class SamplingConfig(Settings):
    """Settings of attribution methods that average gradients."""

    samples: int | None = setting(
        None,
        "Fixed number of gradients per face: nodes of the path, noisy copies or random baselines.",
        at_least=1,
        at_most=10_000,
        metavar="N",
        default_text="as many as tolerance or standard error require",
    )
    max_samples: int = setting(
        512,
        "Maximum number of gradients per face, unless the number is fixed.",
        at_least=16,
        at_most=10_000,
        metavar="N",
    )
    tolerance: float = setting(
        0.01, "Relative error of completeness at which integrated gradients are finished.", at_least=0, at_most=1
    )
    standard_error: float = setting(
        0.5,
        "Standard error of the mean map, relative to its norm, at which an average of random samples is finished.",
        at_least=0,
        at_most=10,
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
    seed: int = setting(
        0,
        "Random seed; the random numbers of a face depend only on it and the row number.",
        at_least=0,
        at_most=SEED_LIMIT,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples is not None and self.max_samples != type(self).max_samples:
            raise ConfigError("has no effect on a fixed number of samples", parameter="max_samples")


@dataclass(frozen=True)
class MapConfig(SamplingConfig):
    """Settings of attribution maps by ONNX Runtime."""

    method: str = setting(
        "saliency",
        "Attribution method: saliency (the absolute gradient), input-x-gradient, grad-cam, integrated-gradients or "
        "smoothgrad.",
        choices=MAP_METHODS,
    )

    @property
    def error_limit(self) -> float | None:
        """Relative error above which a map is not finished; None for a method without one."""
        return {"integrated-gradients": self.tolerance, "smoothgrad": self.standard_error}.get(self.method)


@dataclass(frozen=True)
class ExplainConfig(MapConfig):
    """Settings of predictions with attribution maps."""

    explain: str | None = setting(
        None,
        "File to write an attribution map of each face to: .npz or .parquet. The model needs a saliency.onnx, and "
        "predicts in fp32. With an overlay, the maps are also drawn over the faces.",
        metavar="FILE",
        default_text="none",
    )
    target: str = setting("predicted", "Class to explain: predicted, or the name of a class.", metavar="CLASS")

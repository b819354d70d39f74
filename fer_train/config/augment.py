"""Settings of augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fer_core.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Settings):
    """Limits of the random augmentation of each training image; zero turns a transformation off.

    Examples
    --------
    >>> AugmentConfig(zoom=0.2, mixup=0.3).mild().zoom
    0.1
    """

    flip: bool = setting(True, "Mirror half of the images.")
    rotation_degrees: float = setting(
        10.0, "Largest rotation to either side, in degrees.", at_least=0, at_most=180, option="--rotation"
    )
    shift: float = setting(
        0.1, "Largest shift along each axis, as a fraction of the image side.", at_least=0, at_most=1
    )
    zoom: float = setting(0.1, "Largest relative change of scale.", at_least=0, below=1)
    brightness: float = setting(0.1, "Largest change of brightness, as a fraction of 255.", at_least=0, at_most=1)
    contrast: float = setting(0.1, "Largest relative change of contrast.", at_least=0, at_most=1)
    erasing: float = setting(
        0.0, "Random erasing: fraction of images with a rectangle of noise (Zhong et al. 2020).", at_least=0, at_most=1
    )
    mixup: float = setting(
        0.0, "Mixup: largest weight of a second image and its label (Zhang et al. 2018).", at_least=0, at_most=0.5
    )

    def mild(self) -> AugmentConfig:
        """Return half of every limit, without erasing and mixup."""
        halved = ("rotation_degrees", "shift", "zoom", "brightness", "contrast")
        return replace(self, erasing=0.0, mixup=0.0, **{name: getattr(self, name) / 2 for name in halved})

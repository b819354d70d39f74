"""Imports from Captum, which imports pyplot; that can fail unless matplotlib was imported safely before."""

from fer_core.outputs.figures import load_matplotlib

load_matplotlib()

from captum.attr import (  # noqa: E402
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    LayerGradCam,
    Saliency,
)
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR  # noqa: E402

__all__ = [
    "SUPPORTED_NON_LINEAR",
    "DeepLift",
    "GuidedBackprop",
    "InputXGradient",
    "LayerGradCam",
    "Saliency",
]

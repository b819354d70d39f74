"""Methods that need one gradient of a network at the face."""

from __future__ import annotations

from fer_explain.attribution.methods.batch import Batch, MethodOutput
from fer_explain.attribution.methods.captum_methods import InputXGradient, Saliency


def saliency(batch: Batch) -> MethodOutput:
    """Take the absolute gradient: Simonyan, Vedaldi and Zisserman 2013, section 3."""
    return {"attributions": Saliency(batch.model).attribute(batch.images, target=batch.targets, abs=True)}


def input_x_gradient(batch: Batch) -> MethodOutput:
    """Multiply the gradient by the gray level of each pixel: Shrikumar et al. 2016, section 3.2."""
    return {"attributions": InputXGradient(batch.model).attribute(batch.images, target=batch.targets)}

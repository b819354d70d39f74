"""Methods that need only the gradient of a network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fer_core import IMAGE_SIZE
from fer_explain.attribution.methods.batch import DELTAS, Batch, MethodOutput, standardization_of
from fer_explain.attribution.methods.captum_methods import InputXGradient, IntegratedGradients, Saliency


def saliency(batch: Batch) -> MethodOutput:
    """Take the absolute gradient: Simonyan, Vedaldi and Zisserman 2013, section 3."""
    return {"attributions": Saliency(batch.model).attribute(batch.images, target=batch.targets, abs=True)}


def input_x_gradient(batch: Batch) -> MethodOutput:
    """Multiply the gradient by the gray level of each pixel: Shrikumar et al. 2016, section 3.2."""
    return {"attributions": InputXGradient(batch.model).attribute(batch.images, target=batch.targets)}


def integrated_gradients(batch: Batch) -> MethodOutput:
    """Integrate the gradient along the straight path from the baseline: Sundararajan, Taly and Yan 2017, equation 1."""
    attributions, deltas = IntegratedGradients(batch.model).attribute(
        batch.images,
        baselines=batch.baseline,
        target=batch.targets,
        n_steps=batch.config.samples,
        internal_batch_size=max(batch.batch_size, len(batch.images)),
        return_convergence_delta=True,
    )
    return {"attributions": attributions, DELTAS: deltas}


def smoothgrad(batch: Batch) -> MethodOutput:
    """Average the gradient over noisy copies, then take its absolute value: Smilkov et al. 2017, section 3.

    The noise of a face is seeded by its row number, which Captum's `NoiseTunnel` does not support.
    """
    images = batch.images.detach()
    spread = batch.config.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    generators = batch.generators()
    total = torch.zeros_like(images)
    for count in _chunks(batch):
        shape = (count, 1, IMAGE_SIZE, IMAGE_SIZE)
        noise = np.stack([each.standard_normal(shape, np.float32) for each in generators], axis=1)
        points = images + spread * torch.from_numpy(noise).to(images.device)
        total += _gradients(batch, points).sum(0)
    return {"attributions": (total / batch.config.samples).abs()}


def gradient_shap(batch: Batch) -> MethodOutput:
    """Average gradient times difference at random points between random baselines and the face.

    Lundberg and Lee 2017 (SHAP), as expected gradients: Erion et al. 2021, equation 3. A baseline is a uniform image
    whose gray level is normally distributed with mean and standard deviation of the Training split, clipped to 0..255.
    """
    images, samples = batch.images.detach(), batch.config.samples
    levels, fractions = _random_baselines(batch)
    total = torch.zeros_like(images)
    baseline_output = torch.zeros_like(batch.targets, dtype=images.dtype)
    start = 0
    for count in _chunks(batch):
        level, fraction = levels[start : start + count], fractions[start : start + count]
        difference = images - level
        total += (_gradients(batch, level + fraction * difference) * difference).sum(0)
        with torch.no_grad():
            baseline_output += _outputs(batch, level.expand_as(difference)).sum(0)
        start += count
    attributions = total / samples
    with torch.no_grad():
        output_difference = _outputs(batch, images[None])[0] - baseline_output / samples
    return {"attributions": attributions, DELTAS: attributions.sum((1, 2, 3)) - output_difference}


def _random_baselines(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return gray levels and positions 0..1 between baseline and face, each (samples, B, 1, 1, 1)."""
    mean, std = standardization_of(batch.model)
    samples = batch.config.samples
    drawn = [(each.normal(mean, std, samples).clip(0, 255), each.random(samples)) for each in batch.generators()]
    by_sample = torch.from_numpy(np.array(drawn, np.float32).transpose(1, 2, 0)).to(batch.images.device)
    levels, fractions = by_sample[..., None, None, None]
    return levels, fractions


def _chunks(batch: Batch) -> Iterator[int]:
    """Yield the number of samples of every face that pass through the network together, until all have passed."""
    step = max(1, batch.batch_size // len(batch.images))
    for start in range(0, batch.config.samples, step):
        yield min(step, batch.config.samples - start)


def _outputs(batch: Batch, points: Tensor) -> Tensor:
    """Return the explained outputs (count, B) at points (count, B, 1, 48, 48)."""
    outputs: Tensor = batch.model(points.flatten(0, 1))
    return outputs.gather(1, batch.targets.repeat(len(points))[:, None]).view(points.shape[:2])


def _gradients(batch: Batch, points: Tensor) -> Tensor:
    """Return the gradients (count, B, 1, 48, 48) of the explained outputs at points of that shape."""
    points = points.requires_grad_()
    return torch.autograd.grad(_outputs(batch, points).sum(), points)[0]

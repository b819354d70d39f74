"""Methods that need nothing of a network but its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fer_core import IMAGE_SIZE
from fer_explain.attribution.captum_methods import InputXGradient, IntegratedGradients, Saliency
from fer_explain.attribution.settings import DELTAS, Batch, Found, standardization_of


def saliency(batch: Batch) -> Found:
    """Take the absolute gradient: Simonyan, Vedaldi and Zisserman 2013, section 3."""
    return {"attributions": Saliency(batch.model).attribute(batch.images, target=batch.targets, abs=True)}


def input_x_gradient(batch: Batch) -> Found:
    """Multiply the gradient by how far each pixel is from black: Shrikumar et al. 2016, section 3.2."""
    return {"attributions": InputXGradient(batch.model).attribute(batch.images, target=batch.targets)}


def integrated_gradients(batch: Batch) -> Found:
    """Integrate the gradient along the straight way from the baseline: Sundararajan, Taly and Yan 2017, equation 1."""
    attributions, deltas = IntegratedGradients(batch.model).attribute(
        batch.images,
        baselines=batch.baseline,
        target=batch.targets,
        n_steps=batch.settings.samples,
        internal_batch_size=max(batch.at_once, len(batch.images)),
        return_convergence_delta=True,
    )
    return {"attributions": attributions, DELTAS: deltas}


def smoothgrad(batch: Batch) -> Found:
    """Average the gradient over noisy copies, then drop its sign: Smilkov et al. 2017, section 3.

    The noise of a face is drawn from its own row number, which no noise tunnel of Captum's allows.
    """
    images = batch.images.detach()
    spread = batch.settings.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    generators = batch.generators()
    total = torch.zeros_like(images)
    for count in _chunks(batch):
        shape = (count, 1, IMAGE_SIZE, IMAGE_SIZE)
        noise = np.stack([chance.standard_normal(shape, np.float32) for chance in generators], axis=1)
        points = images + spread * torch.from_numpy(noise).to(images.device)
        total += _gradients(batch, points).sum(0)
    return {"attributions": (total / batch.settings.samples).abs()}


def gradient_shap(batch: Batch) -> Found:
    """Average gradient times difference at random places on the ways from random baselines.

    Lundberg and Lee 2017 (SHAP), as expected gradients: Erion et al. 2021, equation 3. A baseline is an even image
    whose gray level is drawn from a normal distribution with the mean and deviation of the Training split, cut to
    0..255: no face, in any light.
    """
    images, samples = batch.images.detach(), batch.settings.samples
    mean, std = standardization_of(batch.model)
    drawn = [(chance.normal(mean, std, samples).clip(0, 255), chance.random(samples)) for chance in batch.generators()]
    # (2, samples, B, 1, 1, 1)
    levels, places = torch.from_numpy(np.array(drawn, np.float32).transpose(1, 2, 0)).to(images)[..., None, None, None]
    total, nothing, start = torch.zeros_like(images), torch.zeros_like(batch.targets, dtype=images.dtype), 0
    for count in _chunks(batch):
        level, place = (part[start : start + count] for part in (levels, places))
        way = images - level
        total += (_gradients(batch, level + place * way) * way).sum(0)
        with torch.no_grad():
            nothing += _outputs(batch, level.expand_as(way)).sum(0)
        start += count
    attributions = total / samples
    with torch.no_grad():
        difference = _outputs(batch, images[None])[0] - nothing / samples
    return {"attributions": attributions, DELTAS: attributions.sum((1, 2, 3)) - difference}


def _chunks(batch: Batch) -> Iterator[int]:
    """Yield how many samples of every face may pass through the network together, until all have."""
    step = max(1, batch.at_once // len(batch.images))
    for start in range(0, batch.settings.samples, step):
        yield min(step, batch.settings.samples - start)


def _outputs(batch: Batch, points: Tensor) -> Tensor:
    """Return what is explained (count, B) at points (count, B, 1, 48, 48)."""
    outputs: Tensor = batch.model(points.flatten(0, 1))
    return outputs.gather(1, batch.targets.repeat(len(points))[:, None]).view(points.shape[:2])


def _gradients(batch: Batch, points: Tensor) -> Tensor:
    """Return the gradients (count, B, 1, 48, 48) of what is explained at points of that shape."""
    points = points.requires_grad_()
    return torch.autograd.grad(_outputs(batch, points).sum(), points)[0]

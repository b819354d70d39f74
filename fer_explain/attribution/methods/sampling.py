"""Methods that average random samples, until the mean map is known well enough."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fer_core import IMAGE_SIZE
from fer_explain.attribution.methods.batch import (
    DELTAS,
    ERRORS,
    SAMPLES,
    Batch,
    MethodOutput,
    standardization_of,
)


def smoothgrad(batch: Batch) -> MethodOutput:
    """Average the gradient over noisy copies, then take its absolute value: Smilkov et al. 2017, section 3.

    The noise of a face is seeded by its row number, which Captum's `NoiseTunnel` does not support. Samples are added
    until the standard error of the mean gradient is small, see `mean_of_samples`.
    """
    images = batch.images.detach()
    spread = batch.config.noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    generators = batch.generators()

    def sample(faces: Tensor) -> Tensor:
        shape = (1, IMAGE_SIZE, IMAGE_SIZE)
        noise = np.stack([generators[face].standard_normal(shape, np.float32) for face in faces.tolist()])
        return batch.gradients(images[faces] + spread[faces] * torch.from_numpy(noise).to(images.device), faces)

    found = mean_of_samples(batch, sample)
    return {**found, "attributions": found["attributions"].abs()}


def gradient_shap(batch: Batch) -> MethodOutput:
    """Average gradient times difference at random points between random baselines and the face.

    Lundberg and Lee 2017 (SHAP), as expected gradients: Erion et al. 2021, equation 3. A baseline is a uniform image
    whose gray level is normally distributed with mean and standard deviation of the Training split, clipped to 0..255.
    Samples are added until the standard error of the mean is small, see `mean_of_samples`.
    """
    images = batch.images.detach()
    mean, std = standardization_of(batch.model)
    generators = batch.generators()
    baseline_outputs = torch.zeros_like(batch.targets, dtype=torch.float64)

    def sample(faces: Tensor) -> Tensor:
        chosen = [generators[face] for face in faces.tolist()]
        drawn = np.array([(each.normal(mean, std), each.random()) for each in chosen], np.float32)
        level, fraction = torch.from_numpy(drawn.T[..., None, None, None]).to(images.device)
        level = level.clamp(0, 255)
        difference = images[faces] - level
        with torch.no_grad():
            outputs = batch.outputs(level.expand_as(difference), faces)
            baseline_outputs.index_add_(0, faces, outputs.double())
        contributions: Tensor = batch.gradients(level + fraction * difference, faces) * difference
        return contributions

    found = mean_of_samples(batch, sample)
    expected = batch.face_outputs.double() - baseline_outputs / found[SAMPLES]
    return {**found, DELTAS: found["attributions"].sum((1, 2, 3), dtype=torch.float64) - expected}


def mean_of_samples(batch: Batch, sample: Callable[[Tensor], Tensor]) -> MethodOutput:
    """Average samples of each face until the relative standard error of its mean is at most `standard_error`.

    With the mean m of n samples g of a face, the squared standard error of m, summed over pixels, is

        s^2 = sum over samples of |g - m|^2 / (n (n - 1)),

    and the relative standard error is s / sqrt(|m|^2 - s^2), because |m|^2 exceeds the squared norm of the expected map
    by s^2 on average. It is infinite while |m| <= s, that is, while the mean is indistinguishable from noise, and for a
    single sample.

    Parameters
    ----------
    batch : Batch
        Faces.
    sample : callable
        Draws one further sample for each of at most `batch.batch_size` faces, int64 (n,), in ascending order and
        possibly repeated; returns maps (n, 1, 48, 48).

    Returns
    -------
    dict of Tensor
        `attributions`, `samples` and `errors`, the relative standard errors.
    """
    images = batch.images.detach()
    total = torch.zeros_like(images)
    squares = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    samples = torch.zeros_like(batch.targets)
    errors = torch.full_like(squares, torch.inf)
    faces = torch.arange(len(images), device=images.device)
    step, most = batch.samples
    while len(faces):
        count = min(step, most - int(samples[faces[0]]))
        for chunk in torch.split(faces.repeat_interleave(count), batch.batch_size):
            drawn = sample(chunk)
            total.index_add_(0, chunk, drawn)
            squares.index_add_(0, chunk, drawn.double().square().sum((1, 2, 3)))
        samples[faces] += count
        errors[faces] = _relative_errors(total[faces], squares[faces], samples[faces])
        finished = (errors[faces] <= batch.config.standard_error) | (samples[faces] >= most)
        batch.finish(int(finished.sum()))
        faces = faces[~finished]
    return {"attributions": total / samples[:, None, None, None], SAMPLES: samples, ERRORS: errors}


def _relative_errors(total: Tensor, squares: Tensor, n: Tensor) -> Tensor:
    """Return relative standard errors from the sums of n samples and of their squared norms, see `mean_of_samples`."""
    mean_square = (total.double() / n[:, None, None, None]).square().sum((1, 2, 3))
    # Rounding can make the difference of equal samples negative.
    variance = ((squares - n * mean_square) / (n * (n - 1))).clamp(min=0)
    relative = (variance / (mean_square - variance).clamp(min=0)).sqrt()
    return torch.where(n == 1, torch.inf, torch.where(variance == 0, 0.0, relative))

"""Methods that average random samples, until the mean map is known well enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_explain.attribution.methods.batch import Batch, MethodOutput, standardization_of
from fer_explain.attribution.methods.points import Points, as_tensors
from fer_infer.attribution import sampling
from fer_infer.attribution.differentiable import DELTAS, SAMPLES


def smoothgrad(batch: Batch) -> MethodOutput:
    """Average the gradient over noisy copies, then take its absolute value: Smilkov et al. 2017, section 3.

    See `fer_infer.attribution.sampling.smoothgrad`.
    """
    return as_tensors(sampling.smoothgrad(Points(batch), batch.rows, batch.config))


def gradient_shap(batch: Batch) -> MethodOutput:
    """Average gradient times difference at random points between random baselines and the face.

    Lundberg and Lee 2017 (SHAP), as expected gradients: Erion et al. 2021, equation 3. A baseline is a uniform image
    whose gray level is normally distributed with mean and standard deviation of the Training split, clipped to 0..255.
    Samples are added until the standard error of the mean is small, see
    `fer_infer.attribution.sampling.mean_of_samples`.
    """
    points = Points(batch)
    images = points.images
    mean, std = standardization_of(batch.model)
    generators = sampling.generators_for(batch.rows, batch.config.seed)
    baseline_outputs = np.zeros(len(images))

    def sample(faces: NDArray[np.intp]) -> NDArray[np.float32]:
        chosen = [generators[face] for face in faces.tolist()]
        drawn = np.array([(each.normal(mean, std), each.random()) for each in chosen], np.float32)
        level, fraction = drawn.T[..., None, None]
        level = level.clip(0, 255)
        difference = images[faces] - level
        outputs = points.outputs(np.broadcast_to(level, difference.shape).copy(), faces)
        np.add.at(baseline_outputs, faces, outputs)
        gradients: NDArray[np.float32] = points.gradients(level + fraction * difference, faces)
        contributions: NDArray[np.float32] = gradients * difference
        return contributions

    found = sampling.mean_of_samples(points, sample, batch.config)
    expected = batch.face_outputs.detach().double().cpu().numpy() - baseline_outputs / found[SAMPLES]
    return as_tensors({**found, DELTAS: found["attributions"].sum(axis=(1, 2), dtype=np.float64) - expected})

"""Integrated gradients of the PyTorch network."""

from __future__ import annotations

from fer_explain.attribution.methods.batch import Batch, MethodOutput
from fer_explain.attribution.methods.points import Points, as_tensors
from fer_infer.attribution import path_integral


def integrated_gradients(batch: Batch) -> MethodOutput:
    """Integrate the gradient along the straight path from the baseline: Sundararajan, Taly and Yan 2017, equation 1.

    See `fer_infer.attribution.path_integral.integrated_gradients`.
    """
    outputs = batch.face_outputs.detach().cpu().numpy()
    return as_tensors(path_integral.integrated_gradients(Points(batch), outputs, batch.baseline, batch.config))

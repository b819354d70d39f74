"""Outputs and gradients of a batch's network at points, as methods that are shared with ONNX Runtime need them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_explain.attribution.methods.batch import Batch, MethodOutput
from fer_infer.attribution.differentiable import Arrays


class Points:
    """The explained output of a network as a function of the pixels: `fer_infer.attribution.Differentiable`."""

    def __init__(self, batch: Batch) -> None:
        self.images: NDArray[np.float32] = batch.images.detach()[:, 0].cpu().numpy()
        self.batch_size = batch.batch_size
        self._batch = batch

    @torch.no_grad()
    def uniform_outputs(self, level: np.float32) -> NDArray[np.float32]:
        """See `Differentiable.uniform_outputs`."""
        blank = torch.full_like(self._batch.images[:1], float(level))
        outputs: NDArray[np.float32] = self._batch.model(blank)[0, self._batch.targets].cpu().numpy()
        return outputs

    @torch.no_grad()
    def outputs(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> NDArray[np.float32]:
        """See `Differentiable.outputs`."""
        outputs: NDArray[np.float32] = self._batch.outputs(*self._tensors(points, faces)).cpu().numpy()
        return outputs

    def gradients(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> NDArray[np.float32]:
        """See `Differentiable.gradients`."""
        gradients: NDArray[np.float32] = self._batch.gradients(*self._tensors(points, faces))[:, 0].cpu().numpy()
        return gradients

    def finish(self, faces: int) -> None:
        """See `Differentiable.finish`."""
        self._batch.finish(faces)

    def _tensors(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        device = self._batch.images.device
        return torch.from_numpy(points)[:, None].to(device), torch.from_numpy(faces).to(device)


def as_tensors(arrays: Arrays) -> MethodOutput:
    """Return what a shared method gives as what a method of this package gives."""
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return {**tensors, "attributions": tensors["attributions"][:, None]}

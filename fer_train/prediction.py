"""Predictions of a PyTorch network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_Float = TypeVar("_Float", np.float32, np.float64)


@contextmanager
def true_float32() -> Iterator[None]:
    """Compute convolutions on CUDA in float32; by default PyTorch rounds their factors to TF32."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(True, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
        yield


@torch.no_grad()
def predict_logits(model: nn.Module, images: NDArray[np.uint8], *, batch_size: int = 256) -> NDArray[np.float32]:
    """Compute logits in float32 on the device of the model.

    Parameters
    ----------
    model : torch.nn.Module
        Network in evaluation mode; see `fer_train.load_model`.
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels.
    batch_size : int
        Number of faces per forward pass.

    Returns
    -------
    ndarray of float32, shape (N, classes)
    """
    device = next(model.parameters()).device
    faces = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1)
    with true_float32():
        parts = [model(batch.to(device).float()).float().cpu().numpy() for batch in torch.split(faces, batch_size)]
    return np.concatenate(parts)


def softmax(logits: NDArray[_Float], temperature: float = 1.0) -> NDArray[_Float]:
    """Return the probabilities of logits, shape (N, classes), of the same shape and type.

    The scorer uses the temperature that the model card states.
    """
    scaled = logits / logits.dtype.type(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: NDArray[_Float] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities

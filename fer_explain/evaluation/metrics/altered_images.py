"""Logits of altered faces, whose pixels are computed batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core.terminal.progress import Advance
from fer_explain.layers.structure import evaluation_mode
from fer_train.prediction import predict_logits

Alter = Callable[[NDArray[np.intp]], NDArray[Any]]
"""Numbers of the altered images of a batch, (B,), to these images, float32 (B, 48, 48), 0..255."""


def altered_logits(
    model: nn.Module, n: int, alter: Alter, *, batch_size: int, advance: Advance | None = None
) -> NDArray[np.float32]:
    """Compute the logits of `n` altered images in full batches, no matter to which faces they belong.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its mode is
        restored.
    n : int
        Number of images, at least 1.
    alter : callable
        Computes the images of a batch from their numbers, 0 to n - 1.
    batch_size : int
        Images per forward pass; it affects speed and memory, not the result.
    advance : callable, optional
        Called with the number of images after each batch.

    Returns
    -------
    ndarray of float32, shape (n, classes)
    """
    parts = []
    with evaluation_mode(model):
        for start in range(0, n, batch_size):
            chunk = np.arange(start, min(start + batch_size, n))
            parts.append(predict_logits(model, alter(chunk), batch_size=batch_size))
            if advance is not None:
                advance(len(chunk))
    return np.concatenate(parts)

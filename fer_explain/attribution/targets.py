"""Whose output is explained: one class a face."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError, Faces
from fer_explain.layers.structure import device_of


def resolve_targets(
    target: str, logits: NDArray[np.float32], faces: Faces, class_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """Turn ``predicted``, ``true`` or the name of a class into one class a face.

    Parameters
    ----------
    target : str
        Which logit is explained.
    logits : ndarray of float32, shape (N, classes)
        Of `faces`.
    faces : Faces
        N of them; labelled, if `target` is ``true``.
    class_names : tuple of str
        In the order of the logits.

    Returns
    -------
    ndarray of int64, shape (N,)

    Raises
    ------
    ConfigError
        If there is no such class.
    DataError
        If true classes are asked for and the faces have none.
    """
    if target == "predicted":
        predicted: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
        return predicted
    if target == "true":
        return faces.require_labels()
    if target not in class_names:
        raise ConfigError(f"target: expected predicted, true or one of {', '.join(class_names)}, found {target!r}")
    return np.full(len(faces), class_names.index(target), np.int64)


def require_targets(model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> None:
    """Raise ConfigError unless `targets` are int64 (N,) and classes of the network."""
    if targets.shape != (len(images),) or targets.dtype != np.int64:
        raise ConfigError(
            f"targets: expected int64 ({len(images)},), one class a face, found {targets.dtype} {targets.shape}"
        )
    with torch.no_grad():
        classes = model(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model))).shape[1]
    if len(targets) and not 0 <= targets.min() <= targets.max() < classes:
        raise ConfigError(f"targets: expected classes in 0..{classes - 1}, found {targets.min()}..{targets.max()}")

"""Targets: the class of each face whose output is explained."""

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
    """Resolve ``predicted``, ``true`` or the name of a class to one class per face.

    Parameters
    ----------
    target : str
        Target to resolve.
    logits : ndarray of float32, shape (N, classes)
        Logits of `faces`.
    faces : Faces
        N faces; with labels if `target` is ``true``.
    class_names : tuple of str
        Names in the order of the logits.

    Returns
    -------
    ndarray of int64, shape (N,)

    Raises
    ------
    ConfigError
        If `target` is anything else.
    DataError
        If `target` is ``true`` and the faces have no labels.
    """
    if target == "predicted":
        predicted: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
        return predicted
    if target == "true":
        return faces.require_labels()
    if target not in class_names:
        known = ", ".join(class_names)
        raise ConfigError(f"expected predicted, true or one of {known}, found {target!r}", parameter="target")
    return np.full(len(faces), class_names.index(target), np.int64)


def require_targets(model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> None:
    """Raise ConfigError unless `targets` are int64 (N,) or (N, K) and valid classes of the network."""
    if targets.ndim not in (1, 2) or len(targets) != len(images) or targets.dtype != np.int64:
        expected = f"int64 ({len(images)},), one class per face"
        raise ConfigError(f"expected {expected}, found {targets.dtype} {targets.shape}", parameter="targets")
    with torch.no_grad():
        classes = model(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model))).shape[1]
    if targets.size and not 0 <= targets.min() <= targets.max() < classes:
        found = f"{targets.min()}..{targets.max()}"
        raise ConfigError(f"expected classes in 0..{classes - 1}, found {found}", parameter="targets")

"""Real faces that maximize objectives, to compare synthesized images with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.terminal.progress import Advance
from fer_explain.layers.activations import layer_outputs
from fer_explain.maximization.objectives import Objectives


@dataclass(frozen=True)
class FaceMaxima:
    """Maxima of N objectives over real faces.

    Attributes
    ----------
    values : ndarray of float32, shape (N,)
        Maximum of each objective, averaged over positions within a face.
    rows : ndarray of int64, shape (N,)
        Row number of the face of each maximum; the first one of ties.
    n : int
        Number of faces.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    n: int


def maxima_on_faces(
    model: nn.Module, objectives: Objectives, faces: Faces, *, advance: Advance | None = None
) -> FaceMaxima:
    """Find the face that maximizes each objective.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    objectives : Objectives
        Objectives of one of its layers.
    faces : Faces
        At least one face.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    FaceMaxima
    """
    values = np.concatenate(
        [objectives.values(outputs).cpu().numpy() for outputs in layer_outputs(model, objectives.layer, faces, advance)]
    )
    best = values.argmax(0)
    return FaceMaxima(values[best, np.arange(len(objectives))], faces.rows[best], len(faces))

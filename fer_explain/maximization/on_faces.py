"""The real faces on which each objective is highest."""

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
class Highest:
    """The highest that real faces reach, for N objectives.

    Attributes
    ----------
    values : ndarray of float32, shape (N,)
        The objective, averaged over its places, on the face where it is highest.
    rows : ndarray of int64, shape (N,)
        Row number of that face; the first of equal ones.
    n : int
        How many faces were looked at.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    n: int


def highest_on_faces(
    model: nn.Module, objectives: Objectives, faces: Faces, *, advance: Advance | None = None
) -> Highest:
    """Find the face that each objective is highest on.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    objectives : Objectives
        Of one of its layers.
    faces : Faces
        At least one.
    advance : callable, optional
        Called with the number of faces just done.

    Returns
    -------
    Highest
    """
    values = np.concatenate(
        [objectives.of_all(outputs).cpu().numpy() for outputs in layer_outputs(model, objectives.layer, faces, advance)]
    )
    best = values.argmax(0)
    return Highest(values[best, np.arange(len(objectives))], faces.rows[best], len(faces))

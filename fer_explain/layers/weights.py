"""Filter weights: cosine similarity, and images of two-dimensional weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, PIXELS
from fer_explain.layers.structure import Layer
from fer_explain.plots import value_limits
from fer_explain.sheets import SMALL_TILE, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def weight_cosines(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarity of filters, float64 (C, C), for weights (C, ...); 0 for a filter of zeros."""
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    cosines: NDArray[np.float64] = np.clip(unit @ unit.T, -1, 1)
    return cosines


def weights_of(model: nn.Module, layer: Layer) -> NDArray[np.float32] | None:
    """Return the weights of a layer: float32 (C, inputs, height, width) or (C, inputs); None if it has none.

    The weights of a dense first layer, whose inputs are the pixels, have the shape (C, 1, 48, 48).
    """
    weight = getattr(model.get_submodule(layer.name), "weight", None)
    if weight is None:
        return None
    values: NDArray[np.float32] = weight.detach().float().cpu().numpy()
    on_pixels = values.ndim == 2 and layer.index == 0 and values.shape[1] == PIXELS
    return values.reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE) if on_pixels else values


def weight_sheet(weights: NDArray[np.float32], layer: Layer, inputs: Sequence[int]) -> Figure:
    """Draw the two-dimensional weights of a layer on one diverging color scale.

    Parameters
    ----------
    weights : ndarray of float32, shape (C, channels, height, width)
        Weights as `weights_of` returns them.
    layer : Layer
        Layer of these weights.
    inputs : sequence of int
        Input channels to draw for each filter.

    Returns
    -------
    matplotlib.figure.Figure
    """
    selected = weights[:, list(inputs)]
    tiles = selected.reshape(-1, *selected.shape[2:])
    single = weights.shape[1] == 1
    captions = [str(c) if single else f"{c}, input {i}" for c in range(len(weights)) for i in inputs]
    title = f"Layer {layer.index}: {layer.name} ({layer.kind}), weights"
    low, high = value_limits(tiles, 100)
    return sheet(tiles, captions, title, limits=(min(low, -high), high), scale_label="weight", tile_pixels=SMALL_TILE)

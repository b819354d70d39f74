"""The weights of a layer's filters: as pictures where they are two-dimensional, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, PIXELS
from fer_explain.layers.structure import Layer
from fer_explain.plots import sheet, value_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def weight_cosines(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines between filters of weights (C, ...), float64 (C, C); 0 where all weights of one are 0."""
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    cosines: NDArray[np.float64] = np.clip(unit @ unit.T, -1, 1)
    return cosines


def weights_of(model: nn.Module, layer: Layer) -> NDArray[np.float32] | None:
    """Return a layer's own weights, float32 (C, ...): (C, inputs, height, width) or (C, inputs); None without any.

    Those of a dense layer that is given the pixels themselves are pictures: (C, 1, 48, 48).
    """
    weight = getattr(model.get_submodule(layer.name), "weight", None)
    if weight is None:
        return None
    values: NDArray[np.float32] = weight.detach().float().cpu().numpy()
    on_pixels = values.ndim == 2 and layer.index == 0 and values.shape[1] == PIXELS
    return values.reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE) if on_pixels else values


def weight_sheet(weights: NDArray[np.float32], layer: Layer, inputs: Sequence[int]) -> Figure:
    """Draw the 2-D weights of a layer's filters on one signed scale.

    Parameters
    ----------
    weights : ndarray of float32, shape (C, channels, height, width)
        As `weights_of` returns them.
    layer : Layer
        Whose.
    inputs : sequence of int
        Which input channels to draw of each filter.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = weights[:, list(inputs)]
    tiles = chosen.reshape(-1, *chosen.shape[2:])
    single = weights.shape[1] == 1
    captions = [str(c) if single else f"{c}, input {i}" for c in range(len(weights)) for i in inputs]
    title = f"Layer {layer.index}: {layer.name} ({layer.kind}), weights"
    low, high = value_limits(tiles, 100)
    return sheet(tiles, captions, title, limits=(min(low, -high), high), scale_label="weight", tile_pixels=48)

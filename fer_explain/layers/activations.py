"""Channel activations over a data set: maxima, their positions, and activation frequency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import Faces
from fer_core.terminal.progress import Advance
from fer_explain.layers.structure import Layer, device_of, evaluation_mode, run_to

BATCH_SIZE: Final = 64
"""Faces per forward pass; it changes speed and memory, not the results."""


@dataclass(frozen=True)
class Activations:
    """Statistics of the C channels of a layer over N faces.

    Attributes
    ----------
    n : int
        Number of faces.
    top_values : ndarray of float32, shape (C, top)
        Largest activations of each channel, at most one per face, in descending order.
    top_rows : ndarray of int64, shape (C, top)
        Row numbers of these faces; ties are in file order.
    top_positions : ndarray of int64, shape (C, top, 2)
        Positions (y, x) of these maxima in the layer, the first one of ties; (0, 0) for a dense layer.
    active : ndarray of float64, shape (C,)
        Fraction of all positions of all faces with an activation above zero.
    correlation : ndarray of float64, shape (C, C)
        Pearson correlation over all positions of all faces; 0 for a constant channel.
    """

    n: int
    top_values: NDArray[np.float32]
    top_rows: NDArray[np.int64]
    top_positions: NDArray[np.int64]
    active: NDArray[np.float64]
    correlation: NDArray[np.float64]


def measure_activations(
    model: nn.Module, layer: Layer, faces: Faces, *, top: int = 9, advance: Advance | None = None
) -> Activations:
    """Measure the activations of a layer over faces.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : Layer
        One of its layers.
    faces : Faces
        At least one face.
    top : int
        Number of top-activating faces to keep per channel; fewer if there are fewer faces.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    Activations
    """
    channels = layer.shape[0]
    maxima, positions = [], []
    active = torch.zeros(channels, dtype=torch.float64)
    sums = torch.zeros(channels, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    for outputs in layer_outputs(model, layer, faces, advance):
        flat = outputs.flatten(2) if outputs.ndim == 4 else outputs[:, :, None]
        maximum, position = flat.max(2)
        maxima.append(maximum.cpu())
        positions.append(position.cpu())
        values = flat.transpose(0, 1).flatten(1).double()
        active += (values > 0).sum(1).cpu()
        sums += values.sum(1).cpu()
        products += (values @ values.T).cpu()
    per_face = torch.cat(maxima)
    order = per_face.argsort(dim=0, descending=True, stable=True)[:top]
    top_positions = torch.cat(positions).gather(0, order).T.numpy()
    width = layer.shape[2] if len(layer.shape) == 3 else 1
    count = len(faces) * int(np.prod(layer.shape[1:]))
    return Activations(
        n=len(faces),
        top_values=per_face.gather(0, order).T.numpy(),
        top_rows=faces.rows[order.T.numpy()],
        top_positions=np.stack(np.divmod(top_positions, width), 2),
        active=(active / count).numpy(),
        correlation=_correlation(products / count, sums / count),
    )


def layer_outputs(model: nn.Module, layer: Layer, faces: Faces, advance: Advance | None) -> Iterator[Tensor]:
    """Yield the outputs of a layer for each batch of faces."""
    images = torch.from_numpy(np.ascontiguousarray(faces.images)).unsqueeze(1)
    with evaluation_mode(model), torch.no_grad():
        for batch in torch.split(images, BATCH_SIZE):
            yield run_to(model, layer, batch.to(device_of(model)).float())[1]
            if advance is not None:
                advance(len(batch))


def _correlation(products: Tensor, means: Tensor) -> NDArray[np.float64]:
    """Return the Pearson correlation, float64 (C, C), from mean products and means of C channels."""
    covariance = products - means.outer(means)
    variance = covariance.diagonal()
    # Rounding errors leave a constant channel with a variance that is small relative to its mean square.
    varies = variance > 1e-10 * products.diagonal()
    deviation = torch.where(varies, variance, 1.0).sqrt()
    correlation = torch.where(varies.outer(varies), covariance / deviation.outer(deviation), 0.0)
    clipped: NDArray[np.float64] = correlation.clamp(-1, 1).numpy()
    return clipped

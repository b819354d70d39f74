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
"""Faces passed through the network at once; it changes speed and memory, not the results."""

MOST_FACES: Final = 4096
"""Faces of a file that are looked at unless more are asked for, the first of them."""


@dataclass(frozen=True)
class Activity:
    """What the C channels of a layer do on N faces.

    Attributes
    ----------
    n : int
        How many faces were looked at.
    top_values : ndarray of float32, shape (C, top)
        The highest outputs of each channel, at most one a face, falling.
    top_rows : ndarray of int64, shape (C, top)
        Row numbers of these faces; of equal ones the first.
    top_places : ndarray of int64, shape (C, top, 2)
        Where in the layer that is, (y, x), the first of equal places; (0, 0) in a dense layer.
    active : ndarray of float64, shape (C,)
        Share of all places of all faces at which the output is above zero.
    correlation : ndarray of float64, shape (C, C)
        Pearson's, over all places of all faces; 0 where a channel is constant.
    """

    n: int
    top_values: NDArray[np.float32]
    top_rows: NDArray[np.int64]
    top_places: NDArray[np.int64]
    active: NDArray[np.float64]
    correlation: NDArray[np.float64]


def activity_on_faces(
    model: nn.Module, layer: Layer, faces: Faces, *, top: int = 9, advance: Advance | None = None
) -> Activity:
    """Watch a layer while faces pass through the network.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : Layer
        Of this network.
    faces : Faces
        At least one.
    advance : callable, optional
        Called with the number of faces just done.
    top : int
        How many faces to keep for each channel; fewer where there are fewer faces.

    Returns
    -------
    Activity
    """
    channels = layer.shape[0]
    peaks, places = [], []
    active = torch.zeros(channels, dtype=torch.float64)
    sums = torch.zeros(channels, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    for outputs in layer_outputs(model, layer, faces, advance):
        flat = outputs.flatten(2) if outputs.ndim == 4 else outputs[:, :, None]
        peak, place = flat.max(2)
        peaks.append(peak.cpu())
        places.append(place.cpu())
        values = flat.transpose(0, 1).flatten(1).double()
        active += (values > 0).sum(1).cpu()
        sums += values.sum(1).cpu()
        products += (values @ values.T).cpu()
    best = torch.cat(peaks)
    order = best.argsort(dim=0, descending=True, stable=True)[:top]
    top_places = torch.cat(places).gather(0, order).T.numpy()
    width = layer.shape[2] if len(layer.shape) == 3 else 1
    count = len(faces) * int(np.prod(layer.shape[1:]))
    return Activity(
        n=len(faces),
        top_values=best.gather(0, order).T.numpy(),
        top_rows=faces.rows[order.T.numpy()],
        top_places=np.stack(np.divmod(top_places, width), 2),
        active=(active / count).numpy(),
        correlation=_correlation(products / count, sums / count),
    )


def layer_outputs(model: nn.Module, layer: Layer, faces: Faces, advance: Advance | None) -> Iterator[Tensor]:
    """Yield the outputs of a layer for each batch of the faces."""
    images = torch.from_numpy(np.ascontiguousarray(faces.images)).unsqueeze(1)
    with evaluation_mode(model), torch.no_grad():
        for batch in torch.split(images, BATCH_SIZE):
            yield run_to(model, layer, batch.to(device_of(model)).float())[1]
            if advance is not None:
                advance(len(batch))


def _correlation(products: Tensor, means: Tensor) -> NDArray[np.float64]:
    """Return Pearson's correlation, float64 (C, C), from the mean products and the means of C channels."""
    covariance = products - means.outer(means)
    variance = covariance.diagonal()
    # What is left of a constant channel is the rounding of its mean square.
    varies = variance > 1e-10 * products.diagonal()
    deviation = torch.where(varies, variance, 1.0).sqrt()
    correlation = torch.where(varies.outer(varies), covariance / deviation.outer(deviation), 0.0)
    clipped: NDArray[np.float64] = correlation.clamp(-1, 1).numpy()
    return clipped

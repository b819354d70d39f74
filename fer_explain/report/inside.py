"""What a report computes about the network itself: its first filters, one layer's outputs, and what units answer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.progress import progress
from fer_explain.activity import activity_on_faces
from fer_explain.ascent import AscentConfig, Maximization, maximize_channels
from fer_explain.feature_maps import layer_output, names_of_units
from fer_explain.filters import patch_mosaics
from fer_explain.layers import Layer, list_layers
from fer_explain.proof import Proven
from fer_explain.receptive_field import receptive_field
from fer_explain.weights import weights_of

MOST_FILTERS: Final = 48
"""First filters shown; `fer-explain filters` does them all."""
MOST_CLIMBED: Final = 24
"""Channels of the layer that are climbed for; `fer-explain maximize` does them all."""
MOST_FACES: Final = 1024
"""Faces among which a filter looks for what wakes it most."""


@dataclass(frozen=True)
class FirstFilters:
    """The weights of the first layer, as pictures.

    Attributes
    ----------
    layer : Layer
        The first with weights.
    weights : ndarray of float32, shape (F, height, width)
        Of its first F units.
    patches : ndarray of uint8, shape (F, height, width, 3), or None
        What each saw of the faces on which it was highest; None where every unit sees the whole face.
    faces : int
        How many faces were looked at for that.
    """

    layer: Layer
    weights: NDArray[np.float32]
    patches: NDArray[np.uint8] | None
    faces: int


@dataclass(frozen=True)
class Inside:
    """A network looked into.

    Attributes
    ----------
    layer : Layer
        Whose outputs are shown.
    row : int
        Row number of the face whose `outputs` are shown.
    outputs : ndarray of float32, shape (channels, height, width) or (units,)
        Of that face.
    maximization : Maximization
        What the layer's first channels answer to.
    classes : Maximization or None
        What each class's logit answers to; None where the network does not end in a dense layer of the classes.
    filters : FirstFilters or None
        None where the weights of the first layer are no pictures.
    """

    layer: Layer
    row: int
    outputs: NDArray[np.float32]
    maximization: Maximization
    classes: Maximization | None
    filters: FirstFilters | None


def look_inside(proven: Proven, layer: Layer, shown: Faces, faces: Faces, *, seed: int = 0) -> Inside:
    """Look into a network.

    Parameters
    ----------
    proven : Proven
        The network.
    layer : Layer
        Whose outputs and channels to show.
    shown : Faces
        The first of them passes through the layer.
    faces : Faces
        Among which the first filters look for what wakes them.
    seed : int
        Of the gradient ascents.
    """
    network = proven.network
    last = list_layers(network)[-1]
    outputs = layer_output(network, shown.images[0], layer.name)
    climbed = _climb(network, layer, seed)
    classes = _climb(network, last, seed) if names_of_units(last, proven.card.labels) else None
    filters = _first_filters(network, faces.take(slice(MOST_FACES)))
    return Inside(layer, int(shown.rows[0]), outputs, climbed, classes, filters)


def _climb(network: nn.Module, layer: Layer, seed: int) -> Maximization:
    config = AscentConfig(seed=seed)
    channels = range(min(layer.shape[0], MOST_CLIMBED))
    with progress(f"maximize {layer.name}", config.steps * len(channels), "steps") as advance:
        return maximize_channels(network, layer.name, channels, config, advance=advance)


def _first_filters(network: nn.Module, faces: Faces) -> FirstFilters | None:
    layers = list_layers(network)
    layer = next(each for each in layers if each.kind in ("Conv2d", "Linear"))
    weights = weights_of(network, layer)
    if weights is None or weights.ndim != 4 or weights.shape[1] != 1:
        return None
    field = receptive_field(network, layer)
    patches = None
    if not field.whole:
        with progress(f"faces through {layer.name}", len(faces)) as advance:
            activity = activity_on_faces(network, layer, faces, advance=advance)
        patches = patch_mosaics(faces, field, activity)[:MOST_FILTERS]
    return FirstFilters(layer, weights[:MOST_FILTERS, 0], patches, len(faces))


def default_layer(network: nn.Module) -> Layer:
    """Return the last activation before the first pooling, whose patterns are still as fine as the face.

    Without pooling it is the first activation, and without any activation the first layer.
    """
    layers = list_layers(network)
    pooling = next((layer.index for layer in layers if "Pool" in layer.kind), None)
    activations = [layer for layer in layers if layer.kind == "ReLU"]
    before = [layer for layer in activations if pooling is not None and layer.index < pooling]
    return (before[-1:] or activations[:1] or list(layers))[0]

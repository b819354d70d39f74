"""What a report computes about the network itself: its first filters, one layer's outputs, and what units answer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.terminal.progress import progress
from fer_explain.layers.activations import Activity
from fer_explain.layers.feature_maps import layer_output
from fer_explain.layers.filters import FilterReport, examine_filters
from fer_explain.layers.patches import patch_mosaics
from fer_explain.layers.structure import Layer, list_layers, logits_layer
from fer_explain.layers.weights import weights_of
from fer_explain.maximization.ascent import AscentConfig, Maximization, maximize_channels
from fer_explain.maximization.on_faces import Highest, highest_on_faces
from fer_explain.report.face_maps import evenly
from fer_explain.verification import VerifiedModel

MOST_FILTERS: Final = 48
"""First filters shown; `fer-explain filters` does them all."""
MOST_CLIMBED: Final = 24
"""Channels of the layer that are climbed for; `fer-explain maximize` does them all."""
MOST_FACES: Final = 512
"""Faces, spread over the file, that the layers are watched on."""


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
    found : FilterReport
        Which of all its units are dead or duplicates.
    """

    layer: Layer
    weights: NDArray[np.float32]
    patches: NDArray[np.uint8] | None
    found: FilterReport


@dataclass(frozen=True)
class Climbed:
    """Images climbed to, and what real faces reach of the same.

    Attributes
    ----------
    images : Maximization
        Of a layer's first channels, or of the classes.
    highest : Highest
        One for each of them.
    """

    images: Maximization
    highest: Highest


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
    found : FilterReport
        Which of its channels are dead or duplicates.
    climbed : Climbed
        What the layer's first channels answer to.
    classes : Climbed or None
        What each class's logit answers to; None where no layer gives the logits, as in an ensemble.
    filters : FirstFilters or None
        None where the weights of the first layer are no pictures.
    """

    layer: Layer
    row: int
    outputs: NDArray[np.float32]
    found: FilterReport
    climbed: Climbed
    classes: Climbed | None
    filters: FirstFilters | None


def look_inside(proven: VerifiedModel, layer: Layer, shown: Faces, faces: Faces, *, seed: int = 0) -> Inside:
    """Look into a network.

    Parameters
    ----------
    proven : VerifiedModel
        The network.
    layer : Layer
        Whose outputs and channels to show.
    shown : Faces
        The first of them passes through the layer.
    faces : Faces
        The layers are watched on some of them, spread over all.
    seed : int
        Of the gradient ascents.
    """
    network, watched = proven.network, faces.take(evenly(np.arange(len(faces)), MOST_FACES))
    last = logits_layer(network)
    outputs = layer_output(network, shown.images[0], layer.name)
    found, _ = _examine(network, layer, watched)
    climbed = _climb(network, layer, watched, seed)
    classes = None if last is None else _climb(network, last, watched, seed)
    return Inside(layer, int(shown.rows[0]), outputs, found, climbed, classes, _first_filters(network, watched))


def _examine(network: nn.Module, layer: Layer, faces: Faces) -> tuple[FilterReport, Activity]:
    with progress(f"faces through {layer.name}", len(faces)) as advance:
        return examine_filters(network, layer, faces, advance=advance)


def _climb(network: nn.Module, layer: Layer, faces: Faces, seed: int) -> Climbed:
    config = AscentConfig(seed=seed)
    channels = range(min(layer.shape[0], MOST_CLIMBED))
    with progress(f"maximize {layer.name}", config.steps * len(channels), "steps") as advance:
        images = maximize_channels(network, layer.name, channels, config, advance=advance)
    with progress(f"highest of {layer.name}", len(faces)) as advance:
        return Climbed(images, highest_on_faces(network, images.objectives, faces, advance=advance))


def _first_filters(network: nn.Module, faces: Faces) -> FirstFilters | None:
    layer = next(each for each in list_layers(network) if each.kind in ("Conv2d", "Linear"))
    weights = weights_of(network, layer)
    if weights is None or weights.ndim != 4 or weights.shape[1] != 1:
        return None
    found, activity = _examine(network, layer, faces)
    patches = None if found.field.whole else patch_mosaics(faces, found.field, activity)[:MOST_FILTERS]
    return FirstFilters(layer, weights[:MOST_FILTERS, 0], patches, found)


def default_layer(network: nn.Module) -> Layer:
    """Return the last activation before the first pooling, whose patterns are still as fine as the face.

    Without pooling it is the first activation, and without any activation the first layer.
    """
    layers = list_layers(network)
    pooling = next((layer.index for layer in layers if "Pool" in layer.kind), None)
    activations = [layer for layer in layers if layer.kind == "ReLU"]
    before = [layer for layer in activations if pooling is not None and layer.index < pooling]
    return (before[-1:] or activations[:1] or list(layers))[0]

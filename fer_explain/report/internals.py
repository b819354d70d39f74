"""What a report shows of the network itself: first filters, outputs of one layer, and maximized units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.terminal.progress import progress
from fer_explain.config import AscentConfig
from fer_explain.layers.activations import Activations
from fer_explain.layers.feature_maps import layer_output
from fer_explain.layers.filters import FilterReport, examine_filters
from fer_explain.layers.patches import patch_mosaics
from fer_explain.layers.structure import Layer, list_layers, logits_layer
from fer_explain.layers.weights import weights_of
from fer_explain.maximization.ascent import Maximization, maximize_channels
from fer_explain.maximization.on_faces import FaceMaxima, maxima_on_faces
from fer_explain.report.face_maps import evenly
from fer_explain.verification import VerifiedModel

MAX_FILTERS: Final = 48
"""First-layer filters shown; `fer-explain filters` shows all."""
MAX_CHANNELS: Final = 24
"""Channels of the layer that are maximized; `fer-explain maximize` maximizes all."""
MAX_FACES: Final = 512
"""Faces on which activations are measured, spread evenly over the data."""


@dataclass(frozen=True)
class FirstFilters:
    """Weights of the first layer as images.

    Attributes
    ----------
    layer : Layer
        First layer with weights.
    weights : ndarray of float32, shape (F, height, width)
        Weights of its first F units.
    patches : ndarray of uint8, shape (F, height, width, 3), or None
        Patches that activate each unit most; None if the receptive field is the whole image.
    findings : FilterReport
        Dead and duplicate filters among all units.
    """

    layer: Layer
    weights: NDArray[np.float32]
    patches: NDArray[np.uint8] | None
    findings: FilterReport


@dataclass(frozen=True)
class MaximizedUnits:
    """Synthesized images that maximize units, and the maxima of the same units on real faces."""

    images: Maximization
    maxima: FaceMaxima


@dataclass(frozen=True)
class Internals:
    """Results about the network itself.

    Attributes
    ----------
    layer : Layer
        The layer whose outputs and channels are shown.
    row : int
        Row number of the face of `outputs`.
    outputs : ndarray of float32, shape (channels, height, width) or (units,)
        Output of the layer for this face.
    findings : FilterReport
        Dead and duplicate channels of the layer.
    channels : MaximizedUnits
        Maximized channels of the layer, the first ones.
    classes : MaximizedUnits or None
        Maximized logits; None if the outputs of the last layer are not the logits, as in an ensemble.
    first_filters : FirstFilters or None
        None if the weights of the first layer are not images.
    """

    layer: Layer
    row: int
    outputs: NDArray[np.float32]
    findings: FilterReport
    channels: MaximizedUnits
    classes: MaximizedUnits | None
    first_filters: FirstFilters | None


def examine_network(verified: VerifiedModel, layer: Layer, shown: Faces, faces: Faces, *, seed: int = 0) -> Internals:
    """Compute what a report shows of a network.

    Parameters
    ----------
    verified : VerifiedModel
        The verified model.
    layer : Layer
        Layer whose outputs and channels are shown.
    shown : Faces
        The layer's outputs are shown for the first of these faces.
    faces : Faces
        Activations are measured on some of these faces, spread evenly.
    seed : int
        Random seed of activation maximization.
    """
    network = verified.network
    sample = faces.take(evenly(np.arange(len(faces)), MAX_FACES))
    last = logits_layer(network)
    findings, _ = _examine(network, layer, sample)
    return Internals(
        layer,
        int(shown.rows[0]),
        layer_output(network, shown.images[0], layer.name),
        findings,
        _maximize(network, layer, sample, seed),
        None if last is None else _maximize(network, last, sample, seed),
        _first_filters(network, sample),
    )


def _examine(network: nn.Module, layer: Layer, faces: Faces) -> tuple[FilterReport, Activations]:
    with progress(f"activations of {layer.name}", len(faces)) as advance:
        return examine_filters(network, layer, faces, advance=advance)


def _maximize(network: nn.Module, layer: Layer, faces: Faces, seed: int) -> MaximizedUnits:
    config = AscentConfig(seed=seed)
    channels = range(min(layer.shape[0], MAX_CHANNELS))
    with progress(f"maximize {layer.name}", config.steps * len(channels), "steps") as advance:
        images = maximize_channels(network, layer.name, channels, config, advance=advance)
    with progress(f"maxima of {layer.name}", len(faces)) as advance:
        return MaximizedUnits(images, maxima_on_faces(network, images.objectives, faces, advance=advance))


def _first_filters(network: nn.Module, faces: Faces) -> FirstFilters | None:
    layer = next(each for each in list_layers(network) if each.kind in ("Conv2d", "Linear"))
    weights = weights_of(network, layer)
    if weights is None or weights.ndim != 4 or weights.shape[1] != 1:
        return None
    findings, activations = _examine(network, layer, faces)
    patches = None
    if not findings.field.whole:
        patches = patch_mosaics(faces, findings.field, activations)[:MAX_FILTERS]
    return FirstFilters(layer, weights[:MAX_FILTERS, 0], patches, findings)


def default_layer(network: nn.Module) -> Layer:
    """Return the last activation before the first pooling, where the spatial resolution is still high.

    Without pooling it is the first activation, and without activations the first layer.
    """
    layers = list_layers(network)
    pooling = next((layer.index for layer in layers if "Pool" in layer.kind), None)
    activations = [layer for layer in layers if layer.kind == "ReLU"]
    before = [layer for layer in activations if pooling is not None and layer.index < pooling]
    return (before[-1:] or activations[:1] or list(layers))[0]

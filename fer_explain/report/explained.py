"""What a report computes about its faces and about one layer: numbers only, no page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.progress import progress
from fer_explain.ascent import AscentConfig, Maximization, maximize_channels
from fer_explain.attribution import METHODS, Method, Settings, attributions_of
from fer_explain.feature_maps import layer_output
from fer_explain.layers import Layer, list_layers
from fer_explain.preflight import require_suited
from fer_explain.proof import Proven
from fer_explain.saliency_mask import masked_face, salient_mask
from fer_train.prediction import predict_logits, softmax

SCORED_AT_ONCE: Final = 512
MAXIMIZED_CHANNELS: Final = 48
"""Channels a report climbs for at most; `fer-explain maximize` does them all."""


@dataclass(frozen=True)
class ExplainedFaces:
    """The faces that a report shows, N of them.

    Attributes
    ----------
    faces : Faces
        Themselves.
    logits, probabilities : ndarray of float32, shape (N, classes)
        Of the PyTorch original.
    method : Method
        Of the maps.
    targets, others : ndarray of int64, shape (N,)
        The predicted class; and the true one where that is known and another, else the second most probable.
    attributions, other_attributions : ndarray of float32, shape (N, 48, 48)
        Maps of the logits of `targets` and of `others`.
    masked : ndarray of uint8, shape (N, 48, 48)
        Faces of which only the pixels salient to the predicted class are left.
    share : float
        Share of the pixels that are left.
    """

    faces: Faces
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    method: Method
    targets: NDArray[np.int64]
    others: NDArray[np.int64]
    attributions: NDArray[np.float32]
    other_attributions: NDArray[np.float32]
    masked: NDArray[np.uint8]
    share: float


@dataclass(frozen=True)
class Inside:
    """One layer, seen from both sides.

    Attributes
    ----------
    layer : Layer
        Which.
    row : int
        Row number of the face whose `outputs` are shown.
    outputs : ndarray of float32, shape (channels, height, width) or (units,)
        Of that face.
    maximization : Maximization
        What its first channels answer to.
    """

    layer: Layer
    row: int
    outputs: NDArray[np.float32]
    maximization: Maximization


def score_faces(proven: Proven, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return probabilities, float32 (N, classes): of the graph that scores, else of the PyTorch original."""
    parts = []
    with progress("score", len(images)) as advance:
        for start in range(0, len(images), SCORED_AT_ONCE):
            batch = images[start : start + SCORED_AT_ONCE]
            if proven.scorer is not None:
                parts.append(proven.scorer.score(batch))
            else:
                parts.append(softmax(predict_logits(proven.network, batch)))
            advance(len(batch))
    return np.concatenate(parts)


def explain_faces(proven: Proven, faces: Faces, *, method: str = "saliency", share: float = 0.2) -> ExplainedFaces:
    """Compute what a report shows of each face.

    Parameters
    ----------
    proven : Proven
        The network.
    faces : Faces
        Those to show, N of them.
    method : str
        Name in `fer_explain.attribution.METHODS`.
    share : float
        Share of the pixels that the masked face keeps, above 0 and at most 1.

    Returns
    -------
    ExplainedFaces
    """
    chosen = METHODS[method]
    require_suited(proven.network, chosen, Settings())
    logits = predict_logits(proven.network, faces.images)
    ranked = np.argsort(-logits, axis=1, kind="stable")
    targets, others = ranked[:, 0], ranked[:, 1]
    if faces.labels is not None:
        others = np.where(faces.labels != targets, faces.labels, others)
    maps = []
    with progress(chosen.name, 2 * len(faces), "maps") as advance:
        for classes in (targets, others):
            found = attributions_of(proven.network, chosen, faces.images, classes, advance=advance)
            maps.append(found["attributions"])
    masked = masked_face(faces.images, salient_mask(maps[0], share))
    return ExplainedFaces(faces, logits, softmax(logits), chosen, targets, others, maps[0], maps[1], masked, share)


def look_inside(proven: Proven, layer: Layer, faces: Faces, *, seed: int = 0) -> Inside:
    """Compute the layer's output for the first of `faces`, and the images that its first channels answer to."""
    config = AscentConfig(seed=seed)
    channels = range(min(layer.shape[0], MAXIMIZED_CHANNELS))
    outputs = layer_output(proven.network, faces.images[0], layer.name)
    with progress(f"maximize {layer.name}", config.steps * len(channels), "steps") as advance:
        found = maximize_channels(proven.network, layer.name, channels, config, advance=advance)
    return Inside(layer, int(faces.rows[0]), outputs, found)


def default_layer(network: nn.Module) -> Layer:
    """Return the last activation before the first pooling, whose patterns are still as fine as the face.

    Without pooling it is the first activation, and without any activation the first layer.
    """
    layers = list_layers(network)
    pooling = next((layer.index for layer in layers if "Pool" in layer.kind), None)
    activations = [layer for layer in layers if layer.kind == "ReLU"]
    before = [layer for layer in activations if pooling is not None and layer.index < pooling]
    return (before[-1:] or activations[:1] or list(layers))[0]

"""What a report computes about its faces: numbers only, no page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces, ModelError
from fer_core.terminal.progress import progress
from fer_explain.attribution import Method, Settings, attributions_of, find_method
from fer_explain.attribution.masks import masked_face, salient_mask
from fer_explain.attribution.preflight import preflight
from fer_explain.attribution.settings import DELTAS
from fer_explain.plots import normalize
from fer_explain.verification import Proven
from fer_train.prediction import predict_logits, softmax

SCORED_AT_ONCE: Final = 512
DEFAULT_METHODS: Final = ("saliency", "integrated-gradients", "grad-cam", "occlusion", "smoothgrad")
QUICK: Final[dict[str, Any]] = {"samples": 16, "window": 12, "stride": 6}
"""Settings of a report, which makes many maps: half the samples and two fifths of the squares of `attribute`'s."""
CLASS_FACES: Final = 32
"""Faces that the mean map of a class is taken over, at most."""


@dataclass(frozen=True)
class ChosenMethods:
    """The methods of a report, the first of which leads: it alone masks faces and makes mean maps.

    Attributes
    ----------
    methods : tuple of Method
        At least one.
    cautions : mapping of str to tuple of str
        Name of a method -> why it is less than exact on this network.
    left_out : mapping of str to str
        Name of a default method -> why it does not suit this network.
    """

    methods: tuple[Method, ...]
    cautions: dict[str, tuple[str, ...]]
    left_out: dict[str, str]


@dataclass(frozen=True)
class ExplainedFaces:
    """The faces that a report shows, N of them, by M methods.

    Attributes
    ----------
    faces : Faces
        Themselves.
    logits, probabilities : ndarray of float32, shape (N, classes)
        Logits of the PyTorch original, whose maps these are; probabilities as they were scored.
    methods : tuple of Method
        Of the maps.
    targets, others : ndarray of int64, shape (N,)
        The predicted class; and the true one where that is known and another, else the second most probable.
    attributions, other_attributions : ndarray of float32, shape (M, N, 48, 48)
        Maps of the logits of `targets` and of `others`.
    deltas, other_deltas : ndarray of float32, shape (M, N)
        By how much each misses the sum that its method promises, in logits; NaN where it promises none.
    masked, other_masked : ndarray of uint8, shape (N, 48, 48)
        Faces of which only the pixels salient to the class by the first method are left.
    share : float
        Share of the pixels that are left.
    seed : int
        Of all chance.
    """

    faces: Faces
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    methods: tuple[Method, ...]
    targets: NDArray[np.int64]
    others: NDArray[np.int64]
    attributions: NDArray[np.float32]
    other_attributions: NDArray[np.float32]
    deltas: NDArray[np.float32]
    other_deltas: NDArray[np.float32]
    masked: NDArray[np.uint8]
    other_masked: NDArray[np.uint8]
    share: float
    seed: int


@dataclass(frozen=True)
class ClassMeans:
    """What the faces predicted as each of C classes have in common.

    Attributes
    ----------
    counts : tuple of int
        Faces that the means are over; 0 where nothing was predicted as the class.
    faces : ndarray of uint8, shape (C, 48, 48)
        Mean faces; black where there are none.
    attributions : ndarray of float32, shape (C, 48, 48)
        Means of the maps, each normalized by itself first, so that no face outvotes the others.
    """

    counts: tuple[int, ...]
    faces: NDArray[np.uint8]
    attributions: NDArray[np.float32]


def choose_methods(network: nn.Module, names: Sequence[str] | None) -> ChosenMethods:
    """Choose the methods of a report.

    Parameters
    ----------
    network : torch.nn.Module
        The one explained.
    names : sequence of str or None
        Names in the registry; without them, those of `DEFAULT_METHODS` that suit the network.

    Raises
    ------
    ConfigError
        If there is no such method.
    ModelError
        If a method that was asked for, or every default one, would draw wrong maps of the network.
    """
    methods = [find_method(name) for name in dict.fromkeys(names or DEFAULT_METHODS)]
    findings = preflight(network, methods=tuple(method.name for method in methods))
    refused = {name: each.message for each in findings if each.verdict == "refused" for name in each.methods}
    suited = tuple(method for method in methods if method.name not in refused)
    if not suited or (names and len(suited) < len(methods)):
        name = next(method.name for method in methods if method.name in refused)
        raise ModelError(f"{name}: {refused[name]}")
    cautions = {
        method.name: tuple(e.message for e in findings if e.verdict == "approximate" and method.name in e.methods)
        for method in suited
    }
    left_out = {method.name: refused[method.name] for method in methods if method.name in refused}
    return ChosenMethods(suited, cautions, left_out)


def settings_of(method: Method, seed: int) -> Settings:
    """Return the settings with which a report uses a method."""
    wanted = {**QUICK, "seed": seed}
    return replace(Settings(), **{name: value for name, value in wanted.items() if name in method.uses})


def score_faces(proven: Proven, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return probabilities, float32 (N, classes): of the graph that scores, else of the PyTorch original."""
    parts = []
    with progress("score", len(images)) as advance:
        for start in range(0, len(images), SCORED_AT_ONCE):
            batch = images[start : start + SCORED_AT_ONCE]
            if proven.scorer is not None:
                parts.append(proven.scorer.run(batch)[1])
            else:
                parts.append(softmax(predict_logits(proven.network, batch), proven.temperature))
            advance(len(batch))
    return np.concatenate(parts)


def explain_faces(
    proven: Proven,
    faces: Faces,
    probabilities: NDArray[np.float32],
    methods: tuple[Method, ...],
    *,
    share: float = 0.2,
    seed: int = 0,
) -> ExplainedFaces:
    """Compute what a report shows of each face.

    Parameters
    ----------
    proven : Proven
        The network.
    faces : Faces
        Those to show, N of them.
    probabilities : ndarray of float32, shape (N, classes)
        Of these faces, as `score_faces` returns them.
    methods : tuple of Method
        That suit the network.
    share : float
        Share of the pixels that the masked face keeps, above 0 and at most 1.
    seed : int
        Of all chance.

    Returns
    -------
    ExplainedFaces
    """
    logits = predict_logits(proven.network, faces.images)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    targets, others = ranked[:, 0], ranked[:, 1]
    if faces.labels is not None:
        others = np.where(faces.labels != targets, faces.labels, others)
    maps = np.empty((2, len(methods), *faces.images.shape), np.float32)
    deltas = np.full(maps.shape[:3], np.nan, np.float32)
    for m, method in enumerate(methods):
        with progress(method.name, 2 * len(faces), "maps") as advance:
            for which, classes in enumerate((targets, others)):
                found = attributions_of(
                    proven.network,
                    method,
                    faces.images,
                    classes,
                    rows=faces.rows,
                    settings=settings_of(method, seed),
                    advance=advance,
                )
                maps[which, m] = found["attributions"]
                if DELTAS in found:
                    deltas[which, m] = found[DELTAS]
    masked, other_masked = (masked_face(faces.images, salient_mask(of_class[0], share)) for of_class in maps)
    return ExplainedFaces(
        faces,
        logits,
        probabilities,
        methods,
        targets,
        others,
        attributions=maps[0],
        other_attributions=maps[1],
        deltas=deltas[0],
        other_deltas=deltas[1],
        masked=masked,
        other_masked=other_masked,
        share=share,
        seed=seed,
    )


def mean_maps(
    proven: Proven, faces: Faces, predicted: NDArray[np.int64], method: Method, *, seed: int = 0
) -> ClassMeans:
    """Average, for each class, the maps of faces predicted as it, spread evenly over the file.

    Parameters
    ----------
    proven : Proven
        The network.
    faces : Faces
        N of them.
    predicted : ndarray of int64, shape (N,)
        Their predicted classes.
    method : Method
        That suits the network.
    seed : int
        Of all chance.

    Returns
    -------
    ClassMeans
    """
    classes = len(proven.card.labels)
    chosen = [evenly(np.flatnonzero(predicted == c), CLASS_FACES) for c in range(classes)]
    places = np.concatenate(chosen)
    with progress(f"mean {method.name}", len(places), "maps") as advance:
        maps = attributions_of(
            proven.network,
            method,
            faces.images[places],
            predicted[places],
            rows=faces.rows[places],
            settings=settings_of(method, seed),
            advance=advance,
        )["attributions"]
    scaled, of_class = normalize(maps), predicted[places]
    images = np.zeros((classes, *faces.images.shape[1:]), np.uint8)
    means = np.zeros(images.shape, np.float32)
    for c in set(of_class.tolist()):
        images[c] = np.rint(faces.images[places[of_class == c]].mean(axis=0))
        means[c] = scaled[of_class == c].mean(axis=0)
    return ClassMeans(tuple(map(len, chosen)), images, means)


def evenly(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Take at most so many of some places, the first and the last among them."""
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).round().astype(np.intp)]

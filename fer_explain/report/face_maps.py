"""Attribution maps of the faces shown in a report, and mean maps per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.outputs.map_colors import normalize
from fer_core.terminal.progress import progress
from fer_explain.attribution import Method, attributions_of, unfinished_maps
from fer_explain.attribution.masks import masked_face, salient_mask
from fer_explain.config import ReportConfig
from fer_explain.report.methods import settings_of
from fer_explain.report.predictions import ScoredFaces
from fer_explain.verification import VerifiedModel
from fer_infer.attribution.differentiable import DELTAS, ERRORS, SAMPLES
from fer_train.prediction import predict_logits

UNFINISHED: Final = "unfinished"
"""Name of the array that marks unfinished maps."""
MAX_FACES_PER_CLASS: Final = 32
"""Maximum number of faces in the mean map of a class."""


@dataclass(frozen=True)
class ExplainedClass:
    """Maps of one class per face, for N faces and M methods.

    Attributes
    ----------
    classes : ndarray of int64, shape (N,)
        Explained class of each face.
    attributions : ndarray of float32, shape (M, N, 48, 48)
        Maps of the logits of these classes.
    deltas : ndarray of float32, shape (M, N)
        Convergence delta of each map in logits; NaN for methods without completeness.
    samples : ndarray of int64, shape (M, N)
        Number of gradients that each map averages; 0 for methods without samples.
    errors : ndarray of float32, shape (M, N)
        Relative error of each map that averages gradients, else NaN.
    unfinished : ndarray of bool, shape (M, N)
        Maps whose error exceeds the setting at which their method stops.
    masked : ndarray of uint8, shape (N, 48, 48)
        Faces reduced to the pixels that are most salient for the class by the first method.
    """

    classes: NDArray[np.int64]
    attributions: NDArray[np.float32]
    deltas: NDArray[np.float32]
    samples: NDArray[np.int64]
    errors: NDArray[np.float32]
    unfinished: NDArray[np.bool_]
    masked: NDArray[np.uint8]


@dataclass(frozen=True)
class ExplainedFaces:
    """The N faces that a report shows, explained by M methods.

    Attributes
    ----------
    faces : Faces
        The faces.
    logits : ndarray of float32, shape (N, classes)
        Logits of the explained PyTorch network.
    probabilities : ndarray of float32, shape (N, classes)
        Predicted probabilities.
    methods : tuple of Method
        The methods.
    predicted : ExplainedClass
        Maps of the predicted classes.
    other : ExplainedClass
        Maps of the labeled class if the prediction is wrong, else of the second most probable class.
    config : ReportConfig
        Fraction of salient pixels and seed.
    """

    faces: Faces
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    methods: tuple[Method, ...]
    predicted: ExplainedClass
    other: ExplainedClass
    config: ReportConfig

    @property
    def sides(self) -> tuple[ExplainedClass, ExplainedClass]:
        """Maps of the predicted and of the other classes."""
        return self.predicted, self.other


@dataclass(frozen=True)
class ClassMeans:
    """Mean faces and mean maps of the faces predicted as each of C classes.

    Attributes
    ----------
    counts : tuple of int
        Number of faces per class; 0 for a class that is never predicted.
    faces : ndarray of uint8, shape (C, 48, 48)
        Mean faces; black for a class that is never predicted.
    attributions : ndarray of float32, shape (C, 48, 48)
        Means of the maps after normalization, so that each face has equal weight.
    positions : ndarray of int64, shape (P,)
        Positions of the averaged faces in the data.
    maps : ndarray of float32, shape (P, 48, 48)
        Their maps, before normalization.
    """

    counts: tuple[int, ...]
    faces: NDArray[np.uint8]
    attributions: NDArray[np.float32]
    positions: NDArray[np.int64]
    maps: NDArray[np.float32]


def explain_faces(
    verified: VerifiedModel,
    faces: Faces,
    probabilities: NDArray[np.float32],
    methods: tuple[Method, ...],
    config: ReportConfig | None = None,
    *,
    logits: NDArray[np.float32] | None = None,
) -> ExplainedFaces:
    """Compute the maps of the faces that a report shows.

    Parameters
    ----------
    verified : VerifiedModel
        The verified model.
    faces : Faces
        The N faces to explain.
    probabilities : ndarray of float32, shape (N, classes)
        Predicted probabilities of these faces.
    methods : tuple of Method
        Methods that suit the network.
    config : ReportConfig, optional
        Fraction of salient pixels and seed.
    logits : ndarray of float32, shape (N, classes), optional
        Logits of the network, if they are known already.

    Returns
    -------
    ExplainedFaces
    """
    config = config or ReportConfig()
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    predicted, other = ranked[:, 0], ranked[:, 1]
    if faces.labels is not None:
        other = np.where(faces.labels != predicted, faces.labels, other)
    if logits is None:
        logits = predict_logits(verified.network, faces.images)
    classes = np.stack([predicted, other], axis=1)
    found = []
    for method in methods:
        with progress(method.name, classes.size if method.needs_gradient else len(faces), "maps") as advance:
            maps = attributions_of(
                verified.network,
                method,
                faces.images,
                classes,
                rows=faces.rows,
                config=settings_of(method, config.seed),
                logits=logits,
                advance=advance,
            )
        found.append({**maps, UNFINISHED: unfinished_maps(method, settings_of(method, config.seed), maps)})
    sides = [_explained(faces, classes, found, side, config) for side in range(2)]
    return ExplainedFaces(faces, logits, probabilities, methods, sides[0], sides[1], config)


def _explained(
    faces: Faces, classes: NDArray[np.int64], found: list[dict[str, NDArray[Any]]], side: int, config: ReportConfig
) -> ExplainedClass:
    """Collect what each method found for one of two classes per face, (N, 2)."""

    def stacked(name: str, missing: float = np.nan) -> NDArray[Any]:
        absent = np.full(classes.shape, missing, np.float32)
        return np.stack([each.get(name, absent)[:, side] for each in found])

    return ExplainedClass(
        classes[:, side],
        attributions=stacked("attributions"),
        deltas=stacked(DELTAS),
        samples=stacked(SAMPLES, 0).astype(np.int64),
        errors=stacked(ERRORS),
        unfinished=stacked(UNFINISHED),
        masked=masked_face(faces.images, salient_mask(found[0]["attributions"][:, side], config.share)),
    )


def mean_maps(verified: VerifiedModel, scored: ScoredFaces, method: Method, *, seed: int = 0) -> ClassMeans:
    """Average the maps of faces predicted as each class; the faces are spread evenly over the data.

    Parameters
    ----------
    verified : VerifiedModel
        The verified model.
    scored : ScoredFaces
        Faces and predictions.
    method : Method
        A method that suits the network.
    seed : int
        Random seed of the method.

    Returns
    -------
    ClassMeans
    """
    faces, predicted = scored.faces, scored.predicted
    classes = len(verified.card.labels)
    chosen = [evenly(np.flatnonzero(predicted == c), MAX_FACES_PER_CLASS) for c in range(classes)]
    positions = np.concatenate(chosen)
    with progress(f"mean {method.name}", len(positions), "maps") as advance:
        maps = attributions_of(
            verified.network,
            method,
            faces.images[positions],
            predicted[positions],
            rows=faces.rows[positions],
            config=settings_of(method, seed),
            advance=advance,
        )["attributions"]
    scaled, of_class = normalize(maps), predicted[positions]
    images = np.zeros((classes, *faces.images.shape[1:]), np.uint8)
    means = np.zeros(images.shape, np.float32)
    for c in set(of_class.tolist()):
        images[c] = np.rint(faces.images[positions[of_class == c]].mean(axis=0))
        means[c] = scaled[of_class == c].mean(axis=0)
    return ClassMeans(tuple(map(len, chosen)), images, means, positions, maps)


def evenly(positions: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return at most `limit` positions, evenly spaced, including the first and the last."""
    if len(positions) <= limit:
        return positions
    return positions[np.linspace(0, len(positions) - 1, limit).round().astype(np.intp)]

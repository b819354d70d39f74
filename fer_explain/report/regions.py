"""Where on the face the maps of a report lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces, FerError
from fer_explain.config import RegionConfig
from fer_explain.evaluation.compared_maps import maps_of
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.regions.landmarks import is_located, locate_landmarks
from fer_explain.evaluation.regions.measurement import summarize
from fer_explain.evaluation.regions.picture import draw_regions, mean_face
from fer_explain.evaluation.regions.shares import measure_shares
from fer_explain.evaluation.regions.summary import RegionResults
from fer_explain.evaluation.skill import Skill
from fer_explain.report.face_maps import ClassMeans, ExplainedFaces
from fer_explain.report.predictions import ScoredFaces
from fer_explain.verification import VerifiedModel

CONTROLS_PER_MAP: Final = RegionConfig().controls
"""Matched controls of each map, as in `fer-explain regions`."""


@dataclass(frozen=True, eq=False)
class MeasuredRegions:
    """Where on the face the maps of a report lie.

    Attributes
    ----------
    reason : str
        Why this was not measured; empty if it was.
    by_class : RegionResults or None
        Maps of the first method, on the faces of the mean maps; None with `reason`.
    by_method : RegionResults or None
        Maps of the predicted classes by all methods, on the faces shown; None if fewer than two have landmarks.
    picture : ndarray of uint8, shape (H, W, 3), or None
        The regions on the mean face; None with `reason`.
    """

    reason: str = ""
    by_class: RegionResults | None = None
    by_method: RegionResults | None = None
    picture: NDArray[np.uint8] | None = None


def measure_regions(
    verified: VerifiedModel, scored: ScoredFaces, means: ClassMeans, explained: ExplainedFaces, skill: Skill
) -> MeasuredRegions:
    """Measure where the maps of a report lie, without further passes through the network.

    Parameters
    ----------
    verified : VerifiedModel
        The verified model.
    scored : ScoredFaces
        All faces.
    means : ClassMeans
        Maps of the first method, on faces predicted as each class.
    explained : ExplainedFaces
        Maps of all methods, on the faces shown.
    skill : Skill
        Whether the model is better than chance; if it is not, the regions are not measured.

    Returns
    -------
    MeasuredRegions
    """
    if not skill.shown:
        return MeasuredRegions(f"this model is {skill.title}")
    faces = scored.faces.take(means.positions)
    try:
        found = locate_landmarks(np.concatenate([faces.images, explained.faces.images]))
    except FerError as error:
        return MeasuredRegions(str(error))
    landmarks, shown_landmarks = np.split(found, [len(faces)])
    located = is_located(landmarks)
    if located.sum() < 2:
        return MeasuredRegions(f"landmarks were found in {located.sum()} of {len(located)} faces")
    first = {explained.methods[0].name: means.maps}
    shown = {method.name: explained.predicted.attributions[m] for m, method in enumerate(explained.methods)}
    seed = explained.config.seed
    by_class = _summarize(verified, first, faces, scored.predicted[means.positions], landmarks, seed)
    by_method = None
    if is_located(shown_landmarks).sum() > 1:
        by_method = _summarize(verified, shown, explained.faces, explained.predicted.classes, shown_landmarks, seed)
    picture = draw_regions(*mean_face(faces.images[located], landmarks[located]))
    return MeasuredRegions("", by_class, by_method, picture)


def _summarize(
    verified: VerifiedModel,
    maps: Mapping[str, NDArray[np.float32]],
    faces: Faces,
    classes: NDArray[np.int64],
    landmarks: NDArray[np.float64],
    seed: int,
) -> RegionResults:
    """Compare the regions of the faces that have landmarks, by these maps and by the controls."""
    located = is_located(landmarks)
    measured, classes_of_them = faces.take(np.flatnonzero(located)), classes[located]
    own = {method: attributions[located] for method, attributions in maps.items()}
    for control in CONTROLS:
        if control not in own:
            chosen = measured.images, classes_of_them, measured.rows
            own[control] = maps_of(control, verified.network, *chosen, seed=seed)
    shares = measure_shares(own, landmarks[located], measured.rows, controls=CONTROLS_PER_MAP, seed=seed)
    return summarize(shares, classes_of_them, verified.card.labels, faces.rows[~located], seed=seed)

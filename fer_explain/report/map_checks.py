"""Tests of a report's own maps: against matched controls, and against a model with fresh weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.terminal.progress import progress
from fer_explain.attribution import BATCH_SIZE, Method, attributions_of
from fer_explain.evaluation.compared_maps import Explain, maps_of
from fer_explain.evaluation.comparison import Gain
from fer_explain.evaluation.intervals import LEAST_FACES
from fer_explain.evaluation.matched import ControlComparison, compare_with_controls
from fer_explain.evaluation.metrics.deletion_insertion import CurveSettings
from fer_explain.evaluation.metrics.randomization import randomize, weight_stages
from fer_explain.evaluation.sanity import Verdict, fresh_network, judge
from fer_explain.evaluation.skill import Skill
from fer_explain.report.face_maps import ExplainedFaces, settings_of
from fer_explain.verification import VerifiedModel
from fer_train.prediction import predict_logits

SHARES: Final = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Shares of the pixels that are deleted and inserted, the same for map and controls: fewer than `faithfulness` uses,
and most of them early, where maps differ."""
BLUR_SIGMA: Final = 6.0
"""Blur of the face that insertion begins with, in pixels, as in `faithfulness`."""
RANDOM: Final = "random"
"""The control that is tested in the same way as the methods, and expected to be no different from its controls."""
SANITY_FACES: Final = LEAST_FACES


@dataclass(frozen=True)
class CheckedMaps:
    """Results of the tests of a report's maps.

    Attributes
    ----------
    skill : Skill
        Whether the model is better than chance. If it is not, nothing else is tested.
    compared : ControlComparison or None
        The maps of the predicted classes and those of ``random``, compared with matched controls; None where no face is
        shown or the model is not better than chance.
    gains : mapping of str to Gain
        By method, the mean over faces of insertion minus deletion, less that of the controls; empty where there are
        fewer than two faces.
    verdicts : mapping of str to Verdict
        Whether each method failed the sanity check; empty where the file has fewer than two faces.
    sanity_faces : int
        Number of faces of the sanity check.
    """

    skill: Skill
    compared: ControlComparison | None
    gains: Mapping[str, Gain]
    verdicts: Mapping[str, Verdict]
    sanity_faces: int


def check_maps(
    proven: VerifiedModel, explained: ExplainedFaces, faces: Faces, skill: Skill, *, seed: int = 0
) -> CheckedMaps:
    """Test the maps of the faces shown, and the methods on faces spread over the file.

    Parameters
    ----------
    proven : VerifiedModel
        The network.
    explained : ExplainedFaces
        Faces whose maps of the predicted class are tested by deletion and insertion.
    faces : Faces
        The whole file, from which the sanity check draws.
    skill : Skill
        Whether the model is better than chance; if it is not, its maps are not tested.
    seed : int
        Random seed.

    Returns
    -------
    CheckedMaps
    """
    if not skill.shown:
        return CheckedMaps(skill, None, {}, {}, 0)
    compared, gains = None, dict[str, Gain]()
    if len(explained.faces):
        compared = _compare(proven, explained, seed)
    if compared is not None and len(explained.faces) > 1:
        pairs = zip(compared.methods, compared.gains, strict=True)
        gains = {name: Gain.of(values, seed=seed) for name, values in pairs}
    places = np.unique(np.linspace(0, len(faces) - 1, SANITY_FACES).round().astype(np.intp))
    verdicts: dict[str, Verdict] = {}
    if len(places) > 1:
        verdicts = _judge(proven, explained.methods, faces.take(places), seed)
    return CheckedMaps(skill, compared, gains, verdicts, len(places) if verdicts else 0)


def _compare(proven: VerifiedModel, explained: ExplainedFaces, seed: int) -> ControlComparison:
    """Compare the maps of the predicted classes, and those of ``random``, with matched controls."""
    network, faces, targets = proven.network, explained.faces, explained.targets
    maps = {method.name: explained.attributions[m] for m, method in enumerate(explained.methods)}
    briefly = () if RANDOM in maps else (RANDOM,)
    if briefly:
        maps[RANDOM] = maps_of(RANDOM, network, faces.images, targets, faces.rows, seed=seed)
    with progress("deletion, insertion", len(maps) * len(faces), "maps") as advance:
        return compare_with_controls(
            network,
            maps,
            faces,
            targets,
            CurveSettings(np.array(SHARES), BLUR_SIGMA, BATCH_SIZE, proven.temperature),
            briefly=briefly,
            seed=seed,
            advance=advance,
        )


def _judge(proven: VerifiedModel, methods: tuple[Method, ...], faces: Faces, seed: int) -> dict[str, Verdict]:
    """Compare maps with those of wholly random weights, the last stage of `fer-explain sanity`."""
    network = proven.network
    targets = predict_logits(network, faces.images).argmax(axis=1).astype(np.int64)
    everything = tuple(name for group in weight_stages(network) for name in group)
    with progress("sanity", len(methods) * len(faces), "maps") as advance:
        checked = randomize(
            network,
            fresh_network(proven.card, seed),
            {method.name: _explainer(method, seed) for method in methods},
            faces.images,
            targets,
            faces.rows,
            stages=(everything,),
            advance=advance,
        )
    return {verdict.method: verdict for verdict in judge(checked, seed=seed)}


def _explainer(method: Method, seed: int) -> Explain:
    def explain(
        model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        settings = settings_of(method, seed)
        return attributions_of(model, method, images, targets, rows=rows, config=settings)["attributions"]

    return explain

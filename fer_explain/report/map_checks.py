"""Tests of the maps in a report: comparison with matched controls, and with a network of random weights."""

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
from fer_explain.evaluation.controls.ranks import ControlComparison, compare_with_controls
from fer_explain.evaluation.intervals import LEAST_FACES
from fer_explain.evaluation.metrics.deletion_insertion import CurveSettings
from fer_explain.evaluation.metrics.randomization import randomize, weight_stages
from fer_explain.evaluation.sanity import Verdict, fresh_network, judge
from fer_explain.evaluation.skill import Skill
from fer_explain.report.face_maps import ExplainedFaces
from fer_explain.report.methods import settings_of
from fer_explain.report.predictions import ScoredFaces
from fer_explain.verification import VerifiedModel

SHARES: Final = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Fractions of pixels that are deleted and inserted: fewer than in `faithfulness`, and denser at the start, where maps
differ most."""
BLUR_SIGMA: Final = 6.0
"""Blur of the start image of insertion, in pixels, as in `faithfulness`."""
RANDOM: Final = "random"
"""The control method; the test should find it no different from its controls."""
SANITY_FACES: Final = LEAST_FACES
"""Faces of the sanity check, spread evenly over the data."""


@dataclass(frozen=True)
class CheckedMaps:
    """Results of the tests of the maps in a report.

    Attributes
    ----------
    skill : Skill
        Whether the model is better than chance. If it is not, no map is tested.
    compared : ControlComparison or None
        Comparison of the maps of the predicted classes, and of ``random``, with matched controls; None if no face is
        shown or the model is not better than chance.
    gains : mapping of str to Gain
        Method -> mean over faces of insertion minus deletion, relative to the controls; empty for fewer than two
        faces.
    verdicts : mapping of str to Verdict
        Method -> result of the sanity check; empty if the data has fewer than two faces.
    sanity_faces : int
        Number of faces of the sanity check.
    """

    skill: Skill
    compared: ControlComparison | None
    gains: Mapping[str, Gain]
    verdicts: Mapping[str, Verdict]
    sanity_faces: int


def check_maps(verified: VerifiedModel, explained: ExplainedFaces, scored: ScoredFaces, skill: Skill) -> CheckedMaps:
    """Test the maps of the faces shown, and the methods on faces spread over the data.

    Parameters
    ----------
    verified : VerifiedModel
        The verified model.
    explained : ExplainedFaces
        Faces whose maps of the predicted class are tested by deletion and insertion.
    scored : ScoredFaces
        All faces, of which the sanity check uses some.
    skill : Skill
        Whether the model is better than chance; if it is not, its maps are not tested.

    Returns
    -------
    CheckedMaps
    """
    if not skill.shown:
        return CheckedMaps(skill, None, {}, {}, 0)
    seed = explained.config.seed
    compared, gains = None, dict[str, Gain]()
    if len(explained.faces):
        compared = _compare(verified, explained, seed)
    if compared is not None and len(explained.faces) > 1:
        pairs = zip(compared.methods, compared.gains, strict=True)
        gains = {name: Gain.of(values, seed=seed) for name, values in pairs}
    positions = np.unique(np.linspace(0, len(scored.faces) - 1, SANITY_FACES).round().astype(np.intp))
    verdicts: dict[str, Verdict] = {}
    if len(positions) > 1:
        sample, targets = scored.faces.take(positions), scored.predicted[positions]
        verdicts = _check_sanity(verified, explained.methods, sample, targets, seed)
    return CheckedMaps(skill, compared, gains, verdicts, len(positions) if verdicts else 0)


def _compare(verified: VerifiedModel, explained: ExplainedFaces, seed: int) -> ControlComparison:
    """Compare the maps of the predicted classes, and those of ``random``, with matched controls."""
    network, faces, targets = verified.network, explained.faces, explained.predicted.classes
    maps = {method.name: explained.predicted.attributions[m] for m, method in enumerate(explained.methods)}
    briefly = () if RANDOM in maps else (RANDOM,)
    if briefly:
        maps[RANDOM] = maps_of(RANDOM, network, faces.images, targets, faces.rows, seed=seed)
    with progress("deletion, insertion", len(maps) * len(faces), "maps") as advance:
        return compare_with_controls(
            network,
            maps,
            faces,
            targets,
            CurveSettings(np.array(SHARES), BLUR_SIGMA, BATCH_SIZE, verified.temperature),
            briefly=briefly,
            seed=seed,
            advance=advance,
        )


def _check_sanity(
    verified: VerifiedModel, methods: tuple[Method, ...], faces: Faces, targets: NDArray[np.int64], seed: int
) -> dict[str, Verdict]:
    """Compare maps with those of entirely random weights, the last stage of `fer-explain sanity`."""
    network = verified.network
    all_modules = tuple(name for group in weight_stages(network) for name in group)
    with progress("sanity", len(methods) * len(faces), "maps") as advance:
        checked = randomize(
            network,
            fresh_network(verified.card, seed),
            {method.name: _explainer(method, seed) for method in methods},
            faces.images,
            targets,
            faces.rows,
            stages=(all_modules,),
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

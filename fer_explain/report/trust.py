"""What a report finds out about its own maps: whether they follow what the model goes by, and what it has learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.progress import progress
from fer_explain.attribution import BATCH_SIZE, Method, attributions_of
from fer_explain.faithfulness import RANKED_BY, SCORES, Faithfulness, FaithfulnessConfig, measure_faithfulness
from fer_explain.measures.comparison import MethodScore, compare_methods
from fer_explain.measures.estimates import LEAST_FACES
from fer_explain.measures.maps import CONTROLS, Explain, maps_of
from fer_explain.measures.randomization import randomize, weight_stages
from fer_explain.proof import Proven
from fer_explain.report.explained import ExplainedFaces, settings_of
from fer_explain.sanity import Verdict, fresh_network, judge
from fer_train.prediction import predict_logits

STEPS: Final = 8
"""Of deletion and of insertion: half those of `faithfulness`."""
SANITY_FACES: Final = LEAST_FACES
SHOWN: Final = ("deletion_auc", "insertion_auc", RANKED_BY)
"""The scores that a report shows."""


@dataclass(frozen=True)
class CheckedMaps:
    """How the methods of a report fare on its own faces.

    Attributes
    ----------
    measured, other_measured : Faithfulness or None
        Scores of each face's maps of the predicted and of the other class, by each method, beside ``random``; None
        where no face is shown.
    compared : tuple of MethodScore
        Of the predicted classes over all faces shown, beside both controls; empty where there are fewer than two.
    verdicts : mapping of str to Verdict
        Whether each method failed the sanity check; empty where the file has fewer than two faces.
    sanity_faces : int
        How many faces that was checked on.
    """

    measured: Faithfulness | None
    other_measured: Faithfulness | None
    compared: tuple[MethodScore, ...]
    verdicts: dict[str, Verdict]
    sanity_faces: int


def check_maps(proven: Proven, explained: ExplainedFaces, faces: Faces, *, seed: int = 0) -> CheckedMaps:
    """Test the maps of the faces shown, and the methods on faces spread over the file.

    Parameters
    ----------
    proven : Proven
        The network.
    explained : ExplainedFaces
        Whose maps are tested by deletion and insertion.
    faces : Faces
        The whole file, from which the sanity check draws.
    seed : int
        Of all chance.

    Returns
    -------
    CheckedMaps
    """
    measured, other_measured, compared = None, None, tuple[MethodScore, ...]()
    if len(explained.faces):
        measured = _measure(proven, explained, explained.attributions, explained.targets, CONTROLS, seed)
        other_measured = _measure(proven, explained, explained.other_attributions, explained.others, ("random",), seed)
    if measured is not None and len(explained.faces) > 1:
        scores = {name: measured.scores[name] for name in SHOWN}
        compared = tuple(compare_methods(measured.methods, scores, SCORES, RANKED_BY, seed=seed))
    places = np.unique(np.linspace(0, len(faces) - 1, SANITY_FACES).round().astype(np.intp))
    verdicts: dict[str, Verdict] = {}
    if len(places) > 1:
        verdicts = _judge(proven, explained.methods, faces.take(places), seed)
    return CheckedMaps(measured, other_measured, compared, verdicts, len(places))


def _measure(
    proven: Proven,
    explained: ExplainedFaces,
    attributions: NDArray[np.float32],
    targets: NDArray[np.int64],
    controls: tuple[str, ...],
    seed: int,
) -> Faithfulness:
    """Test maps (M, N, 48, 48) of the classes `targets`, and controls beside them."""
    network, faces = proven.network, explained.faces
    maps = {method.name: attributions[m] for m, method in enumerate(explained.methods)}
    for control in controls:
        if control not in maps:
            maps[control] = maps_of(control, network, faces.images, targets, faces.rows, seed=seed)
    # Infidelity is not shown, so one square is enough of it.
    config = FaithfulnessConfig(steps=STEPS, squares=1, batch_size=BATCH_SIZE, seed=seed)
    with progress("deletion, insertion", config.count_passes(len(maps), len(faces)), "images") as advance:
        return measure_faithfulness(
            network,
            maps,
            faces.images,
            targets,
            faces.rows,
            config,
            temperature=proven.temperature,
            advance=advance,
        )


def _judge(proven: Proven, methods: tuple[Method, ...], faces: Faces, seed: int) -> dict[str, Verdict]:
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
        return attributions_of(model, method, images, targets, rows=rows, settings=settings)["attributions"]

    return explain

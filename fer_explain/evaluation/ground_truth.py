"""Compare attribution maps with the regions that define the expression of drawn faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, ModelError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.synthetic.drawn_faces import ACTION_REGIONS, REGIONS, draw_faces
from fer_core.terminal.progress import progress
from fer_explain.config import GroundTruthConfig
from fer_explain.evaluation.compared_maps import cautions_about, maps_of
from fer_explain.evaluation.comparison import Better, MethodScore, compare_methods
from fer_explain.evaluation.controls.control_maps import STREAM, control_maps
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES, estimate
from fer_explain.evaluation.method_names import require_methods, with_controls
from fer_explain.evaluation.metrics.localization import area_share, mass_share, pointing_hits
from fer_explain.plots import save_figure
from fer_explain.verification import VerifiedModel, load_verified
from fer_infer.evaluation.metrics import wilson_interval
from fer_train.prediction import predict_logits

RANKED_BY: Final = "mass_share"
SCORES: Final[Mapping[str, Better]] = {RANKED_BY: "higher", "positive_share": "higher", "pointing_hits": "higher"}
"""Score -> which values are better."""
TITLES: Final = {
    "mass_share": "share of the map",
    "positive_share": "share of the positive values",
    "pointing_hits": "maximum in the region",
}
"""Scores that are drawn, and their titles."""
CONTROL_MAPS: Final = 20
"""Number of matched controls of each map."""

FOLDER: Final = OutputFolder(
    always=("ground_truth.json", "ground_truth.csv"),
    sometimes=("scores.npz", "ranking.png"),
)
"""Names of all output files."""


@dataclass(frozen=True, eq=False)
class ExpressiveFaces:
    """Drawn faces with an expression, and the regions that define it.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Faces, 0..255.
    labels : ndarray of int64, shape (N,)
        Indices into `EXPRESSIONS`; none is neutral.
    regions : ndarray of bool, shape (N, 48, 48)
        True in the regions of the action units that define the label.
    rows : ndarray of int64, shape (N,)
        Number of each face, from 0, in the order of drawing.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    regions: NDArray[np.bool_]
    rows: NDArray[np.int64]

    def take(self, index: NDArray[np.intp]) -> ExpressiveFaces:
        """Return the faces at these positions."""
        return ExpressiveFaces(self.images[index], self.labels[index], self.regions[index], self.rows[index])


def draw_expressive_faces(n: int, *, seed: int) -> ExpressiveFaces:
    """Draw faces of each expression except neutral, in turn; parameters and errors as for `draw_faces`."""
    expressive = np.array([label for label, name in enumerate(EXPRESSIONS) if ACTION_REGIONS[name]])
    drawn = draw_faces(n, seed=seed, labels=expressive[np.arange(n) % len(expressive)])
    defining = np.array([[region in ACTION_REGIONS[name] for region in REGIONS] for name in EXPRESSIONS])
    regions = (drawn.regions & defining[drawn.labels][:, :, None, None]).any(axis=1)
    return ExpressiveFaces(drawn.images, drawn.labels, regions, np.arange(n))


def localize(maps: Mapping[str, NDArray[np.float32]], regions: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Measure how much of each map lies within its region.

    Parameters
    ----------
    maps : mapping of str to ndarray of float32, shape (N, 48, 48)
        Maps of M methods.
    regions : ndarray of bool, shape (N, 48, 48)
        Regions.

    Returns
    -------
    dict of ndarray of float64, shape (M, N)
        `mass_share` of the absolute values, `positive_share` of the positive ones, and `pointing_hits`, all 0..1. Their
        value at chance is `fer_explain.evaluation.metrics.localization.area_share`.

    Raises
    ------
    ConfigError
        If maps or regions have other shapes or types, or a map is not finite.
    """
    return {
        "mass_share": np.stack([mass_share(attributions, regions) for attributions in maps.values()]),
        "positive_share": np.stack([mass_share(np.maximum(values, 0), regions) for values in maps.values()]),
        "pointing_hits": np.stack([pointing_hits(attributions, regions) for attributions in maps.values()]),
    }


def compare_with_ground_truth(
    model: str | Path,
    methods: Sequence[str],
    output: str | Path,
    *,
    config: GroundTruthConfig | None = None,
    force: bool = False,
) -> list[MethodScore]:
    """Measure how much of each map lies in the regions that define a drawn face's expression, and write the results.

    Parameters
    ----------
    model : str or Path
        An exports folder or a run, trained on drawn faces; other models may use other regions.
    methods : sequence of str
        Names in `fer_explain.METHODS`, or ``center``. The controls ``random`` and ``center`` are always measured too.
    output : str or Path
        The folder to write: `ground_truth.json` with all results and settings, `ground_truth.csv` with one row per
        method and score, `scores.npz` with the scores of each face, and `ranking.png`.
    config : GroundTruthConfig, optional
        Number of faces and random seed. Misclassified faces are left out, since their evidence lies elsewhere.
    force : bool
        Replace an existing folder.

    Returns
    -------
    list of MethodScore
        Method by method from the first rank to the last, and score by score.

    Raises
    ------
    FerError
        If model, a setting or the output is not as expected, or the model is not better than chance on drawn faces. No
        output is left in this case.

    Examples
    --------
    >>> from fer_explain import GroundTruthConfig
    >>> config = GroundTruthConfig(faces=60)
    >>> scores = compare_with_ground_truth("exports/compact", ["saliency"], "ground-truth", config=config)
    >>> sorted({score.score for score in scores})
    ['mass_share', 'pointing_hits', 'positive_share']
    """
    config = config or GroundTruthConfig()
    require_methods(methods)
    named, seed = with_controls(methods), config.seed
    with staged(output, force=force, folder=FOLDER, inputs=(model,)) as stage:
        verified = load_verified(model)
        cautions = cautions_about(verified.network, named)
        recognized = _recognized(verified, draw_expressive_faces(config.faces, seed=seed))
        faces = (recognized.images, recognized.labels, recognized.rows)
        with progress("maps", len(named) * len(recognized.images), "maps") as advance:
            maps = {method: maps_of(method, verified.network, *faces, seed=seed, advance=advance) for method in named}
        scores, controls = localize(maps, recognized.regions), _localize_controls(maps, recognized, seed)
        compared = compare_methods(named, scores, controls, SCORES, RANKED_BY, seed=seed)
        about = {
            "architecture": verified.card.architecture,
            "weights_sha256": verified.weights_sha256,
            "n": len(recognized.images),
            "drawn": config.faces,
            "cautions": cautions,
        }
        arrays: dict[str, NDArray[Any]] = {
            **scores,
            **{f"controls_{name}": values for name, values in controls.items()},
        }
        arrays["methods"] = np.array(named)
        _write(arrays, compared, recognized, about, seed, stage)
    return compared


def _write(
    arrays: dict[str, Any],
    compared: Sequence[MethodScore],
    faces: ExpressiveFaces,
    about: Mapping[str, Any],
    seed: int,
    stage: Path,
) -> None:
    from fer_explain.evaluation.plots import ranking_figure

    area = area_share(faces.regions)
    results = {
        **about,
        "area_share": asdict(estimate(area, seed=seed)),
        "settings": {"seed": seed, "controls": CONTROL_MAPS, "resamples": RESAMPLES},
        "scores": [asdict(score) for score in compared],
    }
    write_json(stage / "ground_truth.json", results)
    write_table(stage / "ground_truth.csv", [score.table_row() for score in compared])
    np.savez(
        stage / "scores.npz",
        **arrays,
        area_share=area,
        rows=faces.rows,
        labels=faces.labels,
        weights_sha256=np.array(about["weights_sha256"]),
    )
    save_figure(ranking_figure(compared, TITLES), stage / "ranking.png")


def _localize_controls(
    maps: Mapping[str, NDArray[np.float32]], faces: ExpressiveFaces, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return the mean scores of each map's matched controls, by score, (M, N)."""
    means = {name: np.empty((len(maps), len(faces.images))) for name in SCORES}
    for m, attributions in enumerate(maps.values()):
        for i, row in enumerate(faces.rows.tolist()):
            drawn = control_maps(attributions[i], CONTROL_MAPS, np.random.default_rng([seed, row, STREAM]))
            regions = np.broadcast_to(faces.regions[i], drawn.shape)
            for name, values in localize({"controls": drawn}, regions).items():
                means[name][m, i] = values.mean()
    return means


def _recognized(verified: VerifiedModel, drawn: ExpressiveFaces) -> ExpressiveFaces:
    """Return the faces that a model classifies correctly."""
    if verified.card.labels != EXPRESSIONS:
        raise ModelError(f"{verified.weights_file}: expected classes {EXPRESSIONS}, found {verified.card.labels}")
    right = np.flatnonzero(predict_logits(verified.network, drawn.images).argmax(axis=1) == drawn.labels)
    # Not better than always predicting one of the classes that are drawn, all but neutral.
    if wilson_interval(len(right), len(drawn.images))[0] <= 1 / len(np.unique(drawn.labels)):
        raise ModelError(
            f"{verified.weights_file}: expected a model trained on drawn faces, found {len(right)} of "
            f"{len(drawn.images)} drawn faces classified correctly; `fer-train synthesize` makes such faces"
        )
    return drawn.take(right)

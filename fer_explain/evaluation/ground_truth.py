"""Whether maps lie where the truth does: on drawn faces, whose expression is known region by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, ConfigError, ModelError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.synthetic.drawn_faces import ACTION_REGIONS, REGIONS, draw_faces
from fer_core.terminal.progress import progress
from fer_explain.evaluation.compared_maps import cautions_about, maps_of, with_controls
from fer_explain.evaluation.comparison import Better, MethodScore, compare_methods
from fer_explain.evaluation.controls import STREAM, control_maps
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES, estimate
from fer_explain.evaluation.metrics.localization import area_share, mass_share, pointing_hits
from fer_explain.plots import save_figure
from fer_explain.verification import VerifiedModel, load_verified
from fer_infer.evaluation.metrics import wilson_interval
from fer_train.prediction import predict_logits

RANKED_BY: Final = "mass_share"
SCORES: Final[Mapping[str, Better]] = {RANKED_BY: "higher", "positive_share": "higher", "pointing_hits": "higher"}
"""Score -> which values are the better ones."""
CONTROL_MAPS: Final = 20
"""Matched controls of each map."""

FOLDER: Final = OutputFolder(
    always=("ground_truth.json", "ground_truth.csv"),
    sometimes=("scores.npz", "ranking.png"),
)
"""Names of all that is written."""


@dataclass(frozen=True, eq=False)
class ExpressiveFaces:
    """Drawn faces that express something, and where.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Faces, 0..255.
    labels : ndarray of int64, shape (N,)
        Positions in `EXPRESSIONS`; none is neutral.
    regions : ndarray of bool, shape (N, 48, 48)
        True in the regions whose action units define the label.
    rows : ndarray of int64, shape (N,)
        Number of each face in the drawing, from 0.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    regions: NDArray[np.bool_]
    rows: NDArray[np.int64]

    def take(self, index: NDArray[np.intp]) -> ExpressiveFaces:
        """Return the faces at these positions."""
        return ExpressiveFaces(self.images[index], self.labels[index], self.regions[index], self.rows[index])


def draw_expressive_faces(n: int, *, seed: int) -> ExpressiveFaces:
    """Draw faces of each expression but neutral, in turn; parameters and errors as for `draw_faces`."""
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
        Of each of M methods.
    regions : ndarray of bool, shape (N, 48, 48)
        True where the truth lies.

    Returns
    -------
    dict of ndarray of float64, shape (M, N)
        `mass_share` of the absolute values, `positive_share` of those above 0, and `pointing_hits`, all 0..1. What
        chance scores is `fer_explain.evaluation.metrics.localization.area_share`.

    Raises
    ------
    ConfigError
        If maps or regions are not as said.
    """
    return {
        "mass_share": np.stack([mass_share(attributions, regions) for attributions in maps.values()]),
        "positive_share": np.stack([mass_share(np.maximum(values, 0), regions) for values in maps.values()]),
        "pointing_hits": np.stack([pointing_hits(attributions, regions) for attributions in maps.values()]),
    }


def ground_truth(
    model: str | Path,
    methods: Sequence[str],
    output: str | Path,
    *,
    faces: int = 300,
    seed: int = 1000,
    force: bool = False,
) -> list[MethodScore]:
    """Draw faces, explain those that a network gets right, and write how much of each map lies where the truth does.

    Parameters
    ----------
    model : str or Path
        An exports folder or a run, trained on drawn faces: what another one goes by in them is not known.
    methods : sequence of str
        Names in `fer_explain.attribution.METHODS`, or ``centre``; the controls are always measured beside them.
    output : str or Path
        The folder to make: `ground_truth.json` with all figures and settings, `ground_truth.csv`, a row for each
        method and score, `scores.npz` with every face's, and `ranking.png`.
    faces : int
        Faces to draw, at least 2. Those that the network gets wrong are left out, since their evidence lies
        elsewhere.
    seed : int
        Of the drawing; another one than that of the faces which the network was trained on.
    force : bool
        Replace an existing folder.

    Returns
    -------
    list of MethodScore
        As `fer_explain.evaluation.comparison.compare_methods` returns them.

    Raises
    ------
    FerError
        If the model, a setting or the output is not what it must be, or the network gets no more faces right than
        chance may; nothing is then written.
    """
    from fer_explain.evaluation.plots import ranking_figure

    if faces < 2:
        raise ConfigError(f"faces: expected at least 2 to estimate from, found {faces}")
    named = with_controls(methods)
    with staged(output, force=force, folder=FOLDER, inputs=(model,)) as stage:
        proven = load_verified(model)
        cautions = cautions_about(proven.network, named)
        right = _recognized(proven, draw_expressive_faces(faces, seed=seed))
        with progress("maps", len(named) * len(right.images), "maps") as advance:
            subject = (proven.network, right.images, right.labels, right.rows)
            maps = {method: maps_of(method, *subject, seed=seed, advance=advance) for method in named}
        scores, area = localize(maps, right.regions), area_share(right.regions)
        controls = _localize_controls(maps, right, seed)
        compared = compare_methods(named, scores, controls, SCORES, RANKED_BY, seed=seed)
        write_json(
            stage / "ground_truth.json",
            {
                "architecture": proven.card.architecture,
                "weights_sha256": proven.weights_sha256,
                "n": len(right.images),
                "drawn": faces,
                "cautions": cautions,
                "area_share": asdict(estimate(area, seed=seed)),
                "settings": {"seed": seed, "controls": CONTROL_MAPS, "resamples": RESAMPLES},
                "scores": [asdict(line) for line in compared],
            },
        )
        write_table(stage / "ground_truth.csv", [line.table_row() for line in compared])
        arrays: dict[str, Any] = {
            **scores,
            **{f"controls_{name}": values for name, values in controls.items()},
            "area_share": area,
            "methods": np.array(named),
            "rows": right.rows,
            "labels": right.labels,
            "weights_sha256": np.array(proven.weights_sha256),
        }
        np.savez(stage / "scores.npz", **arrays)
        titles = {"mass_share": "share of the map", "positive_share": "share of what is positive"}
        titles |= {"pointing_hits": "highest value hits"}
        save_figure(ranking_figure(compared, titles), stage / "ranking.png")
    return compared


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


def _recognized(proven: VerifiedModel, drawn: ExpressiveFaces) -> ExpressiveFaces:
    """Return the faces that a network gets right."""
    if proven.card.labels != EXPRESSIONS:
        raise ModelError(f"{proven.weights_file}: expected classes {EXPRESSIONS}, found {proven.card.labels}")
    right = np.flatnonzero(predict_logits(proven.network, drawn.images).argmax(axis=1) == drawn.labels)
    # no better than one answer to all, of the classes that are drawn: neutral faces move nothing
    if wilson_interval(len(right), len(drawn.images))[0] <= 1 / len(np.unique(drawn.labels)):
        raise ModelError(
            f"{proven.weights_file}: expected a network that knows drawn faces, found {len(right)} of "
            f"{len(drawn.images)} right; fer-train synthesize draws faces to train one on"
        )
    return drawn.take(right)

"""Compare attribution methods by faithfulness on the faces of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.config import FaithfulnessConfig, SampleConfig
from fer_explain.evaluation.compared_maps import maps_of
from fer_explain.evaluation.comparison import MethodScore, compare_methods
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES
from fer_explain.evaluation.method_names import require_methods, with_controls
from fer_explain.evaluation.metrics.faithfulness import RANKED_BY, SCORES, Faithfulness, measure_maps
from fer_explain.evaluation.metrics.sensitivity import max_sensitivity
from fer_explain.evaluation.sample import Sample, load_sample
from fer_explain.plots import save_figure

TITLES: Final = {
    RANKED_BY: "insertion - deletion AUC",
    "deletion_auc": "deletion AUC (lower is better)",
    "insertion_auc": "insertion AUC",
    "infidelity": "infidelity (lower is better)",
}
"""Scores that are drawn, and their titles."""
FOLDER: Final = OutputFolder(
    always=("faithfulness.json", "faithfulness.csv"),
    sometimes=("scores.npz", "curves.png", "ranking.png", REJECTS_FILE),
)
"""Names of all output files."""


def measure_faithfulness(
    data: str | Path,
    model: str | Path,
    methods: Sequence[str],
    output: str | Path,
    *,
    sample: SampleConfig | None = None,
    config: FaithfulnessConfig | None = None,
    force: bool = False,
) -> list[MethodScore]:
    """Compare attribution methods by faithfulness on the faces of a file, and write the results.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    methods : sequence of str
        Names in `fer_explain.METHODS`, or ``center``. The controls ``random`` and ``center`` are always measured too.
    output : str or Path
        The folder to write: `faithfulness.json` with all results and settings, `faithfulness.csv` with one row per
        method and score, `scores.npz` with the scores of each face, `curves.png` and `ranking.png`.
    sample : SampleConfig, optional
        Faces to use and class to explain.
    config : FaithfulnessConfig, optional
        Settings of the metrics. Its seed is also that of the sample.
    force : bool
        Replace an existing folder.

    Returns
    -------
    list of MethodScore
        Method by method from the first rank to the last, and score by score.

    Raises
    ------
    FerError
        If data, model, a setting or the output is not as expected. No output is left in this case.

    Examples
    --------
    >>> from fer_explain import FaithfulnessConfig, SampleConfig
    >>> quick = FaithfulnessConfig(steps=2, squares=4, sensitivity_faces=0, controls=1)
    >>> sample = SampleConfig(sample_size=8)
    >>> scores = measure_faithfulness(
    ...     "faces.csv", "exports/compact", ["saliency"], "faithfulness", sample=sample, config=quick
    ... )
    >>> sorted({score.method for score in scores})
    ['center', 'random', 'saliency']
    """
    sample, config = sample or SampleConfig(), config or FaithfulnessConfig()
    require_methods(methods)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        loaded = load_sample(data, model, with_controls(methods), sample, seed=config.seed)
        save_rejects(stage, loaded.faces.rejected)
        measured = _measure(loaded, with_controls(methods), config)
        compared = compare_methods(
            measured.methods, measured.scores, measured.controls, SCORES, RANKED_BY, seed=config.seed
        )
        settings = {"target": sample.target, "split": sample.split, **asdict(config), "resamples": RESAMPLES}
        settings["controls"] = config.count_controls(len(loaded.faces))
        _write(measured, compared, loaded, settings, stage)
    return compared


def _measure(sample: Sample, methods: tuple[str, ...], config: FaithfulnessConfig) -> Faithfulness:
    """Compute the maps of each method and measure them."""
    network, n = sample.model.network, len(sample.faces)
    faces = sample.faces.images, sample.targets, sample.faces.rows
    with progress("maps", len(methods) * n, "maps") as advance:
        maps = {method: maps_of(method, network, *faces, seed=config.seed, advance=advance) for method in methods}
    with progress("deletion, insertion, infidelity", config.count_passes(len(methods), n), "images") as advance:
        measured = measure_maps(network, maps, *faces, config, temperature=sample.model.temperature, advance=advance)
    if min(config.sensitivity_faces, n) < 2:  # no interval without two
        return measured
    return replace(measured, scores={**measured.scores, "max_sensitivity": _sensitivity(sample, methods, config)})


def _sensitivity(sample: Sample, methods: tuple[str, ...], config: FaithfulnessConfig) -> NDArray[np.float64]:
    """Return max-sensitivity, (M, N), of faces spread over the sample; NaN for the others."""
    n = len(sample.faces)
    count = min(config.sensitivity_faces, n)
    chosen = np.linspace(0, n - 1, count).round().astype(np.intp)
    found = np.full((len(methods), n), np.nan)
    with progress("max-sensitivity", len(methods) * count * config.sensitivity_samples, "maps") as advance:
        for place, method in enumerate(methods):
            found[place, chosen] = max_sensitivity(
                partial(maps_of, method, seed=config.seed),
                sample.model.network,
                sample.faces.images[chosen],
                sample.targets[chosen],
                sample.faces.rows[chosen],
                config,
                advance=advance,
            )
    return found


def _write(
    measured: Faithfulness, compared: Sequence[MethodScore], sample: Sample, settings: dict[str, Any], stage: Path
) -> None:
    from fer_explain.evaluation.plots import curve_figure, ranking_figure

    scores = [asdict(score) for score in compared]
    write_json(stage / "faithfulness.json", {**sample.provenance, "settings": settings, "scores": scores})
    write_table(stage / "faithfulness.csv", [score.table_row() for score in compared])
    arrays: dict[str, Any] = {
        **measured.scores,
        **{f"controls_{name}": values for name, values in measured.controls.items()},
        "deletion_curves": np.stack([curves.deletion for curves in measured.curves.values()]),
        "insertion_curves": np.stack([curves.insertion for curves in measured.curves.values()]),
        "shares": next(iter(measured.curves.values())).shares,
        "methods": np.array(measured.methods),
        "rows": measured.rows,
        "targets": sample.targets,
        "weights_sha256": np.array(sample.model.weights_sha256),
    }
    np.savez(stage / "scores.npz", **arrays)
    save_figure(curve_figure(measured.curves, seed=settings["seed"]), stage / "curves.png")
    save_figure(ranking_figure(compared, TITLES), stage / "ranking.png")

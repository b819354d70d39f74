"""Compare attribution methods by faithfulness on the faces of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.evaluation.compared_maps import maps_of, with_controls
from fer_explain.evaluation.comparison import MethodScore, compare_methods
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES
from fer_explain.evaluation.metrics.faithfulness import (
    RANKED_BY,
    SCORES,
    Faithfulness,
    FaithfulnessConfig,
    measure_faithfulness,
)
from fer_explain.evaluation.metrics.sensitivity import max_sensitivity
from fer_explain.evaluation.sample import Subject, load_subject
from fer_explain.plots import save_figure

TITLES: Final = {
    RANKED_BY: "insertion - deletion AUC",
    "deletion_auc": "deletion AUC (lower is better)",
    "insertion_auc": "insertion AUC",
    "infidelity": "infidelity (lower is better)",
}
"""The scores that are drawn."""
FOLDER: Final = OutputFolder(
    always=("faithfulness.json", "faithfulness.csv"),
    sometimes=("scores.npz", "curves.png", "ranking.png"),
)
"""Names of all that is written."""


def faithfulness(
    data: str | Path,
    model: str | Path,
    methods: Sequence[str],
    output: str | Path,
    *,
    faces: int = 300,
    rows: tuple[int, ...] | None = None,
    split: str | None = None,
    target: str = "predicted",
    config: FaithfulnessConfig | None = None,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
) -> list[MethodScore]:
    """Compare methods on the faces of a file and write what was found.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    methods : sequence of str
        Names in `fer_explain.attribution.METHODS`, or ``centre``; ``random`` and ``centre`` are always measured too,
        as controls that are expected to be no different from their own controls.
    output : str or Path
        The folder to make: `faithfulness.json` with all figures and settings, `faithfulness.csv`, a row for each
        method and score, `scores.npz` with every face's, `curves.png` and `ranking.png`.
    faces : int
        Faces to draw from `data`, at least 2.
    rows : tuple of int, optional
        Row numbers to take instead.
    split : str, optional
        The split to take faces of.
    target : str
        ``predicted``, ``true``, or the name of a class.
    config : FaithfulnessConfig, optional
        AttributionConfig.
    force : bool
        Replace an existing folder.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Returns
    -------
    list of MethodScore
        As `fer_explain.evaluation.comparison.compare_methods` returns them.

    Raises
    ------
    FerError
        If the data, the model, a setting or the output is not what it must be; nothing is then written.
    """
    from fer_explain.evaluation.plots import curve_figure, ranking_figure

    config = config or FaithfulnessConfig()
    named = with_controls(methods)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        options: dict[str, Any] = {"count": faces, "rows": rows, "split": split, "target": target, "seed": config.seed}
        subject = load_subject(data, model, named, **options, input_columns=input_columns)
        network, temperature = subject.proven.network, subject.proven.temperature
        chosen = subject.faces.images, subject.targets, subject.faces.rows
        with progress("maps", len(named) * len(subject.faces), "maps") as advance:
            maps = {method: maps_of(method, network, *chosen, seed=config.seed, advance=advance) for method in named}
        passes = config.count_passes(len(named), len(subject.faces))
        with progress("deletion, insertion, infidelity", passes, "images") as advance:
            measured = measure_faithfulness(network, maps, *chosen, config, temperature=temperature, advance=advance)
        measured = _with_sensitivity(measured, subject, config)
        compared = compare_methods(named, measured.scores, measured.controls, SCORES, RANKED_BY, seed=config.seed)
        settings = {"target": target, "split": split, **asdict(config), "resamples": RESAMPLES}
        settings["controls"] = config.count_controls(len(subject.faces))
        write_json(
            stage / "faithfulness.json",
            {**subject.provenance, "settings": settings, "scores": [asdict(line) for line in compared]},
        )
        write_table(stage / "faithfulness.csv", [line.table_row() for line in compared])
        _save_scores(measured, subject, stage / "scores.npz")
        save_figure(curve_figure(measured.curves, seed=config.seed), stage / "curves.png")
        save_figure(ranking_figure(compared, TITLES), stage / "ranking.png")
    return compared


def _with_sensitivity(measured: Faithfulness, subject: Subject, config: FaithfulnessConfig) -> Faithfulness:
    """Add max-sensitivity, of some faces alone, to the scores."""
    n = len(measured.rows)
    count = min(config.sensitivity_faces, n)
    if count < 2:  # no interval without two
        return measured
    some = np.linspace(0, n - 1, count).round().astype(np.intp)
    found = np.full((len(measured.methods), n), np.nan)
    total = len(measured.methods) * count * config.sensitivity_samples
    with progress("max-sensitivity", total, "maps") as advance:
        for place, method in enumerate(measured.methods):
            found[place, some] = max_sensitivity(
                partial(maps_of, method, seed=config.seed),
                subject.proven.network,
                subject.faces.images[some],
                subject.targets[some],
                subject.faces.rows[some],
                samples=config.sensitivity_samples,
                radius=config.sensitivity_radius,
                seed=config.seed,
                advance=advance,
            )
    return replace(measured, scores={**measured.scores, "max_sensitivity": found})


def _save_scores(measured: Faithfulness, subject: Subject, path: Path) -> None:
    first = next(iter(measured.curves.values()))
    content: dict[str, Any] = {
        **measured.scores,
        **{f"controls_{name}": values for name, values in measured.controls.items()},
        "deletion_curves": np.stack([curves.deletion for curves in measured.curves.values()]),
        "insertion_curves": np.stack([curves.insertion for curves in measured.curves.values()]),
        "shares": first.shares,
        "methods": np.array(measured.methods),
        "rows": measured.rows,
        "targets": subject.targets,
        "weights_sha256": np.array(subject.proven.weights_sha256),
    }
    np.savez(path, **content)

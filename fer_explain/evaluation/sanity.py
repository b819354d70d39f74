"""Whether maps depend on what a network has learned: its weights are replaced layer by layer, its maps must follow.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018, Sanity Checks for Saliency Maps, section 3: a map that stays
the same for a network of random weights explains the face, or the architecture, but not the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from fer_core import ModelCard
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.evaluation.compared_maps import CONTROLS, maps_of, with_controls
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES, Answer, Estimate, estimate
from fer_explain.evaluation.metrics.randomization import MEASURES, MODES, Randomization, randomize, weight_stages
from fer_explain.evaluation.sample import Subject, load_subject
from fer_explain.plots import save_figure
from fer_train.models import build_model

SAME: Final = 0.5
"""Rank correlation with the map of wholly random weights above which a method fails. At 0.5 a quarter of the variance
of the ranks survives the loss of all that was learned; below it, the face alone, which both maps show, may account for
what is left: input times gradient is 0 where the face is black, whatever the weights."""
RANK_CORRELATIONS: Final = ("spearman_absolute", "spearman_signed")
"""The measures of which either may fail a method."""

FOLDER: Final = OutputFolder(
    always=("sanity.json", "sanity.csv"),
    sometimes=("similarity.npz", "cascading.png", "independent.png"),
)
"""Names of all that is written."""


@dataclass(frozen=True)
class Verdict:
    """Whether one method noticed that all weights were replaced.

    Attributes
    ----------
    method : str
        Its name.
    similarity : mapping of str to Estimate
        By the names in `MEASURES`, to the map of wholly random weights.
    failed : str
        Whether its map stayed the same: yes where the interval of either rank correlation lies above `SAME`, no
        where both lie below, else undecided.
    """

    method: str
    similarity: Mapping[str, Estimate]
    failed: Answer

    @property
    def is_control(self) -> bool:
        """Whether the method is a control, which does not depend on the network and is expected to fail."""
        return self.method in CONTROLS

    def __str__(self) -> str:
        found = ", ".join(f"{measure} {value.mean:.2f}" for measure, value in self.similarity.items())
        verdict = {"yes": "FAILED", "no": "passed", "undecided": "undecided"}[self.failed]
        if self.is_control:
            verdict = "control, expected to fail" + ("" if self.failed == "yes" else f", {verdict}")
        return f"{self.method:<22} {verdict}: with all weights drawn anew, {found}"


def judge(checked: Randomization, *, seed: int = 0) -> list[Verdict]:
    """Say of each method whether its maps stayed the same; ConfigError where there are fewer than two faces."""
    verdicts = []
    for place, method in enumerate(checked.methods):
        last = {measure: estimate(values[place, 0, -1], seed=seed) for measure, values in checked.similarity.items()}
        answers = {last[measure].exceeds(SAME) for measure in RANK_CORRELATIONS}
        failed: Answer = "yes" if "yes" in answers else "no" if answers == {"no"} else "undecided"
        verdicts.append(Verdict(method, last, failed))
    return verdicts


def sanity(
    data: str | Path,
    model: str | Path,
    methods: Sequence[str],
    output: str | Path,
    *,
    faces: int = 24,
    rows: tuple[int, ...] | None = None,
    split: str | None = None,
    target: str = "predicted",
    seed: int = 0,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Check methods on the faces of a file and write what was found.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run. Its weights are replaced by those of the same architecture newly constructed.
    methods : sequence of str
        Names in `fer_explain.attribution.METHODS`, or ``centre``; the controls, which must fail, are always checked
        beside them.
    output : str or Path
        The folder to make: `sanity.json` with all figures and settings, `sanity.csv`, a row for each method, mode,
        stage and measure, `similarity.npz` with every face's, `cascading.png` and `independent.png`.
    faces : int
        Faces to draw from `data`, at least 2.
    rows : tuple of int, optional
        Row numbers to take instead.
    split : str, optional
        The split to take faces of.
    target : str
        ``predicted``, ``true``, or the name of a class.
    seed : int
        Of sample, new weights and resamples.
    force : bool
        Replace an existing folder.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Returns
    -------
    list of Verdict
        In the order of `methods`, and then of the controls.

    Raises
    ------
    FerError
        If the data, the model, a setting or the output is not what it must be; nothing is then written.
    """
    named = with_controls(methods)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        options: dict[str, Any] = {"count": faces, "rows": rows, "split": split, "target": target, "seed": seed}
        subject = load_subject(data, model, named, **options, input_columns=input_columns)
        network, n = subject.proven.network, len(subject.faces)
        explainers = {method: partial(maps_of, method, seed=seed) for method in named}
        total = len(named) * (len(MODES) * len(weight_stages(network)) - 1) * n
        with progress("sanity", total, "maps") as advance:
            checked = randomize(
                network,
                fresh_network(subject.proven.card, seed),
                explainers,
                subject.faces.images,
                subject.targets,
                subject.faces.rows,
                advance=advance,
            )
        verdicts = judge(checked, seed=seed)
        _write(checked, verdicts, subject, {"target": target, "split": split, "seed": seed}, stage)
    return verdicts


def fresh_network(card: ModelCard, seed: int) -> nn.Module:
    """Construct the network of a card anew, without touching torch's own generator."""
    with torch.random.fork_rng(devices=[]):
        # Not the seed itself: training may have begun from it, and a trained layer is often close to where it began.
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))
        return build_model(card.architecture, **card.standardization, **card.architecture_arguments).eval()


def _write(
    checked: Randomization, verdicts: Sequence[Verdict], subject: Subject, settings: Mapping[str, Any], stage: Path
) -> None:
    seed = settings["seed"]
    names = [group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in checked.stages]
    table = [
        {"method": method, "is_control": method in CONTROLS, "mode": mode, "stage": name, "measure": measure}
        | asdict(estimate(values[m, o, s], seed=seed))
        for m, method in enumerate(checked.methods)
        for o, mode in enumerate(MODES)
        for s, name in enumerate(names)
        for measure, values in checked.similarity.items()
    ]
    write_json(
        stage / "sanity.json",
        {
            **subject.provenance,
            "settings": {**settings, "resamples": RESAMPLES, "same": SAME},
            "stages": checked.stages,
            "verdicts": [{**asdict(verdict), "is_control": verdict.is_control} for verdict in verdicts],
            "similarity": table,
        },
    )
    write_table(stage / "sanity.csv", table)
    arrays: dict[str, Any] = {
        **checked.similarity,
        "methods": np.array(checked.methods),
        "modes": np.array(MODES),
        "stages": np.array(names),
        "rows": checked.rows,
        "weights_sha256": np.array(subject.proven.weights_sha256),
    }
    np.savez(stage / "similarity.npz", **arrays)
    _save_figures(checked, names, seed, stage)


def _save_figures(checked: Randomization, names: Sequence[str], seed: int, stage: Path) -> None:
    from fer_explain.evaluation.plots import line_figure

    for o, (mode, title) in enumerate(
        {"cascading": "All layers from the logits down to", "independent": "Only"}.items()
    ):
        series = {
            panel: dict(zip(checked.methods, checked.similarity[measure][:, o], strict=True))
            for measure, panel in MEASURES.items()
        }
        figure = line_figure(
            series,
            names,
            limit=SAME,
            xlabel="weights drawn anew",
            title=f"{title} the named layer drawn anew, {len(checked.rows):,} faces",
            seed=seed,
        )
        save_figure(figure, stage / f"{mode}.png")

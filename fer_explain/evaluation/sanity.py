"""Sanity checks: whether attribution maps change when the weights of the network are randomized layer by layer.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018, Sanity Checks for Saliency Maps, section 3: a map that stays
the same with random weights explains the face or the architecture, not the learned weights.
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
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.config import SampleConfig, SanitySampleConfig
from fer_explain.evaluation.compared_maps import maps_of
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES, Answer, Estimate, estimate
from fer_explain.evaluation.method_names import CONTROLS, require_methods, with_controls
from fer_explain.evaluation.metrics.randomization import MEASURES, MODES, Randomization, randomize, weight_stages
from fer_explain.evaluation.sample import Sample, load_sample
from fer_explain.plots import save_figure
from fer_train.models import build_model

SAME: Final = 0.5
"""Rank correlation with the map of fully random weights above which a method fails. At 0.5 a quarter of the variance of
the ranks survives randomization. Smaller correlations can be due to the face, which both maps show: input times
gradient is 0 where the face is black, for any weights."""
RANK_CORRELATIONS: Final = ("spearman_absolute", "spearman_signed")
"""Measures that decide; a method fails by either of them."""

FOLDER: Final = OutputFolder(
    always=("sanity.json", "sanity.csv"),
    sometimes=("similarity.npz", "cascading.png", "independent.png", REJECTS_FILE),
)
"""Names of all output files."""


@dataclass(frozen=True)
class Verdict:
    """Result of one method when all weights were randomized.

    Attributes
    ----------
    method : str
        Name of the method.
    similarity : mapping of str to Estimate
        By the names in `MEASURES`, similarity to the map of fully random weights.
    failed : str
        Whether its map stayed the same: yes if the interval of either rank correlation lies above `SAME`, no if both
        lie below, else undecided.
    """

    method: str
    similarity: Mapping[str, Estimate]
    failed: Answer

    @property
    def is_control(self) -> bool:
        """Whether the method is a control, which ignores the network and is expected to fail."""
        return self.method in CONTROLS

    def __str__(self) -> str:
        found = ", ".join(f"{measure} {value.mean:.2f}" for measure, value in self.similarity.items())
        verdict = {"yes": "FAILED", "no": "passed", "undecided": "undecided"}[self.failed]
        if self.is_control:
            verdict = "control, expected to fail" + ("" if self.failed == "yes" else f", {verdict}")
        return f"{self.method:<22} {verdict}: with all weights randomized, {found}"


def judge(checked: Randomization, *, seed: int = 0) -> list[Verdict]:
    """Decide for each method whether its maps stayed the same; ConfigError with fewer than two faces."""
    verdicts = []
    for place, method in enumerate(checked.methods):
        last = {measure: estimate(values[place, 0, -1], seed=seed) for measure, values in checked.similarity.items()}
        answers = {last[measure].exceeds(SAME) for measure in RANK_CORRELATIONS}
        failed: Answer = "yes" if "yes" in answers else "no" if answers == {"no"} else "undecided"
        verdicts.append(Verdict(method, last, failed))
    return verdicts


def check_sanity(
    data: str | Path,
    model: str | Path,
    methods: Sequence[str],
    output: str | Path,
    *,
    sample: SampleConfig | None = None,
    seed: int = 0,
    force: bool = False,
) -> list[Verdict]:
    """Check on the faces of a file whether methods depend on the learned weights, and write the results.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run. In a copy its weights are replaced by newly initialized ones.
    methods : sequence of str
        Names in `fer_explain.METHODS`, or ``center``. The controls ``random`` and ``center``, which are expected to
        fail, are always checked too.
    output : str or Path
        The folder to write: `sanity.json` with all results and settings, `sanity.csv` with one row per method, mode,
        stage and measure, `similarity.npz` with the values of each face, `cascading.png` and `independent.png`.
    sample : SampleConfig, optional
        Faces to use and class to explain; 24 faces by default.
    seed : int
        Random seed of the sample, the new weights and the bootstrap.
    force : bool
        Replace an existing folder.

    Returns
    -------
    list of Verdict
        In the order of `methods`, followed by the controls.

    Raises
    ------
    FerError
        If data, model, a setting or the output is not as expected. No output is left in this case.

    Examples
    --------
    >>> from fer_explain import SampleConfig
    >>> sample = SampleConfig(sample_size=8)
    >>> verdicts = check_sanity("faces.csv", "exports/compact", ["saliency"], "sanity", sample=sample)
    >>> [verdict.method for verdict in verdicts]
    ['saliency', 'random', 'center']
    """
    sample = sample or SanitySampleConfig()
    require_methods(methods)
    named = with_controls(methods)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        loaded = load_sample(data, model, named, sample, seed=seed)
        save_rejects(stage, loaded.faces.rejected)
        network, n = loaded.model.network, len(loaded.faces)
        explainers = {method: partial(maps_of, method, seed=seed) for method in named}
        total = len(named) * (len(MODES) * len(weight_stages(network)) - 1) * n
        with progress("sanity", total, "maps") as advance:
            checked = randomize(
                network,
                fresh_network(loaded.model.card, seed),
                explainers,
                loaded.faces.images,
                loaded.targets,
                loaded.faces.rows,
                advance=advance,
            )
        verdicts = judge(checked, seed=seed)
        _write(checked, verdicts, loaded, {"target": sample.target, "split": sample.split, "seed": seed}, stage)
    return verdicts


def fresh_network(card: ModelCard, seed: int) -> nn.Module:
    """Return the network of a card with newly initialized weights; torch's global generator is not used."""
    with torch.random.fork_rng(devices=[]):
        # Not the seed itself: training may have started from it, and trained layers are often close to their start.
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))
        return build_model(card.architecture, **card.standardization, **card.architecture_arguments).eval()


def _write(
    checked: Randomization, verdicts: Sequence[Verdict], sample: Sample, settings: Mapping[str, Any], stage: Path
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
            **sample.provenance,
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
        "weights_sha256": np.array(sample.model.weights_sha256),
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
            xlabel="randomized weights",
            title=f"{title} the named layer randomized, {len(checked.rows):,} faces",
            seed=seed,
        )
        save_figure(figure, stage / f"{mode}.png")

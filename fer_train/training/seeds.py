"""The same recipe with several seeds, and what their accuracies say together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from fer_core import ConfigError, ModelCard, OutputError
from fer_core.outputs.claims import claimed
from fer_core.outputs.staging import staged
from fer_train.config import FitConfig
from fer_train.data.splits import Splits
from fer_train.runs.checkpoint import AVERAGE_FILE, load_weights
from fer_train.runs.provenance import training_record
from fer_train.runs.run_folder import CONFIG_FILE, is_finished, require_new, require_same_data
from fer_train.training.distributed import is_first
from fer_train.training.trainer import fit

SUMMARY_FILE: Final = "summary.json"
SUMMARY_WAIT_S: Final = 60.0
"""How long to wait for another program that writes the summary, which takes it a moment."""


@dataclass(frozen=True)
class Summary:
    """Accuracies of runs that differ in their seed alone.

    Attributes
    ----------
    split : str
        On which they were measured.
    faces : int
        Of that split.
    accuracies : dict of str to float
        By seed, without test-time augmentation.
    n : int
        Seeds.
    mean : float
        Of the accuracies.
    standard_deviation : float or None
        Of the accuracies, with n - 1 below the root; None for one seed.
    """

    split: str
    faces: int
    accuracies: dict[str, float]
    n: int
    mean: float
    standard_deviation: float | None

    @classmethod
    def of(cls, cards: Sequence[ModelCard]) -> Summary:
        """Summarize the validation accuracies of runs, one card each."""
        cards = sorted(cards, key=lambda card: card.seeds)
        split = cards[0].validation_split
        values = [card.scores[split]["accuracy"] for card in cards]
        return cls(
            split=split,
            faces=cards[0].scores[split]["n"],
            accuracies={str(card.seeds[0]): value for card, value in zip(cards, values, strict=True)},
            n=len(values),
            mean=statistics.fmean(values),
            standard_deviation=statistics.stdev(values) if len(values) > 1 else None,
        )

    def to_text(self) -> str:
        """Return the summary in a line."""
        spread = "" if self.standard_deviation is None else f" with standard deviation {self.standard_deviation:.2%}"
        return f"{self.split}, {self.faces:,} faces: mean accuracy {self.mean:.2%}{spread} over {self.n} seeds"


def seed_folder(output: str | Path, seed: int) -> Path:
    """Return the folder of the run with one of several seeds."""
    return Path(output) / f"seed-{seed}"


def load_seeds_config(output: str | Path, seeds: Sequence[int]) -> FitConfig:
    """Return the settings that runs with several seeds share; raise ConfigError where none of them was begun."""
    for seed in seeds:
        if (path := seed_folder(output, seed) / CONFIG_FILE).is_file():
            return FitConfig.load(path)
    raise ConfigError(f"{output}: expected a run to resume with seed {', '.join(map(str, seeds))}, found none")


def fit_seeds(
    splits: Splits,
    config: FitConfig,
    output: str | Path,
    seeds: Sequence[int],
    *,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda metrics: None,
) -> Summary:
    """Train one run a seed, one after the other, in `output`/seed-N, and write `output`/summary.json after each.

    The summary is of all finished runs in `output`, those of earlier calls included.

    Parameters
    ----------
    splits, config, report
        As for `fer_train.training.trainer.fit`; each seed takes the place of the one in `config`.
    output : str or Path
        The folder of the runs.
    seeds : sequence of int
        Distinct.
    resume : bool
        Leave finished runs alone and go on with unfinished ones; those that were not begun are begun.

    Returns
    -------
    Summary

    Raises
    ------
    OutputError
        If a run exists and `resume` is false, or `output` is itself a run.
    ConfigError
        If no seed or one twice is given, or a run in `output` was started with other settings, or with other faces or
        weights to learn from.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: expected distinct numbers, found {', '.join(map(str, seeds)) or 'none'}")
    if (Path(output) / CONFIG_FILE).is_file():
        raise OutputError(f"{output}: expected a folder of runs, one a seed, found a single run")
    runs = {seed_folder(output, seed): replace(config, seed=seed) for seed in seeds}
    # All are asked before one is trained: that takes hours.
    if not resume:
        for folder in runs:
            require_new(folder)
    _require_one_recipe(output, config, runs)
    learned = training_record(splits, config)
    _finished(output, learned)  # the same for what they learned
    for folder, chosen in runs.items():
        if not is_finished(folder):
            fit(splits, chosen, folder, resume=(folder / CONFIG_FILE).is_file(), report=report)
        # other programs may add to the finished runs, and one summary must not miss what another one has
        with claimed(output, wait_s=SUMMARY_WAIT_S) if is_first() else nullcontext():
            summary = Summary.of(_finished(output, learned))
            if is_first():
                with staged(Path(output) / SUMMARY_FILE, force=True) as stage:
                    stage.write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")
    return summary


def _begun(output: str | Path) -> list[Path]:
    """Return the folders of the runs in `output`."""
    return sorted(path.parent for path in Path(output).glob(f"seed-*/{CONFIG_FILE}"))


def _require_one_recipe(output: str | Path, config: FitConfig, runs: Mapping[Path, FitConfig]) -> None:
    """Raise ConfigError where a run in `output` has other settings, but for the device and what computes there."""
    for folder in _begun(output):
        saved = FitConfig.load(folder / CONFIG_FILE)
        expected = runs.get(folder, replace(config, seed=saved.seed))
        if replace(saved, device=expected.device, precision=expected.precision) != expected:
            raise ConfigError(f"{folder}: was started with other settings: {expected.difference(saved)}")


def _finished(output: str | Path, learned: Mapping[str, Any]) -> list[ModelCard]:
    """Return the cards of the finished runs; raise ConfigError where one learned from something else."""
    cards = []
    for folder in filter(is_finished, _begun(output)):
        cards.append(load_weights(folder / AVERAGE_FILE)[1])
        require_same_data(folder, cards[-1].training_data, learned)
    return cards

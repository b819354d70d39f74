"""Train the same config with several seeds, and summarize the accuracies."""

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
from fer_train.config.fit import INPUT, FitConfig
from fer_train.data.splits import Splits
from fer_train.runs.checkpoint import AVERAGE_FILE, load_card
from fer_train.runs.provenance import training_record
from fer_train.runs.run_folder import CONFIG_FILE, is_finished, require_new, require_same_data
from fer_train.training.distributed import is_first
from fer_train.training.trainer import fit

SUMMARY_FILE: Final = "summary.json"
SUMMARY_WAIT_S: Final = 60.0
"""How long to wait for another process that is writing the summary."""


@dataclass(frozen=True)
class Summary:
    """Accuracies of runs that differ only in their seed.

    Attributes
    ----------
    split : str
        Split on which they were measured.
    faces : int
        Number of faces in the split.
    accuracies : dict of str to float
        Accuracy of each seed, without test-time augmentation.
    n : int
        Number of seeds.
    mean : float
        Mean accuracy.
    standard_deviation : float or None
        Sample standard deviation (n - 1) of the accuracies; None for one seed.
    """

    split: str
    faces: int
    accuracies: dict[str, float]
    n: int
    mean: float
    standard_deviation: float | None

    @classmethod
    def of(cls, cards: Sequence[ModelCard]) -> Summary:
        """Summarize the validation accuracies of runs, given their cards."""
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
        """Return the summary in one line."""
        spread = "" if self.standard_deviation is None else f" with standard deviation {self.standard_deviation:.2%}"
        return f"{self.split}, {self.faces:,} faces: mean accuracy {self.mean:.2%}{spread} over {self.n} seeds"


def seed_folder(output: str | Path, seed: int) -> Path:
    """Return the folder of the run with a seed."""
    return Path(output) / f"seed-{seed}"


def load_seeds_config(output: str | Path, seeds: Sequence[int]) -> FitConfig:
    """Return the config that runs with several seeds share; raise ConfigError if none of them was started."""
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
    """Train one run per seed, one after the other, in `output`/seed-N, and write `output`/summary.json after each.

    The summary covers all finished runs in `output`, including those of earlier calls.

    Parameters
    ----------
    splits, config, report
        Parameters of `fer_train.training.trainer.fit`; each seed replaces the one in `config`.
    output : str or Path
        Folder of the runs.
    seeds : sequence of int
        Distinct seeds.
    resume : bool
        Keep finished runs, resume unfinished ones, and start the others.

    Returns
    -------
    Summary

    Raises
    ------
    OutputError
        If a run exists and `resume` is false, or `output` is itself a run.
    ConfigError
        If the seeds are not distinct, or a run in `output` was started with another config, other faces, initial
        weights or teachers.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"expected distinct numbers, found {', '.join(map(str, seeds)) or 'none'}", parameter="seeds")
    if (Path(output) / CONFIG_FILE).is_file():
        raise OutputError(f"{output}: expected a folder of runs, one per seed, found a single run")
    runs = {seed_folder(output, seed): replace(config, seed=seed) for seed in seeds}
    # Check all runs before training one, which takes hours.
    if not resume:
        for folder in runs:
            require_new(folder)
    _require_one_config(output, config, runs)
    training_data = training_record(splits, config)
    _finished(output, training_data)  # checks their training data
    for folder, chosen in runs.items():
        if not is_finished(folder):
            fit(splits, chosen, folder, resume=(folder / CONFIG_FILE).is_file(), report=report)
        # Other processes may finish runs as well, and a summary must not miss one of them.
        with claimed(output, wait_s=SUMMARY_WAIT_S) if is_first() else nullcontext():
            summary = Summary.of(_finished(output, training_data))
            if is_first():
                with staged(Path(output) / SUMMARY_FILE, force=True) as stage:
                    stage.write_text(json.dumps(asdict(summary), indent=2) + "\n", encoding="utf-8")
    return summary


def _started(output: str | Path) -> list[Path]:
    """Return the folders of the runs that were started in `output`."""
    return sorted(path.parent for path in Path(output).glob(f"seed-*/{CONFIG_FILE}"))


def _require_one_config(output: str | Path, config: FitConfig, runs: Mapping[Path, FitConfig]) -> None:
    """Raise ConfigError if a run in `output` has another config, apart from device, precision and how data are read."""
    for folder in _started(output):
        saved = FitConfig.load(folder / CONFIG_FILE)
        expected = runs.get(folder, replace(config, seed=saved.seed))
        ignored = {name: getattr(expected, name) for name in ("device", "precision", *INPUT)}
        if (saved := replace(saved, **ignored)) != expected:
            raise ConfigError(f"{folder}: was started with another config: {expected.difference(saved)}")


def _finished(output: str | Path, training_data: Mapping[str, Any]) -> list[ModelCard]:
    """Return the cards of the finished runs; raise ConfigError if one was trained on other data."""
    cards = []
    for folder in filter(is_finished, _started(output)):
        cards.append(load_card(folder / AVERAGE_FILE))
        require_same_data(folder, cards[-1].training_data, training_data)
    return cards

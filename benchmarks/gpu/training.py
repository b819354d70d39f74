"""Steps that train and export, and that time training against the conventional loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import conventional
from conventional import Epoch
from pack import TRAINED_ON, pack
from record import Entry, Record, SkippedError
from workbench import REPOSITORY, Workbench

from fer_core import FerError
from fer_train.config import FitConfig
from fer_train.exporting.export import export
from fer_train.runs.checkpoint import load_model_and_card
from fer_train.runs.ensembling import ensemble
from fer_train.runs.run_folder import CONFIG_FILE, read_metrics
from fer_train.training.trainer import fit

GOALS: Final = {"course-cnn": 0.668, "best": 0.72}
"""PublicTest accuracy whose time is taken, by architecture."""

ROUNDS: Final = 5
"""Pairs of short runs, one of the toolkit and one conventional."""

EPOCHS_A_ROUND: Final = 3
"""The first is not counted: it starts workers and chooses algorithms."""


def train(bench: Workbench, record: Record) -> None:
    """Train every model with every seed, by its recipe, and pack what is finished after each run."""
    for seed in bench.seeds:
        for model in bench.models:
            run = bench.run(model, seed)
            record.take(run.name, partial(_trained, bench, run, partial(bench.config, model, seed)))
            pack(bench)


Recipe = Callable[[], FitConfig]
"""Made within what is recorded, so that a recipe which one model cannot have is that entry's error."""


def _trained(bench: Workbench, folder: Path, recipe: Recipe) -> Entry:
    config = recipe()
    if (folder / "metrics.json").is_file():  # it came to its end, perhaps on another machine
        _require_same(FitConfig.load(folder / CONFIG_FILE), config, folder)
    else:

        def say_where(_: dict[str, Any]) -> None:
            (folder / TRAINED_ON).write_text(bench.on + "\n", encoding="utf-8")

        fit(bench.splits, config, folder, resume=(folder / CONFIG_FILE).is_file(), report=say_where)
    card, epochs = load_model_and_card(folder)[1], read_metrics(folder)
    return {
        "trained_on": (folder / TRAINED_ON).read_text(encoding="utf-8").strip(),
        "epochs": len(epochs),
        "PublicTest": card.scores["PublicTest"],
        "elapsed_s": epochs[-1]["elapsed_s"],
        "faces_per_s": statistics.median(epoch["faces_per_s"] for epoch in epochs),
        "reached_s": {
            f"{goal:.1%}": next((e["elapsed_s"] for e in epochs if e["validation_accuracy"] >= goal), None)
            for goal in GOALS.values()
        },
    }


def _require_same(found: FitConfig, config: FitConfig, folder: Path) -> None:
    # where it ran is told by TRAINED_ON, and teachers lie where they lie
    same = {"device": config.device, "precision": config.precision}
    if config.distill is not None and found.distill is not None:
        same["distill"] = replace(found.distill, teachers=config.distill.teachers)
    if replace(found, **same) != config:
        raise FerError(f"{folder}: was trained by another recipe; name another --state for this one")


def distill(bench: Workbench, record: Record) -> None:
    """Put the teachers together as one network, and teach every student with every seed."""
    name = f"{bench.teacher}-ensemble"
    record.take(name, partial(_put_together, bench, bench.run(name, bench.seeds[0])))
    pack(bench)
    for seed in bench.seeds:
        for student in bench.students:
            run = bench.run(f"{student}-distilled", seed)
            record.take(run.name, partial(_taught, bench, run, student, seed))
            pack(bench)


def _put_together(bench: Workbench, folder: Path) -> Entry:
    if len(bench.teachers) < 2:
        raise SkippedError(f"found {len(bench.teachers)} finished runs of {bench.teacher}; more --seeds make more")
    card = ensemble(bench.csv, bench.teachers, folder, force=True)
    return {"seeds": list(card.seeds), "PublicTest": card.scores["PublicTest"]}


def _taught(bench: Workbench, folder: Path, student: str, seed: int) -> Entry:
    if not bench.teachers:
        raise SkippedError(f"no finished run of {bench.teacher}; the step train makes one")
    teachers = tuple(str(teacher) for teacher in bench.teachers)
    return _trained(bench, folder, partial(bench.config, student, seed, distill={"teachers": teachers}))


def export_runs(bench: Workbench, record: Record) -> None:
    """Export what was trained, with a float16 graph; of models without a run, the shipped weights."""
    trained = bench.finished_runs()
    names = {run.name.partition("-seed-")[0] for run in trained}
    shipped = [REPOSITORY / "exports" / model for model in bench.models if model not in names]
    for source in (*trained, *(folder for folder in shipped if folder.is_dir())):
        record.take(source.name, partial(_exported, bench, source))
    pack(bench)


def _exported(bench: Workbench, source: Path) -> Entry:
    output = bench.state / "exports" / source.name
    return asdict(export(source, output, data=bench.public_csv, atol=bench.atol, fp16=True, force=True))


def train_speed(bench: Workbench, record: Record) -> None:
    """Compare faces a second, in rounds that take turns, and the time to an accuracy."""
    for model in bench.models:
        for number in range(1 if bench.quick else ROUNDS):
            record.take(f"{model}/round-{number}", partial(_round, bench, model, number))
    for model in bench.models:
        if (goal := GOALS.get(model)) is not None:
            for seed in bench.seeds:
                for name, loop in LOOPS.items():
                    key = f"{model}/to-{goal:.1%}/{name}/seed-{seed}"
                    record.take(key, partial(_time_to, bench, loop, partial(bench.config, model, seed), goal))


def _round(bench: Workbench, model: str, seed: int) -> Entry:
    config = bench.config(model, seed, epochs=EPOCHS_A_ROUND, mild_epochs=0)  # which would start new workers
    rates = {name: [e.faces_per_s for e in loop(bench, config, _never)][1:] for name, loop in LOOPS.items()}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"faces_per_s": medians, "ratio": medians["toolkit"] / medians["conventional"], "workers": bench.workers}


def _time_to(bench: Workbench, loop: Loop, recipe: Recipe, goal: float) -> Entry:
    """Train up to an accuracy on PublicTest, the end of the recipe or the limit of time, whichever comes first.

    `elapsed_s` is training and validation; `wall_s` also what the toolkit writes after each epoch.
    """
    config = recipe()
    start = time.perf_counter()
    last = loop(bench, config, lambda epoch: epoch.accuracy >= goal or epoch.elapsed_s > bench.limit_s)[-1]
    return {"reached": last.accuracy >= goal, **asdict(last), "wall_s": time.perf_counter() - start}


def _never(_: Epoch) -> bool:
    return False


class _EnoughError(Exception):
    """Ends a run from within its report."""


def _toolkit(bench: Workbench, config: FitConfig, enough: Callable[[Epoch], bool]) -> list[Epoch]:
    epochs: list[Epoch] = []

    def report(row: dict[str, Any]) -> None:
        epochs.append(Epoch(row["epoch"], row["elapsed_s"], row["faces_per_s"], row["validation_accuracy"]))
        if enough(epochs[-1]):
            raise _EnoughError

    with tempfile.TemporaryDirectory(dir=bench.state) as folder, suppress(_EnoughError):
        fit(bench.splits, config, Path(folder) / "run", report=report)
    return epochs


def _conventional(bench: Workbench, config: FitConfig, enough: Callable[[Epoch], bool]) -> list[Epoch]:
    epochs: list[Epoch] = []
    for epoch in conventional.train(bench.splits, config, bench.workers):
        epochs.append(epoch)
        if enough(epoch):
            break
    return epochs


Loop = Callable[[Workbench, FitConfig, Callable[[Epoch], bool]], list[Epoch]]
LOOPS: Final[dict[str, Loop]] = {"toolkit": _toolkit, "conventional": _conventional}

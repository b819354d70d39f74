from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from fer_core import ConfigError, OutputError
from fer_core.faces import Faces
from fer_core.io.csv.writer import write_csv
from fer_train.cli import main
from fer_train.config import DistillConfig, FitConfig
from fer_train.data.splits import Splits
from fer_train.runs.checkpoint import load_weights
from fer_train.training import seeds as module
from fer_train.training.seeds import fit_seeds, load_seeds_config
from fer_train.training.trainer import fit


@pytest.fixture
def config(small_config: FitConfig) -> FitConfig:
    return replace(small_config, epochs=1, architecture_arguments={"widths": [2, 2, 2], "hidden": 4})


def tensors(folder: Any) -> Any:
    return load_weights(folder / "ema.safetensors")[0]


def test_each_run_is_the_one_that_its_seed_alone_gives(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    fit_seeds(splits, config, tmp_path / "all", [3, 1])
    for seed in (1, 3):
        fit(splits, replace(config, seed=seed), tmp_path / str(seed))
        alone, together = tensors(tmp_path / str(seed)), tensors(tmp_path / "all" / f"seed-{seed}")
        assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_the_summary_is_that_of_the_runs(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    summary = fit_seeds(splits, config, tmp_path / "all", [0, 1, 2])
    values = [
        json.loads((tmp_path / "all" / f"seed-{seed}" / "metrics.json").read_text())["accuracy"] for seed in (0, 1, 2)
    ]
    written = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert written["accuracies"] == pytest.approx(dict(zip("012", values, strict=True)))
    assert (written["n"], written["split"], written["faces"]) == (3, "PublicTest", len(splits.validation))
    assert written["mean"] == pytest.approx(statistics.fmean(values))
    assert written["standard_deviation"] == pytest.approx(statistics.stdev(values))
    assert summary.to_text().endswith("over 3 seeds")


def test_one_seed_has_no_standard_deviation(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    summary = fit_seeds(splits, config, tmp_path / "all", [5])
    assert summary.standard_deviation is None
    assert "deviation" not in summary.to_text()


def test_finished_seeds_are_kept_and_others_are_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: Splits, config: FitConfig
) -> None:
    fit_seeds(splits, config, tmp_path / "all", [0])
    before = (tmp_path / "all" / "seed-0" / "ema.safetensors").stat().st_mtime_ns
    with pytest.raises(OutputError, match="exists already; `resume=True` resumes a run"):
        fit_seeds(splits, config, tmp_path / "all", [0, 1])
    trained = []
    monkeypatch.setattr(module, "fit", lambda *a, **k: trained.append(a[1].seed) or fit(*a, **k))
    assert fit_seeds(splits, config, tmp_path / "all", [0, 1], resume=True).n == 2
    assert trained == [1]
    assert (tmp_path / "all" / "seed-0" / "ema.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="seed-0: was started with another config"):
        fit_seeds(splits, replace(config, lr=0.5), tmp_path / "all", [0], resume=True)


def test_seeds_of_another_recipe_are_not_trained_beside_a_run(
    tmp_path: Path, splits: Splits, config: FitConfig
) -> None:
    fit_seeds(splits, config, tmp_path / "all", [0])
    before = (tmp_path / "all" / "summary.json").read_bytes()
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"seed-0: was started with another config: lr: .* there, 0\.5 here$"):
            fit_seeds(splits, replace(config, lr=0.5), tmp_path / "all", [5], resume=resume)
    assert not (tmp_path / "all" / "seed-5").exists()
    assert (tmp_path / "all" / "summary.json").read_bytes() == before


def test_the_summary_is_of_earlier_runs_as_well(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    fit_seeds(splits, config, tmp_path / "all", [10])
    assert fit_seeds(splits, config, tmp_path / "all", [5]).n == 2
    written = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert (list(written["accuracies"]), written["n"]) == (["5", "10"], 2)


def test_the_summary_is_of_runs_that_finish_meanwhile_as_well(
    tmp_path: Path, splits: Splits, config: FitConfig
) -> None:
    def another(_: Any) -> None:
        if not (tmp_path / "all" / "seed-2").exists():
            fit(splits, replace(config, seed=2), tmp_path / "all" / "seed-2")

    assert fit_seeds(splits, config, tmp_path / "all", [1], report=another).n == 2
    assert list(json.loads((tmp_path / "all" / "summary.json").read_text())["accuracies"]) == ["1", "2"]


def test_seeds_are_not_trained_inside_a_run(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    fit(splits, config, tmp_path / "one")
    with pytest.raises(OutputError, match=r"one: expected a folder of runs, one per seed, found a single run$"):
        fit_seeds(splits, config, tmp_path / "one", [3])
    assert not (tmp_path / "one" / "seed-3").exists()


def test_finished_runs_of_another_teacher_are_refused(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    for seed, name in ((7, "teacher"), (8, "other")):
        fit(splits, replace(config, seed=seed), tmp_path / name)
    taught = replace(config, distill=DistillConfig((str(tmp_path / "teacher"),)))
    fit_seeds(splits, taught, tmp_path / "all", [0])
    shutil.rmtree(tmp_path / "teacher")
    (tmp_path / "other").rename(tmp_path / "teacher")
    with pytest.raises(ConfigError, match=r"seed-0: was started with other teachers: expected teachers .*, found"):
        fit_seeds(splits, taught, tmp_path / "all", [1], resume=True)
    assert not (tmp_path / "all" / "seed-1").exists()


def test_settings_to_resume_by_are_those_of_the_first_run_that_was_begun(
    tmp_path: Path, splits: Splits, config: FitConfig
) -> None:
    with pytest.raises(ConfigError, match="expected a run to resume with seed 7, 8, found none"):
        load_seeds_config(tmp_path, [7, 8])
    fit_seeds(splits, config, tmp_path, [8])
    assert load_seeds_config(tmp_path, [7, 8]) == replace(config, seed=8)


@pytest.mark.parametrize(("seeds", "found"), [([], "none"), ([1, 2, 1], "1, 2, 1")])
def test_seeds_must_be_distinct(
    tmp_path: Path, splits: Splits, config: FitConfig, seeds: list[Any], found: str
) -> None:
    with pytest.raises(ConfigError, match=f"seeds: expected distinct numbers, found {found}"):
        fit_seeds(splits, config, tmp_path / "all", seeds)


def run_command(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_trains_summarizes_and_resumes(tmp_path: Path, drawn: Faces) -> None:
    write_csv(drawn, tmp_path / "drawn.csv")
    command = ["fit", tmp_path / "drawn.csv", "--output", tmp_path / "all"]
    small = ["--architecture", "course-dnn", "--architecture-argument", "widths=[4]", "--epochs", 1]
    done = run_command(*command, *small, "--seeds", "0,1")
    assert done.exit_code == 0, done.output
    assert "PublicTest, 20 faces: mean accuracy " in done.output
    assert f"{tmp_path}/all: summary.json, one run per seed" in done.output
    again = run_command(*command, "--seeds", "0,1,2", "--resume")
    assert again.exit_code == 0, again.output
    assert "over 3 seeds" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0,0"], "expected distinct numbers, e.g. 0,1,2, found '0,0'"),
        (["--seeds", "0," + "9" * 5000], "expected distinct numbers, e.g. 0,1,2, found "),
        (["--seeds", "0;1"], "expected distinct numbers, e.g. 0,1,2, found '0;1'"),
        (["--seeds", "0,1", "--seed", "3"], "--seeds requires --output and replaces --seed"),
    ],
)
def test_wrong_seeds_are_wrong_usage(tmp_path: Path, options: list[str], message: str) -> None:
    done = run_command("fit", tmp_path / "no.csv", "--output", tmp_path / "all", *options)
    assert done.exit_code == 2
    assert message in done.output


def test_an_existing_run_is_told_before_any_is_trained(tmp_path: Path, splits: Splits, config: FitConfig) -> None:
    fit(splits, replace(config, seed=1), tmp_path / "all" / "seed-1")
    with pytest.raises(OutputError, match="seed-1: exists already; `resume=True` resumes a run"):
        fit_seeds(splits, config, tmp_path / "all", [0, 1])
    assert not (tmp_path / "all" / "seed-0").exists()


@pytest.mark.parametrize("part", ["training", "validation"])
def test_finished_runs_of_other_faces_are_refused(tmp_path: Path, splits: Splits, config: FitConfig, part: str) -> None:
    fit_seeds(splits, config, tmp_path / "all", [0])
    faces = getattr(splits, part)
    other = replace(splits, **{part: replace(faces, images=255 - faces.images)})
    with pytest.raises(ConfigError, match=r"seed-0: was started with other faces: expected .*, found"):
        fit_seeds(other, config, tmp_path / "all", [0, 1], resume=True)
    with pytest.raises(ConfigError, match=r"seed-0: was started with other faces"):  # the summary would be of both
        fit_seeds(other, config, tmp_path / "all", [1])
    assert not (tmp_path / "all" / "seed-1").exists()

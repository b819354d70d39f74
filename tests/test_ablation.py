"""The ablation of the course CNN: what it repeats, what it keeps, and its arithmetic."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.drawn_splits import synthesize
from fer_train.config import FitConfig

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("ablation", BENCHMARKS / "ablation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_means_deviations_and_gains_seed_by_seed(ablation):
    results = {
        "as in the report": ablation.Results(9, [0.5, 0.6], [10, 20]),
        "BatchNorm": ablation.Results(8, [0.52, 0.66], [1000, 3000]),
    }
    lines = ablation.table("course-cnn", results).splitlines()
    assert lines[2] == "| as in the report | 9 | 2 | 55.00 % | 7.07 |  | 15 |"
    assert lines[3] == "| BatchNorm | 8 | 2 | 59.00 % | 9.90 | +4.00 (2.00) | 2,000 |"


def test_one_seed_has_no_deviation(ablation):
    results = {"as in the report": ablation.Results(9, [0.5], [10]), "BatchNorm": ablation.Results(9, [0.4], [9.6])}
    lines = ablation.table("course-cnn", results).splitlines()
    assert lines[2] == "| as in the report | 9 | 1 | 50.00 % |  |  | 10 |"
    assert lines[3] == "| BatchNorm | 9 | 1 | 40.00 % |  | -10.00 | 10 |"


@pytest.mark.parametrize("name", ["course", "speed", "views"])
def test_every_variant_of_a_study_is_a_recipe_of_its_own(ablation, name):
    study = ablation.STUDIES[name]
    recipes = [FitConfig.of(study.model, epochs=study.epochs, **changes) for changes in study.variants.values()]
    assert all(one != other for number, one in enumerate(recipes) for other in recipes[:number])
    taught = [recipe.distill.teachers for recipe in recipes if recipe.distill is not None]
    assert all((Path(path) / "weights.safetensors").is_file() for paths in taught for path in paths)


def test_finished_runs_are_kept_and_other_settings_are_refused(ablation, tmp_path, monkeypatch, capsys):
    write_csv(synthesize(60, 0), tmp_path / "drawn.csv")
    variants = ablation.STUDIES["course"].variants
    left_out = [name for name in variants if name not in ("as in the report", "these three")]
    arguments = ["ablation", str(tmp_path / "drawn.csv"), "--output", str(tmp_path / "runs"), "--seeds", "0", "1"]
    arguments += ["--widths", "[2,2,2]", "--device", "cpu", "--leave-out", *left_out, "--epochs"]
    monkeypatch.setattr(sys, "argv", [*arguments, "1"])
    ablation.main()
    first = capsys.readouterr().out
    weights = sorted((tmp_path / "runs").rglob("ema.safetensors"))
    written = [path.stat().st_mtime_ns for path in weights]
    assert {path.parent.parent.name for path in weights} == {"as-in-the-report", "these-three"}
    assert len(weights) == 4
    ablation.main()
    assert capsys.readouterr().out == first  # the seconds, too: they are those of the runs
    assert [path.stat().st_mtime_ns for path in weights] == written
    assert "n = 6, of the weights after the last of 1 epochs of batches of 128" in first
    monkeypatch.setattr(sys, "argv", [*arguments, "2"])
    with pytest.raises(SystemExit, match=r"^ablation: .*seed-0: was started with other settings"):
        ablation.main()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--leave-out", "BatchNorm"],
            "--leave-out: expected some of AdamW, Muon, Muon and dirac, Muon and whitening, Muon and both",
        ),
        (["--seeds", "0", "0"], "--seeds: expected distinct numbers, found [0, 0]"),
        (["--widths", "16"], "--widths: expected a list such as [16,32,64], found '16'"),
        (["--widths", "[16"], "--widths: expected a list such as [16,32,64], found '[16'"),
    ],
)
def test_wrong_usage_is_named(ablation, monkeypatch, capsys, given, message):
    monkeypatch.setattr(sys, "argv", ["ablation", "x.csv", "--study", "speed", *given])
    with pytest.raises(SystemExit, match="2"):
        ablation.main()
    assert message in capsys.readouterr().err


def test_wrong_settings_and_places_are_named(ablation, tmp_path, monkeypatch):
    write_csv(synthesize(60, 0), tmp_path / "drawn.csv")
    (tmp_path / "file").write_text("")
    for given, message in (
        (["--epochs", "0"], "^ablation: epochs: expected at least 1, found 0$"),
        (["--output", str(tmp_path / "file" / "runs")], "^ablation: .*file"),
    ):
        monkeypatch.setattr(sys, "argv", ["ablation", str(tmp_path / "drawn.csv"), "--widths", "[2,2,2]", *given])
        with pytest.raises(SystemExit, match=message):
            ablation.main()

"""The ablation: its variants, the runs that it keeps, and its statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.ablation import STUDIES, main, statistics_of
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_train.config import FitConfig


@pytest.fixture
def drawn(tmp_path):
    write_csv(synthesize(60, 0), tmp_path / "drawn.csv")
    return str(tmp_path / "drawn.csv")


def test_gains_are_those_of_the_same_seed():
    assert statistics_of([0.5, 0.6], []) == (2, 0.55, pytest.approx(50**0.5), None, None)
    changed = statistics_of([0.52, 0.66], [0.5, 0.6])
    assert changed == (2, pytest.approx(0.59), pytest.approx(98**0.5), pytest.approx(4), pytest.approx(2))


def test_one_seed_has_neither_deviation_nor_standard_error():
    assert statistics_of([0.5], []) == (1, 0.5, None, None, None)
    assert statistics_of([0.4], [0.5]) == (1, 0.4, None, pytest.approx(-10), None)


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_of_a_study_is_a_config_of_its_own(name):
    study = STUDIES[name]
    configs = [FitConfig.of(study.model, epochs=study.epochs, **changes) for changes in study.variants.values()]
    assert all(one != other for number, one in enumerate(configs) for other in configs[:number])
    taught = [config.distill.teachers for config in configs if config.distill is not None]
    assert all((Path(path) / "weights.safetensors").is_file() for paths in taught for path in paths)


def test_finished_runs_are_kept_and_other_settings_are_refused(drawn, tmp_path):
    arguments = [drawn, "--output", str(tmp_path / "runs"), "--seeds", "0,1", "--widths", "[2,2,2]"]
    for variant in STUDIES["course"].variants:
        if variant not in ("as in the report", "these three"):
            arguments += ["--leave-out", variant]
    first = CliRunner().invoke(main, [*arguments, "--epochs", "1"], catch_exceptions=False)
    weights = sorted((tmp_path / "runs").rglob("ema.safetensors"))
    written = [path.stat().st_mtime_ns for path in weights]
    assert {path.parent.parent.name for path in weights} == {"as-in-the-report", "these-three"}
    assert len(weights) == 4
    again = CliRunner().invoke(main, [*arguments, "--epochs", "1"], catch_exceptions=False)
    assert again.stdout == first.stdout  # including the seconds, which are those of the runs
    assert [path.stat().st_mtime_ns for path in weights] == written
    assert "| these three | 48 | 2 | " in first.stdout
    other = CliRunner().invoke(main, [*arguments, "--epochs", "2"])
    assert other.exit_code == 1
    assert "seed-0: was started with another config" in other.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--leave-out", "BatchNorm"],
            "--leave-out: expected one of AdamW, Muon, Muon and dirac, Muon and whitening, Muon and both",
        ),
        (["--seeds", "0,0"], "expected distinct numbers, e.g. 0,1,2, found '0,0'"),
        (["--widths", "16"], "expected a list, e.g. [16,32,64], found '16'"),
        (["--widths", "[16"], "expected a list, e.g. [16,32,64], found '[16'"),
    ],
)
def test_wrong_usage_is_named(given, message):
    done = CliRunner().invoke(main, ["x.csv", "--study", "speed", *given])
    assert done.exit_code == 2
    assert message in done.stderr


def test_an_output_that_cannot_be_written_is_named(drawn, tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(main, [drawn, "--widths", "[2,2,2]", "--output", str(tmp_path / "file" / "runs")])
    assert done.exit_code == 1
    assert done.stderr.startswith("ablation: ")
    assert str(tmp_path / "file") in done.stderr

"""Ways take turns, rates are medians, tables say what was measured, and inputs have the size asked for."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main as run_all
from benchmarks.harness.faces import find_data, splits_of, write_faces
from benchmarks.harness.report import Goal, Report
from benchmarks.harness.side_by_side import compare
from fer_core import DataError, read_faces
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_infer.diagnostics.machine import processor


def test_ways_take_turns_and_are_compared_with_the_last_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, calls = [0.0], []

    def way(name: Any, *takes_s: Any) -> Any:
        left = list(takes_s)

        def call() -> None:
            calls.append(name)
            clock[0] += left.pop(0)

        return call

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    ways = {"fast": way("fast", 50, 1, 3, 2), "absent": None, "slow": way("slow", 50, 8, 4, 6)}
    report = Report(path=tmp_path / "results.json")
    assert compare(report, "Work", ways, units=12, unit="faces", repeats=3) == {"fast": 6, "slow": 2}
    assert calls == ["fast", "slow"] * 4
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Work",
        f"{report.machine}, median of 3 interleaved runs",
        "",
        "| way | faces/s | slowest | fastest | against slow |",
        "|---|---:|---:|---:|---:|",
        "| fast | 6 | 4 | 12 | 3.00x |",
        "| absent | absent |  |  |  |",
        "| slow | 2 | 2 | 3 | 1.00x |",
    ]
    [table] = json.loads((tmp_path / "results.json").read_text())["tables"]
    assert table["rows"][2] == ["slow", 2, 1.5, 3, 1]


def test_rows_are_saved_before_the_next_one_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "results.json"

    def rows() -> Iterator[Any]:
        yield ("first", 1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Report(path=path).table("Work", {"way": "{}", "s": "{:.1f}"}, rows())
    assert json.loads(path.read_text())["tables"][0]["rows"] == [["first", 1.0]]


def test_goals_are_reached_at_their_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    Report().goals(
        Goal("speed", 5.0, at_least=5),
        Goal("loss", 0.31, at_most=0.3),
        Goal("rate", 7999, at_least=8000),
        Goal("time", 1.05, at_most=1.05),
        Goal("other", None, at_most=1),
    )
    assert capsys.readouterr().out.splitlines()[3:] == [
        "| speed | at least 5 | 5.00 | yes |",
        "| loss | at most 0.3 | 0.31 | no |",
        "| rate | at least 8,000 | 7,999.00 | no |",
        "| time | at most 1.05 | 1.05 | yes |",
        "| other | at most 1 |  | not measured |",
    ]


def test_a_csv_repeats_its_rows_as_often_as_needed(tmp_path: Path) -> None:
    faces = synthesize(10, 0)
    write_csv(faces, tmp_path / "few.csv")
    assert write_faces(tmp_path / "few.csv", 25, tmp_path / "many.csv") == "25 faces of few.csv"
    np.testing.assert_array_equal(read_faces(tmp_path / "many.csv").images, faces.images[np.arange(25) % 10])
    assert write_faces(None, 3, tmp_path / "three.csv") == "3 drawn faces"
    assert len(read_faces(tmp_path / "three.csv")) == 3


def test_a_csv_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("pixels\n")
    with pytest.raises(DataError, match=r"empty\.csv: has no row$"):
        write_faces(tmp_path / "empty.csv", 2, tmp_path / "faces.csv")


def test_the_first_faces_of_each_split_are_taken(tmp_path: Path) -> None:
    faces = synthesize(30, 0)
    write_csv(faces, tmp_path / "faces.csv")
    splits = splits_of(tmp_path / "faces.csv", 5, 2)
    np.testing.assert_array_equal(splits.training.images, faces.images[:5])
    np.testing.assert_array_equal(splits.validation.images, faces.of_split("PublicTest").images[:2])
    drawn = splits_of(None, 100, 10)
    assert (len(drawn.training), len(drawn.validation)) == (100, 10)


def test_the_first_of_the_preferred_files_that_fits_is_found(tmp_path: Path) -> None:
    write_csv(synthesize(10, 0), tmp_path / "fer2013.csv")
    _, row, *_ = (tmp_path / "fer2013.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text(f"pixels\n{row.split(',')[1]}\n")
    assert find_data(tmp_path, "test.csv", "fer2013.csv") == tmp_path / "test.csv"
    assert find_data(tmp_path, "test.csv", "fer2013.csv", splits=True) == tmp_path / "fer2013.csv"
    assert find_data(tmp_path, "other.csv") is None
    assert find_data(None, "test.csv") is None


def test_all_benchmarks_run_below_a_heading_with_date_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: Any) -> Any:
        commands.append(command[2:])
        return SimpleNamespace(returncode=int(command[2] == "benchmarks.memory"))

    monkeypatch.setattr(subprocess, "run", run)
    done = CliRunner().invoke(run_all, [str(Path(__file__))])
    assert done.exit_code == 1, "the first benchmark that fails ends the run"
    assert commands[0] == ["benchmarks.read_csv", __file__]
    assert commands[-1] == ["benchmarks.memory"]
    assert all(importlib.util.find_spec(command[0]) for command in commands)
    title, _, machine, versions, _, _ = done.stdout.splitlines()
    assert re.fullmatch(r"# Measured on \d{4}-\d\d-\d\d by `make bench`", title)
    assert machine.startswith(processor())
    assert f"numpy {np.__version__}" in versions

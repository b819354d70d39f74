"""Every benchmark runs at its smallest size and prints and saves its tables."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

import benchmarks
from benchmarks import browser_peers
from benchmarks.on_gpu import QUICK
from benchmarks.peers import fer_package
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize

FOLDER = Path(benchmarks.__file__).parent
DNN = f" --model {benchmarks.EXPORTS / 'course-dnn'}"
SMALLEST = {
    **QUICK,
    "accuracy": "",
    "browser_peers": "--faces 8 --pictures 1 --repeats 1",
    "initialization": "--faces 8 --epochs 1 --seeds 0 --scheme He",
    "memory": "--faces 16 --times 2",
    "read_csv": "--faces 16 --repeats 1",
    "photos_speed": "--photos 3 --repeats 1",
    "photos_round_trip": "--faces 4 --curve-faces 1 --figure curves.png",
    "scale_ray": "--files 2 --faces 4 --repeats 1",
}
SMALLEST |= {
    name: SMALLEST[name] + DNN
    for name in (
        "score_csv",
        "attribute",
        "browser_peers",
        "cuda_options",
        "accuracy",
        "photos_speed",
        "photos_round_trip",
    )
}


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: Path) -> Path:
        raise LookupError("tests do not download it")

    monkeypatch.setattr(fer_package, "download", absent)
    monkeypatch.setattr(browser_peers, "install", absent)


def test_every_benchmark_is_run_here() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__"}
    assert modules - set(SMALLEST) == {"ablation", "on_gpu"}, "which have tests of their own"


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_a_benchmark_runs_at_its_smallest_size_and_saves_what_it_prints(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = []
    if name == "accuracy":
        write_csv(synthesize(60, 0), tmp_path / "drawn.csv")
        data = ["drawn.csv"]
    main = importlib.import_module(f"benchmarks.{name}").main
    done = CliRunner().invoke(main, [*data, *SMALLEST[name].split(), "--json", "results.json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert "processor" in results["machine"]
    assert all(table["rows"] for table in results["tables"])
    for table in results["tables"]:
        assert f"| {' | '.join(table['columns'])} |" in done.stdout
        assert all(f"| {row[0]} |" in done.stdout for row in table["rows"])


def test_the_documentation_names_benchmarks_with_options_that_they_have() -> None:
    root = FOLDER.parent
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"python -m benchmarks\.([a-z]\w*)([^`#\n]*)", text)
    assert len(found) > 10
    for name, arguments in found:
        command = importlib.import_module(f"benchmarks.{name}").main
        command.make_parser(click.Context(command)).parse_args(shlex.split(arguments))


@pytest.mark.parametrize("name", sorted({*QUICK, "accuracy", "on_gpu"}))
def test_cuda_that_is_not_there_is_one_line_and_nothing_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    more = ["--output", "results"] if name == "on_gpu" else []
    done = CliRunner().invoke(importlib.import_module(f"benchmarks.{name}").main, ["--device", "cuda", *more])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{name}: ")
    assert "cuda" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())

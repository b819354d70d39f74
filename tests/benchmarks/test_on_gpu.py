"""The script for a GPU, rehearsed on a CPU: what is saved, what is cut, and what is tried again."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import on_gpu
from benchmarks.on_gpu import Step, main, plan

SLEEP = "import subprocess, sys, pathlib; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def invoke(folder: Any, *more: Any) -> Any:
    where = ["--output", str(folder / "out"), "--work", str(folder / "work"), "--device", "cpu", "--quick"]
    return CliRunner().invoke(main, [*where, *more])


def statuses(folder: Any) -> Any:
    steps = json.loads((folder / "out" / "steps.json").read_text())["steps"]
    return {name: step["status"] for name, step in steps.items()}


def test_a_step_starts_if_there_is_time_and_writes_its_results_and_log(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--budget-s", "0", "--step", "ceilings").exit_code == 1
    assert statuses(tmp_path) == {"ceilings": "no time left"}
    assert invoke(tmp_path, "--step", "ceilings").exit_code == 0
    assert statuses(tmp_path) == {"ceilings": "done"}
    assert json.loads((tmp_path / "out" / "ceilings.json").read_text())["tables"][0]["title"] == "Fastest operations"
    assert "Fastest operations" in (tmp_path / "out" / "ceilings.log").read_text()


def test_failed_and_cut_steps_stop_nothing_and_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(*commands: Any) -> None:
        monkeypatch.setattr(on_gpu, "plan", lambda *_: [Step(n, (sys.executable, "-c", c), 1.5) for n, c in commands])

    steps(("broken", "raise SystemExit(3)"), ("slow", SLEEP), ("good", "print('once')"))
    start = time.perf_counter()
    done = invoke(tmp_path)
    assert time.perf_counter() - start < 50  # the sleeping grandchild was not waited for
    assert done.exit_code == 1
    assert "on_gpu: not done: broken, slow; see " in done.stderr
    assert statuses(tmp_path) == {"broken": "failed with exit code 3", "slow": "cut after 2 s", "good": "done"}
    steps(("broken", "pass"), ("slow", "pass"), ("good", "raise SystemExit(4)"))
    assert invoke(tmp_path).exit_code == 0
    assert set(statuses(tmp_path).values()) == {"done"}


def test_results_of_two_machines_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "steps.json").write_text('{"on": "a GPU", "steps": {}}')
    assert "contains results of a GPU; choose another output for those of" in invoke(tmp_path).stderr


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_planned_command_is_one_that_its_program_accepts(device: str, quick: bool, tmp_path: Path) -> None:
    (tmp_path / "work" / "exports" / "best").mkdir(parents=True)
    steps = list(plan(device, Path(__file__), tmp_path, tmp_path / "work", ("best",), quick))
    for step in steps:
        words = list(step.command)
        if words[1] == "-m" and words[2] != "pytest":
            command, words = importlib.import_module(words[2]).main, words[3:]
        elif words[1] == "-c":
            package = words[2].split()[1].partition(".")[0]
            command, words = importlib.import_module(f"{package}.cli").main.commands[words[3]], words[4:]
        else:
            continue
        command.make_context(step.name, words)
    assert ("tests" in [step.name for step in steps]) == (device == "cuda")

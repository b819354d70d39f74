r"""Run the tests and benchmarks that need a GPU within a time budget, and collect the results in one folder.

\b
python -m benchmarks.on_gpu fer2013.csv --output results
python -m benchmarks.on_gpu --output rehearsal --device cpu --quick

Nothing starts unless PyTorch and ONNX Runtime really run on CUDA. OUTPUT gets steps.json, and a log and a JSON file
per step, which are saved as results are measured. The same command reruns the steps that failed, were cut, or had no
time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import EXPORTS, ROOT
from benchmarks.harness.command import benchmark, data_argument
from benchmarks.harness.faces import find_data, write_faces
from benchmarks.harness.report import TEXT, Cell, Report
from fer_core import FerError
from fer_core.outputs.staging import staged
from fer_infer.runtime.session import PROBE_MODEL, open_session

ACCURACIES: Final = {"course-cnn": "66.8", "best": "72"}
"""PublicTest accuracy, in percent, up to which an architecture is trained against the clock."""
QUICK: Final = {
    "score_csv": "--faces 16 --repeats 1",
    "train": "--faces 16 --repeats 1 --architecture course-dnn --workers 0 --accuracy 1 --limit-s 0",
    "attribute": "--faces 4 --method-faces 1 --repeats 1",
    "cuda_options": "--faces 16 --batch-size 8 --repeats 1",
    "ceilings": "--small",
    "batched_seeds": "--seeds 2 --widths 2 2 2 --steps 1 --repeats 1",
}
"""Smallest options of each benchmark, for a rehearsal."""
FULL: Final = {"score_csv": "--faces 200000", "train": "--faces 8192", "attribute": "--method-faces 256"}
"""Options of the benchmarks that have too little to do on a GPU by default."""


@dataclass(frozen=True)
class Step:
    """A command, and the time after which it is cut."""

    name: str
    command: tuple[str, ...]
    limit_s: float = 300.0


def _program(package: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"from {package}.cli import main; main()", *arguments)  # not installed, perhaps


def plan(
    device: str, data: Path | None, output: Path, work: Path, models: Iterable[str], quick: bool
) -> Iterator[Step]:
    """Yield the steps, the most valuable ones first."""
    exported = [work / "exports" / model for model in models]
    given = [str(data)] if data else []

    def measure(name: str, *arguments: str, label: str = "", limit_s: float = 300.0) -> Step:
        options = (*arguments, *(QUICK if quick else FULL).get(name, "").split())
        where = ("--device", device, "--json", str(output / f"{label or name}.json"))
        return Step(label or name, (sys.executable, "-m", f"benchmarks.{name}", *options, *where), limit_s)

    yield Step("doctor", _program("fer_infer", "doctor"))
    if device == "cuda":
        yield Step("nvidia-smi", ("nvidia-smi", "-q", "-d", "CLOCK,POWER,MEMORY"))
        tests = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text("utf-8")]
        yield Step("tests", (sys.executable, "-m", "pytest", "-m", "gpu", "-q", *map(str, sorted(tests))))
    for folder in exported:
        arguments = (str(EXPORTS / folder.name), "--output", str(folder), "--data", str(work / "parity.csv"))
        yield Step(f"export-{folder.name}", _program("fer_train", "export", *arguments, "--fp16", "--force"))
    chosen = [word for folder in exported for word in ("--model", str(folder))]
    yield measure("score_csv", *given, *chosen)
    if quick:
        yield measure("train", *given)
    else:
        for architecture, accuracy in ACCURACIES.items():
            goal = ("--architecture", architecture, "--accuracy", accuracy)
            yield measure("train", *given, *goal, label=f"train-{architecture}", limit_s=900)
    yield measure("attribute", *given, *chosen)
    yield measure("cuda_options", *given, *chosen, limit_s=600)
    yield measure("ceilings")
    yield measure("batched_seeds")
    yield measure("accuracy", *given, *chosen)


def run(step: Step, log: Path, left_s: float) -> dict[str, Any]:
    """Run a step in a process group of its own, which is ended when its time is over; return what happened."""
    limit_s = min(step.limit_s, left_s)
    start = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            step.command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            status = "done" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            status = f"cut after {limit_s:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return {"status": status, "took_s": round(time.perf_counter() - start, 1), "command": list(step.command)}


@benchmark(
    data_argument,
    click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the results."),
    click.option("--work", type=click.Path(path_type=Path), default=Path("runs/on_gpu"), help="Folder of the exports."),
    click.option("--model", "models", multiple=True, default=("course-cnn", "compact", "best"), show_default=True),
    click.option("--step", "only", multiple=True, help="Run only this step; repeatable."),
    click.option("--budget-s", type=float, default=3600.0, show_default=True, help="Time for all steps."),
    click.option("--quick", is_flag=True, help="Rehearse with the smallest options."),
)
def main(
    report: Report,
    data: Path | None,
    output: Path,
    work: Path,
    models: tuple[str, ...],
    only: tuple[str, ...],
    budget_s: float,
    quick: bool,
) -> None:
    """Run what has not been done yet, in order."""
    end = time.perf_counter() + budget_s
    if report.device == "cuda":
        open_session(PROBE_MODEL, "cuda")  # raises DeviceError unless the session itself reports CUDA
    output, work, data = output.resolve(), work.resolve(), find_data(data, "fer2013.csv", splits=True)
    for folder in (output, work):
        folder.mkdir(parents=True, exist_ok=True)
    record = output / "steps.json"
    on = f"{report.machine}{', rehearsal' if quick else ''}"
    results: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.is_file() else {"on": on, "steps": {}}
    if results["on"] != on:
        raise FerError(f"{record}: contains results of {results['on']}; choose another output for those of {on}")
    write_faces(data, 512, work / "parity.csv")
    failed = []

    def outcomes() -> Iterator[tuple[Cell, ...]]:
        for step in plan(report.device, data and data.resolve(), output, work, models, quick):
            done = results["steps"].get(step.name, {})
            if (only and step.name not in only) or done.get("status") == "done":
                continue
            left_s = end - time.perf_counter()
            done = run(step, output / f"{step.name}.log", left_s) if left_s > 1 else {"status": "no time left"}
            results["steps"][step.name] = done
            with staged(record, force=True) as stage:
                stage.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            if done["status"] != "done":
                failed.append(step.name)
            yield step.name, done["status"], done.get("took_s")

    report.table(f"Steps within {budget_s:g} s", {"step": TEXT, "status": TEXT, "s": "{:.1f}"}, outcomes())
    if failed:
        raise FerError(f"not done: {', '.join(failed)}; see {output}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the running step is ended as well
    main()

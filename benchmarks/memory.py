"""Measure the peak memory of `fer-infer score` on a short CSV, and on one that is a hundred times as long.

A long CSV is decoded by compiled code, and Numba itself takes memory, so the short CSV is also scored by a process
that has loaded it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import EXPORTS
from benchmarks.harness.command import benchmark, count_option, faces_option
from benchmarks.harness.faces import write_faces
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from fer_core import FerError

MODEL: Final = EXPORTS / "course-dnn"

MEASURE: Final = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Linux counts the memory of the parent towards the peak of a process, so this small process is the parent."""

PLAIN: Final = "from fer_infer.cli import main; main()"
COMPILED: Final = f"from fer_core.io.csv.decoder import load_compiled_decoder; load_compiled_decoder(); {PLAIN}"


def peak_mib(path: Path, program: str) -> float:
    """Score in a process of its own; return its peak memory in MiB."""
    score = [sys.executable, "-c", program, "score", str(path), "--model", str(MODEL), "--device", "cpu"]
    score += ["--output", str(path.with_name("predictions.csv")), "--columns", "probabilities", "--force"]
    measured = subprocess.run([sys.executable, "-S", "-c", MEASURE, *score], stdout=subprocess.PIPE, text=True)
    if measured.returncode:
        raise FerError(f"fer-infer score failed with exit code {measured.returncode}")
    return int(measured.stdout) / 1024


@benchmark(faces_option(1000), count_option("--times", 100, "Length of the long CSV, in short ones."), cuda=False)
def main(report: Report, faces: int, times: int) -> None:
    """Print the table and the goal."""
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.csv", Path(folder) / "long.csv"
        write_faces(None, faces, short)
        write_faces(None, faces * times, long)

        def rows() -> Iterator[tuple[Cell, ...]]:
            for name, path, program in (
                (f"{faces:,}", short, PLAIN),
                (f"{faces:,}, Numba loaded", short, COMPILED),
                (f"{faces * times:,}", long, PLAIN),
            ):
                peaks.append(peak_mib(path, program))
                yield name, peaks[-1], peaks[-1] / peaks[0]

        columns = {"rows": TEXT, "MiB": "{:,.0f}", "against the short file": "{:.2f}x"}
        report.table(f"Peak memory of fer-infer score, {MODEL.name}, probabilities", columns, rows())
    report.goals(Goal("times the memory of the short file, Numba loaded", peaks[2] / peaks[1], at_most=1.1))


if __name__ == "__main__":
    main()

"""Peak memory of `fer-infer score` on a short CSV, and on one a hundred times as long.

python benchmarks/memory.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _side_by_side import Goal, machine, print_goals

from fer_core.csv_writer import write_csv
from fer_train.data import synthesize

MODEL = Path(__file__).resolve().parent.parent / "exports" / "course-dnn"
ROWS, TIMES = 1000, 100


def peak_mib(path: Path, output: Path) -> float:
    """Score in a process of its own; return the most memory that it held."""
    command = [sys.executable, "-c", "from fer_infer.cli import main; main()", "score", str(path)]
    process = subprocess.Popen(
        [*command, "--model", str(MODEL), "--output", str(output), "--columns", "probabilities", "--force"],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"scoring failed with status {status}")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        short, long, output = (Path(folder) / name for name in ("short.csv", "long.csv", "predictions.csv"))
        write_csv(synthesize(ROWS, 0), short)
        header, _, rows = short.read_bytes().partition(b"\n")
        with long.open("wb") as file:
            file.write(header + b"\n")
            for _ in range(TIMES):
                file.write(rows)
        peaks = [peak_mib(path, output) for path in (short, long)]
    print(f"\nPeak memory of fer-infer score, {MODEL.name}, probabilities\n{machine()}\n")
    print("| rows | MiB | against the short file |\n|---:|---:|---:|")
    for n, peak in zip((ROWS, ROWS * TIMES), peaks, strict=True):
        print(f"| {n:,} | {peak:,.0f} | {peak / peaks[0]:.2f}x |")
    print_goals(Goal("times the memory of the short file", peaks[1] / peaks[0], at_most=1.1))


if __name__ == "__main__":
    main()

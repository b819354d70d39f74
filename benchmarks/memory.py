"""Peak memory of `fer-infer score` on a short CSV, and on one a hundred times as long.

The long one is decoded by compiled code, and Numba itself takes memory, so the short one is also scored by a process
that has loaded it.

python benchmarks/memory.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from _side_by_side import Goal, machine, print_goals

from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize

MODEL = Path(__file__).resolve().parent.parent / "exports" / "course-dnn"
ROWS, TIMES = 1000, 100


MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""Linux counts what the parent of a process held towards the peak of the process, so this small one is its parent."""


PLAIN = "from fer_infer.cli import main; main()"
COMPILED = f"from fer_core.io.csv.decoder import load_compiled_decoder; load_compiled_decoder(); {PLAIN}"


def peak_mib(path: Path, output: Path, program: str = PLAIN) -> float:
    """Score in a process of its own; return the most memory that it held."""
    score = [sys.executable, "-c", program, "score", str(path)]
    score += ["--model", str(MODEL), "--output", str(output), "--columns", "probabilities", "--force"]
    measured = subprocess.run([sys.executable, "-S", "-c", MEASURE, *score], stdout=subprocess.PIPE, text=True)
    if measured.returncode:
        sys.exit(f"scoring failed with status {measured.returncode}")
    return int(measured.stdout) / 1024


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
        peaks = {
            f"{ROWS:,}": peak_mib(short, output),
            f"{ROWS:,}, Numba loaded": peak_mib(short, output, COMPILED),
            f"{ROWS * TIMES:,}": peak_mib(long, output),
        }
    print(f"\nPeak memory of fer-infer score, {MODEL.name}, probabilities\n{machine()}\n")
    first, loaded, last = peaks.values()
    print("| rows | MiB | against the short file |\n|---:|---:|---:|")
    for rows, peak in peaks.items():
        print(f"| {rows} | {peak:,.0f} | {peak / first:.2f}x |")
    print_goals(Goal("times the memory of the short file, Numba loaded", last / loaded, at_most=1.1))


if __name__ == "__main__":
    main()

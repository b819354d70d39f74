"""Run the benchmarks of `make bench`, each in a process of its own: speed, and the accuracy of the shipped models.

DATA is a CSV of faces, or a folder with test.csv and fer2013.csv; by default faces are drawn.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from benchmarks.harness.command import data_argument
from benchmarks.harness.report import PACKAGES
from fer_infer.diagnostics.machine import describe_machine

READ_DATA: Final = ("read_csv", "score_csv", "train", "attribute", "accuracy")
DRAW_FACES: Final = ("memory", "scale_ray")


@click.command(help=__doc__)
@data_argument
def main(data: Path | None) -> None:
    """Print the date, the machine and every table; stop at the first benchmark that fails."""
    machine = describe_machine(PACKAGES)
    print(f"# Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench`\n")
    print(f"{machine.pop('processor')}, {platform.system()}, {machine.pop('python')}")
    del machine["system"]
    print(", ".join(machine.values()))
    print("\nRatios within a table hold on machines of the same kind; seconds do not.", flush=True)
    for name in (*READ_DATA, *DRAW_FACES):
        arguments = [str(data)] if data is not None and name in READ_DATA else []
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments])
        if done.returncode:
            raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()

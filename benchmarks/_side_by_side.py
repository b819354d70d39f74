"""Time several ways of doing one thing in one run, taking turns, so that noise of the machine hits all alike."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from fer_core import iter_faces

PACKAGES: Final = (
    "numpy",
    "numba",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "pandas",
    "polars",
    "captum",
    "ray",
    "ai-edge-litert",
)


def compare(
    title: str, ways: Mapping[str, Callable[[], object] | None], *, units: float, unit: str, repeats: int = 5
) -> dict[str, float]:
    """Print a table: median seconds, units a second, and the ratio to the last way, which is the reference.

    Parameters
    ----------
    title : str
        What is measured, on what.
    ways : mapping of str to callable
        Each is called once to warm up and `repeats` times in turn; what is None gets a row that says it is absent.
    units : float
        What one call works through.
    unit : str
        Its name.
    repeats : int
        Timed calls of each way.

    Returns
    -------
    dict of str to float
        Median seconds of each way that is present.
    """
    present = {name: way for name, way in ways.items() if way is not None}
    seconds: dict[str, list[float]] = {name: [] for name in present}
    for way in present.values():
        way()
    for _ in range(repeats):
        for name, way in present.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    reference = list(median)[-1]
    print(f"\n{title}\n{machine()}, median of {repeats} interleaved runs\n")
    print(f"| way | s | {unit}/s | against {reference} |\n|---|---:|---:|---:|")
    for name in ways:
        if name in median:
            value = median[name]
            print(f"| {name} | {value:.3f} | {units / value:,.0f} | {median[reference] / value:.2f}x |")
        else:
            print(f"| {name} | absent | | |")
    return median


@dataclass(frozen=True)
class Goal:
    """A bound that a figure is to keep; exactly one of `at_least` and `at_most` is given.

    Attributes
    ----------
    what : str
        The figure.
    found : float or None
        Its value; None where it could not be measured.
    at_least, at_most : float, optional
        The bound.
    """

    what: str
    found: float | None
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        bound = f"at least {self.at_least:,g}" if self.at_least is not None else f"at most {self.at_most:,g}"
        if self.found is None:
            return f"| {self.what} | {bound} | | not measured |"
        reached = (self.at_least is None or self.found >= self.at_least) and (
            self.at_most is None or self.found <= self.at_most
        )
        return f"| {self.what} | {bound} | {self.found:,.2f} | {'yes' if reached else 'no'} |"


def print_goals(*goals: Goal) -> None:
    """Print a table of goals, and whether each is reached."""
    print("\n| goal | bound | found | reached |\n|---|---:|---:|---|")
    print(*goals, sep="\n")


def real_data(argument: str | None, *names: str, splits: bool = False) -> Path | None:
    """Return the real faces to measure on, None for drawn ones.

    Parameters
    ----------
    argument : str or None
        A file, or a folder to look in.
    names : str
        Files of a folder, the best first.
    splits : bool
        What has no Usage column will not do.
    """
    if not argument:
        return None
    given = Path(argument)
    if not given.exists():
        sys.exit(f"{given}: expected a file or a folder of faces, found none")
    paths = [given / name for name in names] if given.is_dir() else [given]
    for path in paths:
        if path.exists() and (not splits or next(iter_faces(path, batch_rows=1)).splits is not None):
            return path
    return None


INSTRUCTIONS: Final = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""What decides how fast float32, int8 and bf16 are, as Linux names it."""


def machine() -> str:
    """Name the processor, those of its instructions that matter here, and how many cores this process may use."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()]
        told = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # what stands first counts
        known = [instruction for instruction in INSTRUCTIONS if instruction in told.get("flags", "").split()]
        name = " ".join([told["model name"], *([f"({', '.join(known)})"] if known else [])])
    except (OSError, KeyError):
        name = platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # one of the two wheels of ONNX Runtime, or an extra
        return ""


def main() -> None:
    """Print what stands above all tables of one run."""
    print(f"# Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench`\n")
    print(f"{machine()}, {platform.system()}, Python {platform.python_version()}")
    print(", ".join(filter(None, map(_installed, PACKAGES))))
    print("\nRatios within a table hold from one machine to another of its kind; seconds do not.")


if __name__ == "__main__":
    main()

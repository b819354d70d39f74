"""Time several ways of doing one thing in one run, taking turns, so that noise of the machine hits all alike."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGES: Final = ("numpy", "numba", "onnxruntime-gpu", "torch", "pandas", "polars", "captum", "ray", "ai-edge-litert")


def compare(title: str, ways: Mapping[str, Callable[[], object]], *, units: float, unit: str, repeats: int = 5) -> None:
    """Print a table: median seconds, units a second, and the ratio to the last way, which is the reference.

    Parameters
    ----------
    title : str
        What is measured, on what.
    ways : mapping of str to callable
        Each is called once to warm up and `repeats` times in turn.
    units : float
        What one call works through.
    unit : str
        Its name.
    repeats : int
        Timed calls of each way.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    reference = list(median)[-1]
    print(f"\n{title}\n{machine()}, median of {repeats} interleaved runs\n")
    print(f"| way | s | {unit}/s | against {reference} |\n|---|---:|---:|---:|")
    for name, value in median.items():
        print(f"| {name} | {value:.3f} | {units / value:,.0f} | {median[reference] / value:.1f}x |")


def machine() -> str:
    """Name the processor and how many cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def main() -> None:
    """Print what stands above all tables of one run."""
    print(f"# Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench`\n")
    print(f"{machine()}, {platform.system()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    print("\nRatios within a table hold from one machine to another of its kind; seconds do not.")


if __name__ == "__main__":
    main()

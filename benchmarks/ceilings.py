"""Measure the limits of the hardware: multiply-adds per second by type, and bytes per second of copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click
import torch

from benchmarks.harness.arithmetic import operation_rates, shortest
from benchmarks.harness.command import benchmark
from benchmarks.harness.report import TEXT, Cell, Report

CPU_TYPES: Final = {"fp32": (torch.float32, False), "bf16": (torch.bfloat16, False)}
TYPES: Final = {
    "cpu": CPU_TYPES,
    "cuda": {**CPU_TYPES, "TF32": (torch.float32, True), "fp16": (torch.float16, False)},
}
"""By device and name, the type of the factors, and whether TensorFloat-32 replaces it."""


def products(report: Report, small: bool) -> Iterator[tuple[Cell, ...]]:
    """Yield the rate of each operation in each type."""
    for name, (dtype, tf32) in TYPES[report.device].items():
        for operation, rate in operation_rates(dtype, report, tf32=tf32, small=small).items():
            yield name, operation, rate / 1e9


def copies(report: Report, small: bool) -> Iterator[tuple[Cell, ...]]:
    """Yield the rate of each copy; within a device, each byte is read and written."""
    size = 2**20 if small else 2**28
    target = torch.empty(size, dtype=torch.uint8, device=report.device)
    source = torch.ones_like(target)
    yield "within the device", 2 * size / shortest(lambda: target.copy_(source), report) / 1e9
    if report.device == "cuda":
        pageable = source.cpu()
        pinned = pageable.pin_memory()
        yield "from page-locked memory", size / shortest(lambda: target.copy_(pinned), report) / 1e9
        yield "from pageable memory", size / shortest(lambda: target.copy_(pageable), report) / 1e9


@benchmark(click.option("--small", is_flag=True, help="Operations too small to be representative, for a test."))
def main(report: Report, small: bool) -> None:
    """Print both tables."""
    conditions = "shortest of 5 calls"
    columns = {"type": TEXT, "operation": TEXT, "G multiply-adds/s": "{:,.1f}"}
    report.table("Fastest operations", columns, products(report, small), conditions=conditions)
    report.table("Copies", {"copy": TEXT, "GB/s": "{:,.1f}"}, copies(report, small), conditions=conditions)


if __name__ == "__main__":
    main()

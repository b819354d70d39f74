"""Step that measures what the chip can do: matrix products, copies within it, copies to it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from record import Entry, Record
from timing import side_by_side
from workbench import Workbench

KINDS: Final[dict[str, tuple[torch.dtype, bool]]] = {
    "fp32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "bf16": (torch.bfloat16, False),
    "fp16": (torch.float16, False),
}
"""By name, the type of the factors, and whether TensorFloat-32 may replace it."""


def ceilings(bench: Workbench, record: Record) -> None:
    """Take the FLOP/s of square matrix products on random numbers, and the bytes a second of copies."""
    for name, (kind, tf32) in KINDS.items():
        record.take(f"matmul {name}", partial(_matmul, bench, kind, tf32))
    record.take("copy within the device", partial(_copy, bench, pinned=None))
    record.take("copy from page-locked memory", partial(_copy, bench, pinned=True))
    record.take("copy from pageable memory", partial(_copy, bench, pinned=False))


def _matmul(bench: Workbench, kind: torch.dtype, tf32: bool) -> Entry:
    if tf32:
        bench.require_cuda()
    side = 128 if bench.quick else 8192
    a, b = (torch.randn(side, side, device=bench.device).to(kind) for _ in range(2))
    out = torch.empty_like(a)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        return _rate(bench, "flop", lambda: torch.matmul(a, b, out=out), 2 * side**3) | {"side": side}
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _copy(bench: Workbench, pinned: bool | None) -> Entry:
    """Copy within the device, which reads and writes each byte, or from the host, which moves it once."""
    if pinned is not None:
        bench.require_cuda()
    size = 2**20 if bench.quick else 2**30
    source = torch.ones(size, dtype=torch.uint8, device=bench.device if pinned is None else "cpu")
    source = source.pin_memory() if pinned else source
    target = torch.empty(size, dtype=torch.uint8, device=bench.device)
    moved = size * (2 if pinned is None else 1)
    return _rate(bench, "bytes", lambda: target.copy_(source), moved) | {"size_bytes": size}


def _rate(bench: Workbench, unit: str, way: Any, units: int) -> Entry:
    calls = 1 if bench.quick else 10

    def repeated() -> None:
        for _ in range(calls):
            way()

    found = side_by_side({unit: repeated}, units=units * calls, repeats=bench.repeats)
    return {"n": found["n"], f"{unit}_per_s": found[unit]["per_s"], "slowest_per_s": found[unit]["slowest_per_s"]}

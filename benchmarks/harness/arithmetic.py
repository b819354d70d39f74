"""Upper limit of a network's speed: the multiply-adds per second of the fastest large operation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.harness.report import Report
from fer_infer.diagnostics.stopwatch import timed


def note_limit(
    report: Report, what: str, multiply_adds: float, dtype: torch.dtype, peer: str, peer_rate: float
) -> None:
    """Note how many faces per second the hardware allows, and how many times the rate of a peer that is.

    Parameters
    ----------
    report : Report
        Prints the note; its device is measured.
    what : str
        Name of the work.
    multiply_adds : float
        Multiply-adds per face.
    dtype : torch.dtype
        Type of the factors.
    peer : str
        Name of the peer.
    peer_rate : float
        Its rate in faces per second.
    """
    rates = operation_rates(dtype, report)
    name = max(rates, key=lambda one: rates[one])
    limit = rates[name] / multiply_adds
    report.note(
        f"{what} takes {multiply_adds / 1e6:,.1f} M multiply-adds per face. The fastest operation in "
        f"{str(dtype).removeprefix('torch.')}, a large {name}, runs {rates[name] / 1e9:,.0f} G multiply-adds per "
        f"second here, which limits the rate to {limit:,.0f} faces/s, {limit / peer_rate:.1f} times {peer}."
    )


@torch.no_grad()
def operation_rates(dtype: torch.dtype, report: Report, *, tf32: bool = False, small: bool = False) -> dict[str, float]:
    """Return the multiply-adds per second of a large convolution and a large matrix product.

    Parameters
    ----------
    dtype : torch.dtype
        Type of the factors.
    report : Report
        Its device is measured.
    tf32 : bool
        Let a GPU compute float32 products in TensorFloat-32.
    small : bool
        Measure operations too small to be representative, for a test.
    """
    on_gpu = report.device == "cuda"
    batch, side = (2, 64) if small else (1024, 8192) if on_gpu else (64, 2048)
    image = torch.randn(batch, 128, 24, 24, device=report.device).to(dtype, memory_format=torch.channels_last)
    weights = torch.randn(128, 128, 3, 3, device=report.device).to(dtype, memory_format=torch.channels_last)
    matrix = torch.randn(side, side, device=report.device).to(dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
            convolution_s = shortest(lambda: functional.conv2d(image, weights, padding=1), report)
        product_s = shortest(lambda: matrix @ matrix, report)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return {
        "convolution": image.numel() * weights[0].numel() / convolution_s,
        "matrix product": matrix.numel() * side / product_s,
    }


def shortest(call: Callable[[], object], report: Report, repeats: int = 5) -> float:
    """Return the seconds of the shortest of several calls, after one that warms up."""
    call()
    return min(timed(call, report.wait)[0] for _ in range(repeats))

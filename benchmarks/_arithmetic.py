"""What a processor's arithmetic allows: no network runs more multiply-adds a second than the fastest operation does."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn import functional


def print_limit(what: str, multiply_adds: float, dtype: torch.dtype, peer: str, peer_rate: float) -> None:
    """Print how many faces a second there could be, and against a peer.

    Parameters
    ----------
    what : str
        What is done with a face.
    multiply_adds : float
        Of it.
    dtype : torch.dtype
        In which they are done.
    peer : str
        Whose `peer_rate` faces a second it is compared with.
    """
    name, rate = fastest_arithmetic(dtype)
    faces_per_s = rate / multiply_adds
    print(f"\nOf a face, {what} takes {multiply_adds / 1e6:,.1f} M multiply-adds.", end=" ")
    print(f"The fastest that {str(dtype).removeprefix('torch.')} goes here, a large {name},")
    print(f"is {rate / 1e9:,.0f} G of them a second: {faces_per_s:,.0f} faces/s if there were nothing else,", end=" ")
    print(f"{faces_per_s / peer_rate:.1f} times {peer}.")


def fastest_arithmetic(dtype: torch.dtype) -> tuple[str, float]:
    """Return the multiply-adds a second of a large convolution or matrix product, and which of them it was."""
    image = torch.randn(64, 128, 24, 24, dtype=dtype).to(memory_format=torch.channels_last)
    weights = torch.randn(128, 128, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    matrix = torch.randn(2048, 2048, dtype=dtype)
    convolved = _seconds(lambda: functional.conv2d(image, weights, padding=1))
    multiplied = _seconds(lambda: matrix @ matrix)
    rates = {
        "convolution": image.numel() * weights[0].numel() / convolved,
        "matrix product": matrix.numel() * len(matrix) / multiplied,
    }
    name = max(rates, key=lambda one: rates[one])
    return name, rates[name]


@torch.no_grad()
def _seconds(call: Callable[[], object], repeats: int = 10) -> float:
    """Return the shortest of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)

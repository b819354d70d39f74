"""Time several ways of doing one thing in turn, waiting for the device: a kernel that was launched is not yet done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

Way = Callable[[], object]


def wait() -> None:
    """Return when the GPU has nothing left to do; at once where there is none."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(way: Way) -> float:
    """Time one call."""
    wait()
    start = time.perf_counter()
    way()
    wait()
    return time.perf_counter() - start


def side_by_side(ways: Mapping[str, Way], *, units: float, repeats: int, warm_ups: int = 2) -> dict[str, Any]:
    """Call every way in turn, `repeats` times after warming up.

    Parameters
    ----------
    ways : mapping of str to callable
        The last one is what the others are compared with.
    units : float
        What one call of any of them works through.
    repeats : int
        Timed calls of each.
    warm_ups : int
        Calls before: the first compiles, chooses algorithms and allocates, the second captures graphs.

    Returns
    -------
    dict
        `n`; by way, `per_s` (units a second of the median call), `slowest_per_s` and `fastest_per_s`; under `ratios`,
        how many times as fast as the last way each of the others is.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(warm_ups):
            way()
    for _ in range(repeats):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    *others, reference = ways
    found: dict[str, Any] = {"n": repeats, "units": units}
    for name, values in taken.items():
        rates = {"per_s": medians[name], "slowest_per_s": max(values), "fastest_per_s": min(values)}
        found[name] = {rate: units / value for rate, value in rates.items()}
    return found | {"ratios": {f"{name} / {reference}": medians[reference] / medians[name] for name in others}}

"""Compare several ways of doing one thing, interleaved, so that noise of the machine affects all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.harness.report import TEXT, Cell, Report
from fer_infer.diagnostics.stopwatch import timed


def compare(
    report: Report,
    title: str,
    ways: Mapping[str, Callable[[], object] | None],
    *,
    units: float,
    unit: str,
    repeats: int,
    warm_ups: int | None = None,
) -> dict[str, float]:
    """Time every way and print a table of rates.

    Parameters
    ----------
    report : Report
        Prints and saves the table.
    title : str
        What is measured, on which data.
    ways : mapping of str to callable or None
        The ways by name; the last one is the reference. None marks a way that is not available.
    units : float
        Amount of work per call.
    unit : str
        Name of the unit, in plural.
    repeats : int
        Timed calls of each way.
    warm_ups : int, optional
        Calls of each way before. By default one on a CPU, and two on a GPU, where the first call chooses algorithms
        and the second one captures graphs.

    Returns
    -------
    dict of str to float
        Median rate, in units per second, of each available way.
    """

    def rate(way: Callable[[], object]) -> float:
        return units / timed(way, report.wait)[0]

    rates = {name: None if way is None else partial(rate, way) for name, way in ways.items()}
    return compare_rates(report, title, rates, unit=unit, repeats=repeats, warm_ups=warm_ups)


def compare_rates(
    report: Report,
    title: str,
    ways: Mapping[str, Callable[[], float] | None],
    *,
    unit: str,
    repeats: int,
    warm_ups: int | None = None,
) -> dict[str, float]:
    """Compare ways that measure their own rate; otherwise like `compare`."""
    if warm_ups is None:
        warm_ups = 1 if report.device == "cpu" else 2
    present = {name: way for name, way in ways.items() if way is not None}
    for way in present.values():
        for _ in range(warm_ups):
            way()
    rates: dict[str, list[float]] = {name: [] for name in present}
    for _ in range(repeats):
        for name, way in present.items():
            rates[name].append(way())
    medians = {name: statistics.median(values) for name, values in rates.items()}
    reference = list(medians)[-1]
    rate, ratio = "{:,.0f}", "{:.2f}x"
    columns = {"way": TEXT, f"{unit}/s": rate, "slowest": rate, "fastest": rate, f"against {reference}": ratio}

    def row(name: str) -> tuple[Cell, ...]:
        if name not in medians:
            return name, "absent", None, None, None
        return name, medians[name], min(rates[name]), max(rates[name]), medians[name] / medians[reference]

    report.table(title, columns, map(row, ways), conditions=f"median of {repeats} interleaved runs")
    return medians

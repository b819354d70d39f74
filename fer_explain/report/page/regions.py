"""The page section on the regions of the face in which the maps lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fer_explain.evaluation.intervals import LEAST_FACES, Estimate
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.regions.geometry import REGIONS
from fer_explain.evaluation.regions.picture import COLORS
from fer_explain.evaluation.regions.shares import RegionShare, State
from fer_explain.evaluation.regions.summary import RegionResults, describe
from fer_explain.plots import data_uri
from fer_explain.report.page.picture import Picture
from fer_explain.report.regions import MeasuredRegions

MARKS: Final[dict[State | None, str]] = {"more": "▲", "less": "▼"}
FULL: Final = 3.0
"""Ratio at which the color of a cell is full; cells up to 1 have none."""


def regions_view(measured: MeasuredRegions, first: str) -> dict[str, Any]:
    """Return the regions of the face that the maps prefer, by class and by method."""
    by_class, by_method = measured.by_class, measured.by_method
    if by_class is None or measured.picture is None:
        return {"reason": measured.reason}
    labels = (None, *by_class.faces_per_class)
    rows = [_row(label or "all faces", found) for label in labels if (found := by_class.of(first, label))]
    tables = [{"title": f"{first} maps by predicted class", "head": "class", "rows": rows + _controls(by_class, first)}]
    if by_method is not None:
        rows = [_row(name, by_method.of(name)) for name in by_method.methods if name not in CONTROLS]
        tables.append(
            {"title": "All methods, on the faces shown", "head": "method", "rows": rows + _controls(by_method)}
        )
    alt = "The regions, on the mean of the faces: " + ", ".join(REGIONS)
    return {
        "reason": "",
        "picture": Picture(data_uri(measured.picture), alt, "regions, on the mean face"),
        "lines": [describe(found) for label in labels if (found := by_class.of(first, label))],
        "columns": [{"name": name, "color": COLORS[name]} for name in REGIONS],
        "tables": tables,
        "least_faces": LEAST_FACES,
        "left_out": len(by_class.rows_without_landmarks),
    }


def _row(name: str, regions: Sequence[RegionShare]) -> dict[str, Any]:
    """Return the cells of one method and class; None for a region that no face shows."""
    cells = {each.region: _cell(each.ratio, each.state) for each in regions}
    return {"name": name, "n": regions[0].ratio.n, "cells": [cells.get(region) for region in REGIONS]}


def _controls(results: RegionResults, matched_to: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of the controls, and of the matched controls of one method."""
    rows = []
    if matched_to is not None and matched_to not in CONTROLS:
        cells = {each.region: _cell(each.controls) for each in results.of(matched_to) if each.controls is not None}
        rows.append({"name": "matched controls", "n": 0, "cells": [cells.get(region) for region in REGIONS]})
    return rows + [_row(f"{control} (control)", results.of(control)) for control in CONTROLS]


def _cell(ratio: Estimate, state: State | None = None) -> dict[str, Any]:
    return {
        "ratio": f"{ratio.mean:.1f}x",
        "interval": f"{ratio.low:.1f} to {ratio.high:.1f}" if ratio.n >= LEAST_FACES else "",
        "over": round(100 * min(max((ratio.mean - 1) / (FULL - 1), 0), 1)),
        "mark": MARKS.get(state, ""),
        "state": state,
    }

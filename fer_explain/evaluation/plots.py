"""Plots that compare methods: curves with bands, scores with intervals. The same input gives the same bytes.

Colors are those of Okabe and Ito 2008, which are distinct for all types of color vision; line styles and markers are
distinct without color. Controls are gray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import default_style
from fer_core.outputs.map_colors import SIGNED
from fer_explain.attribution.registry import METHODS
from fer_explain.evaluation.comparison import MethodScore
from fer_explain.evaluation.intervals import resampled_means
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.metrics.deletion_insertion import Curves
from fer_explain.evaluation.regions.geometry import REGIONS
from fer_explain.evaluation.regions.summary import RegionResults
from fer_explain.plots import DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: Final = ("-", "--", "-.", (0, (1, 1)))
MARKERS: Final = "osD^vPX"
_NEXT_TO_AXES: Final[Mapping[str, Any]] = {
    "loc": "upper left",
    "bbox_to_anchor": (1, 1),
    "fontsize": 8,
    "frameon": False,
}


@default_style()
def curve_figure(curves: Mapping[str, Curves], *, seed: int = 0) -> Figure:
    """Draw mean deletion and insertion curves with 95% bands, one line per method.

    Parameters
    ----------
    curves : mapping of str to Curves
        Curves of each method over the same faces, at least two.
    seed : int
        Random seed of the bootstrap.
    """
    figure = _figure(13.5, 4.8)
    looks = _looks(list(curves))
    for axes, side in zip(figure.subplots(1, 2, sharey=True), ("deletion", "insertion"), strict=True):
        n = 0
        for method, curve in curves.items():
            values = getattr(curve, side)
            n = len(values)
            area = getattr(curve, f"{side}_auc").mean()
            _band(axes, curve.shares, values, seed, label=f"{_named(method)}: {area:.3f}", **looks[method])
        better = "lower" if side == "deletion" else "higher"
        axes.set(
            title=f"{side.capitalize()}, {n:,} faces: {better} is better",
            xlabel=f"fraction of pixels {'deleted' if side == 'deletion' else 'inserted'}, highest attributions first",
            xlim=(0, 1),
        )
        axes.legend(title="area under the curve", title_fontsize=8, **_NEXT_TO_AXES)
    figure.axes[0].set(ylabel="mean probability of the class", ylim=(0, None))
    return figure


@default_style()
def ranking_figure(compared: Sequence[MethodScore], scores: Mapping[str, str]) -> Figure:
    """Draw each method's scores with their intervals, one panel per score.

    Parameters
    ----------
    compared : sequence of MethodScore
        The best method first.
    scores : mapping of str to str
        Scores to draw and their titles. A gray bar is the interval of a method's matched controls.
    """
    methods = list(dict.fromkeys(line.method for line in compared))
    figure = _figure(1.6 + 3.1 * len(scores), 1.6 + 0.32 * len(methods))
    figure.suptitle(
        f"Means over {compared[0].value.n:,} faces, 95% intervals; gray bars: matched controls", fontsize=11
    )
    looks = _looks(methods)
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, (score, title) in zip(panels, scores.items(), strict=True):
        for line in compared:
            if line.score != score:
                continue
            place, value = methods.index(line.method), line.value
            look = looks[line.method]
            axes.plot([value.low, value.high], [place, place], color=look["color"], linewidth=2)
            axes.plot(value.mean, place, color=look["color"], marker=look["marker"], markersize=6)
            if line.controls is not None:
                matched = [line.controls.low, line.controls.high]
                axes.plot(matched, [place, place], color="#d6d6d6", linewidth=9, solid_capstyle="butt", zorder=1)
        axes.set_title(title, fontsize=10)
    panels[0].set_yticks(range(len(methods)), [_named(method) for method in methods])
    panels[0].invert_yaxis()
    return figure


@default_style()
def line_figure(
    series: Mapping[str, Mapping[str, NDArray[np.float64]]],
    stages: Sequence[str],
    *,
    limit: float,
    xlabel: str,
    title: str,
    seed: int = 0,
) -> Figure:
    """Draw values along the stages, one panel per measure and one line per method.

    Parameters
    ----------
    series : mapping of str to mapping of str to ndarray of float64, shape (stages, N)
        Values of N faces by title of the panel and by method.
    stages : sequence of str
        Names along the horizontal axis.
    limit : float
        Height of a dotted line in each panel.
    xlabel, title : str
        Label of the horizontal axes, and title of the figure.
    seed : int
        Random seed of the bootstrap.
    """
    figure = _figure(3 + 3.9 * len(series), 4.8)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    for axes, (name, methods) in zip(figure.subplots(1, len(series), sharey=True), series.items(), strict=True):
        looks = _looks(list(methods))
        for method, values in methods.items():
            label = f"{method} (control, expected to fail)" if method in CONTROLS else method
            _band(axes, np.arange(len(stages)), values.T, seed, label=label, markersize=4, **looks[method])
        axes.axhline(limit, color="#444444", linestyle=":", linewidth=1)
        axes.set_title(name, fontsize=10)
        axes.set(xlabel=xlabel)
        axes.set_xticks(range(len(stages)), stages, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    figure.axes[0].set(ylabel="similarity to the original map", ylim=(None, 1.03))
    figure.axes[-1].legend(**_NEXT_TO_AXES)
    return figure


@default_style()
def region_figure(results: RegionResults, picture: NDArray[np.uint8]) -> Figure:
    """Draw the ratio of each region and class as a table of colors, one panel per method.

    Parameters
    ----------
    results : RegionResults
        Ratios of all methods; the last rows of a panel are the controls of all faces.
    picture : ndarray of uint8, shape (H, W, 3)
        The regions on a face.
    """
    methods = [method for method in results.methods if method not in CONTROLS] or list(results.methods)
    panels = [_region_rows(results, method) for method in methods]
    columns = min(len(methods), 2)
    lines = math.ceil(len(methods) / columns)
    height = 0.9 + 0.3 * max(len(rows) for rows in panels)
    figure = _figure(3.4 + 5.6 * columns, 0.5 + height * lines)
    grid = figure.subplots(lines, 1 + columns, width_ratios=[3.2, *[5.6] * columns], squeeze=False)
    for axes in (*grid[:, 0], *grid[:, 1:].flat[len(methods) :]):
        axes.set_axis_off()
    grid[0, 0].imshow(picture)
    grid[0, 0].set_title("Regions, on the mean face")
    for axes, method, rows in zip(grid[:, 1:].flat, methods, panels, strict=False):
        _draw_ratios(axes, rows)
        axes.set_title(f"{_named(method)}, {results.n:,} faces")
    note = "share of the map / share of the area; bold: more or less than matched controls (95% interval)"
    figure.supxlabel(note, fontsize=9)
    return figure


def _region_rows(results: RegionResults, method: str) -> dict[str, Mapping[str, tuple[float, bool]]]:
    """Return (ratio, whether it differs from the matched controls) by row of the panel and by region."""
    rows: dict[str, Mapping[str, tuple[float, bool]]] = {}
    for label in (None, *results.faces_per_class):
        if found := results.of(method, label):
            rows[f"{label or 'all faces'} ({found[0].ratio.n:,})"] = {
                each.region: (each.ratio.mean, each.state in ("more", "less")) for each in found
            }
    matched = {each.region: (each.controls.mean, False) for each in results.of(method) if each.controls is not None}
    if matched:
        rows["matched controls"] = matched
    for control in CONTROLS:
        rows[_named(control)] = {each.region: (each.ratio.mean, False) for each in results.of(control)}
    return rows


def _draw_ratios(axes: Axes, rows: Mapping[str, Mapping[str, tuple[float, bool]]]) -> None:
    """Draw ratios as colors and numbers; the scale is that of their logarithm, white for 1 and full for 3 and 1/3."""
    ratios = np.array([[cells.get(region, (np.nan, False))[0] for region in REGIONS] for cells in rows.values()])
    full = np.log(3)
    axes.imshow(np.log(np.clip(ratios, 0.1, 10)), cmap=SIGNED, vmin=-full, vmax=full, aspect="auto")
    for y, cells in enumerate(rows.values()):
        for region, (ratio, differs) in cells.items():
            dark = abs(np.log(max(ratio, 0.1))) > 0.8 * full
            look: dict[str, Any] = {
                "color": "white" if dark else "black",
                "fontweight": "bold" if differs else "normal",
            }
            axes.text(REGIONS.index(region), y, f"{ratio:.1f}", ha="center", va="center", fontsize=8, **look)
    axes.set_xticks(range(len(REGIONS)), REGIONS)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(length=0)


def _named(method: str) -> str:
    return f"{method} (control)" if method in CONTROLS else method


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def _looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a distinct color, line style and marker for each method, the same in every plot."""
    order = [*METHODS, *methods]
    looks: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method in CONTROLS:
            i = CONTROLS.index(method)
            looks[method] = {"color": "#777777", "linestyle": STYLES[1 + 2 * i], "marker": "|x"[i]}
        else:
            i = order.index(method)
            style = STYLES[i // len(COLORS) % len(STYLES)]
            looks[method] = {
                "color": COLORS[i % len(COLORS)],
                "linestyle": style,
                "marker": MARKERS[i % len(MARKERS)],
            }
    return looks


def _band(axes: Axes, positions: NDArray[Any], values: NDArray[Any], seed: int, **look: Any) -> None:
    """Draw the mean over faces of values (N, positions), and its 95% interval."""
    low, high = np.percentile(resampled_means(values.T, seed=seed), [2.5, 97.5], axis=1)
    axes.plot(positions, values.mean(axis=0), **{"linewidth": 1.6, "markersize": 3, **look})
    axes.fill_between(positions, low, high, color=look["color"], alpha=0.13, linewidth=0)
    axes.grid(alpha=0.25)

"""Pictures of how methods compare: curves with bands, scores with intervals. The same input, the same bytes.

Colours are those of Okabe and Ito 2008, told apart with any colour vision; line styles and markers tell them apart
without any colour. Controls are gray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import default_style
from fer_explain.attribution import METHODS
from fer_explain.evaluation.compared_maps import CONTROLS
from fer_explain.evaluation.comparison import MethodScore
from fer_explain.evaluation.intervals import resampled_means
from fer_explain.evaluation.metrics.deletion_insertion import Curves
from fer_explain.plots import DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: Final = ("-", "--", "-.", (0, (1, 1)))
MARKERS: Final = "osD^vPX"
_BESIDE: Final[Mapping[str, Any]] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": 8, "frameon": False}


@default_style()
def curve_figure(curves: Mapping[str, Curves], *, seed: int = 0) -> Figure:
    """Draw mean deletion and insertion curves with 95 % bands, one line a method.

    Parameters
    ----------
    curves : mapping of str to Curves
        Of each method over the same faces, at least two.
    seed : int
        Of the resamples.
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
            xlabel=f"share of the pixels {'deleted' if side == 'deletion' else 'inserted'}, the map's highest first",
            xlim=(0, 1),
        )
        axes.legend(title="area under the curve", title_fontsize=8, **_BESIDE)
    figure.axes[0].set(ylabel="mean probability of the class", ylim=(0, None))
    return figure


@default_style()
def ranking_figure(compared: Sequence[MethodScore], scores: Mapping[str, str]) -> Figure:
    """Draw each method's scores with their intervals, a panel a score.

    Parameters
    ----------
    compared : sequence of MethodScore
        The best method first.
    scores : mapping of str to str
        Which scores are drawn, each with its title. A gray bar is the interval of a method's matched controls.
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
    places: Sequence[str],
    *,
    limit: float,
    xlabel: str,
    title: str,
    seed: int = 0,
) -> Figure:
    """Draw how values change from place to place, a panel a measure and a line a method.

    Parameters
    ----------
    series : mapping of str to mapping of str to ndarray of float64, shape (places, N)
        Values of N faces by title of the panel and by method.
    places : sequence of str
        Names along the horizontal axis.
    limit : float
        Drawn as a dotted line in each panel.
    xlabel, title : str
        Of the horizontal axes and of the figure.
    seed : int
        Of the resamples.
    """
    figure = _figure(3 + 3.9 * len(series), 4.8)
    figure.suptitle(title, fontsize=12, fontweight="bold")
    for axes, (name, methods) in zip(figure.subplots(1, len(series), sharey=True), series.items(), strict=True):
        looks = _looks(list(methods))
        for method, values in methods.items():
            label = f"{method} (control, expected to fail)" if method in CONTROLS else method
            _band(axes, np.arange(len(places)), values.T, seed, label=label, markersize=4, **looks[method])
        axes.axhline(limit, color="#444444", linestyle=":", linewidth=1)
        axes.set_title(name, fontsize=10)
        axes.set(xlabel=xlabel)
        axes.set_xticks(range(len(places)), places, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    figure.axes[0].set(ylabel="similarity to the original map", ylim=(None, 1.03))
    figure.axes[-1].legend(**_BESIDE)
    return figure


def _named(method: str) -> str:
    return f"{method} (control)" if method in CONTROLS else method


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def _looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give each method a colour, a line style and a marker of its own, the same in every picture."""
    order = [*METHODS, *methods]
    looks: dict[str, dict[str, Any]] = {}
    for method in methods:
        if method in CONTROLS:
            place = CONTROLS.index(method)
            looks[method] = {"color": "#777777", "linestyle": STYLES[1 + 2 * place], "marker": "|x"[place]}
        else:
            i = order.index(method)
            style = STYLES[i // len(COLOURS) % len(STYLES)]
            looks[method] = {
                "color": COLOURS[i % len(COLOURS)],
                "linestyle": style,
                "marker": MARKERS[i % len(MARKERS)],
            }
    return looks


def _band(axes: Axes, places: NDArray[Any], values: NDArray[Any], seed: int, **look: Any) -> None:
    """Draw the mean over faces of values (N, places), and its 95 % interval."""
    low, high = np.percentile(resampled_means(values.T, seed=seed), [2.5, 97.5], axis=1)
    axes.plot(places, values.mean(axis=0), **{"linewidth": 1.6, "markersize": 3, **look})
    axes.fill_between(places, low, high, color=look["color"], alpha=0.13, linewidth=0)
    axes.grid(alpha=0.25)

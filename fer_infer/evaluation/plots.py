"""Plots of an evaluation; equal numbers give equal bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import default_style, save_figure
from fer_infer.evaluation.reliability import Bin


@default_style()
def save_confusion(confusion: NDArray[np.int64], class_names: Sequence[str], path: Path, title: str) -> None:
    """Draw a confusion matrix.

    A cell shows its share of the true class, which also determines its color, and the number of faces. The colormap
    has one hue, so that it is readable with any color vision.

    Parameters
    ----------
    confusion : ndarray of int64, shape (C, C)
        Number of faces by true class (row) and predicted class (column).
    class_names : sequence of str
        Names of the C classes.
    path : Path
        PNG file to write.
    title : str
        Title of the figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    support = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(support, 1)  # avoids 0/0 for a class without faces
    side = 2.2 + 0.8 * len(class_names)
    figure = Figure(figsize=(side + 0.6, side - 0.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(class_names))
    axes.set_xticks(places, class_names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, [f"{name}\n({n:,})" for name, n in zip(class_names, support[:, 0], strict=True)])
    axes.set(xlabel="Predicted", ylabel="True (faces)", title=title)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(class_names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(class_names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for i in places:
        for j in places:
            color = "white" if shares[i, j] > 0.65 else "black"
            weight = "bold" if i == j else "normal"
            text = f"{shares[i, j]:.0%}\n{confusion[i, j]:,}"
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=9, fontweight=weight)
    figure.colorbar(image, format=PercentFormatter(1), label="Share of the true class", shrink=0.8)
    save_figure(figure, path)


@default_style()
def save_reliability(bins: Sequence[Bin], ece: float, path: Path, title: str) -> None:
    """Draw a reliability diagram: accuracy by confidence, and the share of faces per bin.

    DeGroot and Fienberg 1983, in the style of Guo et al. 2017, figure 1. In a calibrated network, bars end on the
    diagonal; bars below it show overconfidence.

    Parameters
    ----------
    bins : sequence of Bin
        Bins from `fer_infer.evaluation.reliability.reliability`.
    ece : float
        Expected calibration error.
    path : Path
        PNG file to write.
    title : str
        Title of the figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(5.2, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    filled = [each for each in bins if each.accuracy is not None and each.confidence is not None]
    middles, width = [(each.low + each.high) / 2 for each in filled], 1 / len(bins)
    upper.bar(middles, [each.accuracy for each in filled], width, color="tab:blue", edgecolor="white", label="accuracy")
    upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="perfect calibration")
    means = [each.confidence for each in filled], [each.accuracy for each in filled]
    upper.plot(*means, "o", color="black", markersize=4, label="mean confidence in the bin")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="Accuracy", title=f"Expected calibration error {ece:.2%}")
    upper.legend(loc="upper left")
    figure.suptitle(textwrap.fill(title, 55))  # with split and augmentation it is longer than the figure is wide
    n = sum(each.n for each in bins)
    lower.bar(middles, [each.n / n for each in filled], width, color="tab:gray", edgecolor="white")
    lower.set(xlabel="Confidence (largest probability)", ylabel="Share of faces")
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    save_figure(figure, path)

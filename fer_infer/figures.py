"""The confusion matrix as a picture, the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def save_confusion(confusion: NDArray[np.int64], class_names: Sequence[str], path: Path, title: str) -> None:
    """Draw a confusion matrix.

    Each cell is coloured by its share of the true class, so that a rare class is read as easily as a frequent one,
    and says that share and the count of faces. One hue from light to dark, told apart with any colour vision.

    Parameters
    ----------
    confusion : ndarray of int64, shape (C, C)
        Faces by true class (row) and predicted class (column).
    class_names : sequence of str
        C names.
    path : Path
        The PNG to write.
    title : str
        Of the figure.
    """
    # pyplot keeps global state and wants a display; the figure class alone needs neither.
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    support = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(support, 1)  # a class without faces has an empty row, not an undefined one
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
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})

"""Training curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_core.outputs.figures import default_style, save_figure
from fer_core.outputs.staging import staged

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@default_style()
def plot_curves(rows: Sequence[Mapping[str, float]], title: str, validation: str) -> Figure:
    """Plot loss and accuracy of both splits over the epochs.

    Parameters
    ----------
    rows : sequence of mappings
        Rows of `metrics.csv`.
    title : str
        Title of the figure.
    validation : str
        Name of the validation split.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # The training loss, too, is cross-entropy unless there is label smoothing, mixup or a teacher.
    labels = {"loss": f"Loss ({validation}: cross-entropy)", "accuracy": "Accuracy"}
    series = {"train": "Training, last weights", "validation": f"{validation}, averaged weights"}
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for split, legend in series.items():
            marker = "o" if len(rows) == 1 else None  # a single point has no line
            axes.plot(epochs, [row[f"{split}_{name}"] for row in rows], label=legend, marker=marker)
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    # below, where it does not hide a curve
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    return figure


@default_style()
def save_curves(rows: Sequence[Mapping[str, float]], path: Path, title: str, validation: str) -> None:
    """Plot the curves into a PNG, the same bytes for the same rows; other parameters are those of `plot_curves`."""
    figure = plot_curves(rows, title, validation)
    with staged(path, force=True) as stage:
        save_figure(figure, stage)

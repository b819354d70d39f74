"""Pictures of a run, drawn by matplotlib, the same for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_core.figures import default_style, save_figure
from fer_core.outputs.staging import staged


@default_style()
def save_curves(rows: Sequence[Mapping[str, float]], path: Path, title: str, validation: str) -> None:
    """Draw loss and accuracy of both splits over the epochs.

    Parameters
    ----------
    rows : sequence of mappings
        Rows of `metrics.csv`.
    path : Path
        The PNG to write.
    title : str
        Of the figure.
    validation : str
        Name of the validation split.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # The training loss is cross-entropy, too, unless labels are smoothed, faces mixed or teachers asked.
    labels = {"loss": f"Loss (of {validation}: cross-entropy)", "accuracy": "Accuracy"}
    series = {"train": "Training, while it learns", "validation": f"{validation}, the weights that are kept"}
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        for split, legend in series.items():
            marker = "o" if len(rows) == 1 else None  # one point makes no line
            axes.plot(epochs, [row[f"{split}_{name}"] for row in rows], label=legend, marker=marker)
        axes.set(xlabel="Epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    # below, where it hides no curve
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    with staged(path, force=True) as stage:
        save_figure(figure, stage)

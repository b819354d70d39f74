"""What the channels of a layer answer to, as a labelled sheet and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_core.output import staged
from fer_core.progress import progress
from fer_explain.ascent import AscentConfig, Maximization, maximize_channels, require_channels
from fer_explain.feature_maps import names_of_units
from fer_explain.figures import save_figure, sheet
from fer_explain.layers import find_layer
from fer_explain.proof import load_proven

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def maximization_sheet(found: Maximization, class_names: tuple[str, ...] | None = None) -> Figure:
    """Draw the images of a `Maximization`, each under its number and the activation reached."""
    captions = channel_captions(found, class_names)
    title = (
        f"Layer {found.layer.index}: {found.layer.name} ({found.layer.kind}), {found.layer.unit}: activation reached"
    )
    return sheet(np.rint(found.images).astype(np.uint8), captions, title)


def channel_captions(found: Maximization, class_names: tuple[str, ...] | None = None) -> list[str]:
    """Return one caption a channel: its number or class name, and the activation reached or that it is dead."""
    names = [str(c) if class_names is None else class_names[c] for c in found.channels]
    values = ["dead" if dead else _short(reached) for dead, reached in zip(found.dead, found.reached, strict=True)]
    return [f"{name}: {value}" for name, value in zip(names, values, strict=True)]


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.1g}"


def maximize(
    model: str | Path,
    layer: str | int,
    output: str | Path,
    *,
    channels: Sequence[int] | None = None,
    config: AscentConfig | None = None,
    force: bool = False,
) -> Path:
    """Draw what the channels of a layer answer to.

    Parameters
    ----------
    model : str or Path
        An exports folder or a run.
    layer, channels, config
        As for `fer_explain.ascent.maximize_channels`.
    output : str or Path
        The folder to make: `sheet.png`, and `maximization.npz` with `images` float32 (C, 48, 48), `channels`,
        `activation_start`, `activation_reached`, `dead`, all (C,), and the `layer`'s name.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    FerError
        If the model, the layer, a channel or the output is not what it must be.
    """
    config = config or AscentConfig()
    with staged(output, force=force, folder=True) as stage:
        proven = load_proven(model)
        known = find_layer(proven.network, layer)
        total = config.steps * len(require_channels(known, channels))
        with progress(f"maximize {known.name}", total, "steps") as advance:
            found = maximize_channels(proven.network, known.name, channels, config, advance=advance)
        save_figure(maximization_sheet(found, names_of_units(known, proven.card.labels)), stage / "sheet.png")
        np.savez(
            stage / "maximization.npz",
            images=found.images,
            channels=found.channels,
            activation_start=found.start,
            activation_reached=found.reached,
            dead=found.dead,
            layer=np.array(known.name),
        )
    return Path(output)

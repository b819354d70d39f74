"""The filters of a layer against real faces: what wakes each, which are dead, which are the same, and their weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import ConfigError, Faces
from fer_core.io.reader import first_faces
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import Advance, progress
from fer_explain.layers.activations import MOST_FACES, Activity, activity_on_faces
from fer_explain.layers.feature_maps import names_of_units
from fer_explain.layers.patches import patch_mosaics
from fer_explain.layers.receptive_field import ReceptiveField, receptive_field
from fer_explain.layers.structure import Layer, find_layer, list_layers
from fer_explain.layers.weights import weight_cosines, weight_sheet, weights_of
from fer_explain.plots import save_figure, sheet
from fer_explain.verification import load_verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER: Final = OutputFolder(
    always=("filters.csv", "filters.npz"),
    sometimes=("duplicates.csv", "patches.png", "weights.png"),
)
"""Names of all that is written."""


@dataclass(frozen=True)
class FilterConfig:
    """What to look at, and where the lines are drawn."""

    top: int = 9
    """Faces shown for each filter."""
    most_faces: int = MOST_FACES
    """Look at so many faces at most, the first of them."""
    rare: float = 0.001
    """A filter that is above zero at a smaller share of all places than this is called rare; at none, dead."""
    cosine: float = 0.95
    """Two filters whose weights have at least this cosine are called duplicates."""
    correlation: float = 0.95
    """Two filters whose outputs correlate at least so much over all places of all faces are called duplicates."""

    def __post_init__(self) -> None:
        for name in ("top", "most_faces"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, found {getattr(self, name)}")
        for name in ("rare", "cosine", "correlation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected 0 to 1, found {getattr(self, name)}")


@dataclass(frozen=True)
class FilterReport:
    """What was found about the filters of a layer.

    Attributes
    ----------
    layer : Layer
        Whose.
    field : ReceptiveField
        Its receptive field; as text, in words.
    faces : int
        How many were looked at.
    states : tuple of str
        Of each channel, by the ReLU that follows it, behind BatchNorm or not: ``dead``, never above zero on the faces;
        ``rare``; or ``live``. Empty texts where none follows: there a value below zero is no silence.
    active : ndarray of float64, shape (C,)
        Share of the places at which that ReLU gives more than zero; NaN where none follows.
    alike_weights, alike_outputs : tuple of (int, int, float)
        Duplicates: two channels and the cosine of their weights, or the correlation of their outputs; highest first.
    """

    layer: Layer
    field: ReceptiveField
    faces: int
    states: tuple[str, ...]
    active: NDArray[np.float64]
    alike_weights: tuple[tuple[int, int, float], ...]
    alike_outputs: tuple[tuple[int, int, float], ...]


def states_of(active: NDArray[np.float64], rare: float) -> tuple[str, ...]:
    """Call each channel, by the share of places where it is above zero: ``dead`` at none, ``rare`` below `rare`."""
    return tuple("dead" if share == 0 else "rare" if share < rare else "live" for share in active.tolist())


def duplicates(likeness: NDArray[np.float64], threshold: float) -> tuple[tuple[int, int, float], ...]:
    """Find the channels that are at least as alike as a threshold.

    Parameters
    ----------
    likeness : ndarray of float64, shape (C, C)
        Symmetric, such as cosines of weights or correlations of outputs.
    threshold : float
        0..1.

    Returns
    -------
    tuple of (int, int, float)
        Each pair once, the lower channel first, and how alike they are; the most alike first.
    """
    pairs = np.argwhere(np.triu(likeness >= threshold, 1)).tolist()
    found = [(low, high, float(likeness[low, high])) for low, high in pairs]
    return tuple(sorted(found, key=lambda pair: -pair[2]))


def examine_filters(
    model: nn.Module,
    layer: Layer,
    faces: Faces,
    config: FilterConfig | None = None,
    *,
    advance: Advance | None = None,
) -> tuple[FilterReport, Activity]:
    """Look at the filters of a layer through faces.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : Layer
        Of this network.
    faces : Faces
        At least one.
    config : FilterConfig, optional
        How many faces to keep for each filter, and the thresholds.
    advance : callable, optional
        Called with the number of faces just done.

    Returns
    -------
    FilterReport, Activity
        What was found, and what it was found by.
    """
    config = config or FilterConfig()
    weights, field = weights_of(model, layer), receptive_field(model, layer)
    activity = activity_on_faces(model, layer, faces, top=config.top, advance=advance)
    states, active = ("",) * layer.shape[0], np.full(layer.shape[0], np.nan)
    if (gate := _gate(model, layer)) is not None:
        active = activity.active if gate == layer else activity_on_faces(model, gate, faces, top=1).active
        states = states_of(active, config.rare)
    report = FilterReport(
        layer,
        field,
        len(faces),
        states,
        active,
        () if weights is None else duplicates(weight_cosines(weights), config.cosine),
        duplicates(activity.correlation, config.correlation),
    )
    return report, activity


def _gate(model: nn.Module, layer: Layer) -> Layer | None:
    """Return the ReLU that a layer's output goes to, through BatchNorm or straight; None where it goes elsewhere."""
    # itself or the next one, since BatchNorm is not listed as a layer of its own
    some = list_layers(model)[layer.index : layer.index + 2]
    return next((each for each in some if each.kind == "ReLU" and each.shape == layer.shape), None)


def filters(
    data: str | Path,
    model: str | Path,
    layer: str | int,
    output: str | Path,
    *,
    split: str | None = None,
    inputs: Sequence[int] | None = None,
    config: FilterConfig | None = None,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
) -> FilterReport:
    """Look at the filters of a layer through the faces of a file.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    layer : str or int
        Dotted name or index.
    output : str or Path
        The folder to make. `patches.png`: for each filter, what it saw of the faces on which it was highest, a
        receptive field each. `filters.csv`: a line for each filter. `duplicates.csv`: a line for each pair.
        `weights.png`, if they are two-dimensional. `filters.npz`: `top_values`, `top_rows` (C, top), `top_places`
        (C, top, 2), `field_rows` (height, 2), `field_columns` (width, 2), `active` (C,), `correlation` (C, C) and the
        `settings` as JSON; see `Activity` and `ReceptiveField`.
    split : str, optional
        Use this split only.
    inputs : sequence of int, optional
        Input channels of which the weights are drawn; by default all where there is one, else none.
    config : FilterConfig, optional
        What to look at, and the thresholds.
    force : bool
        Replace an existing folder.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Returns
    -------
    FilterReport

    Raises
    ------
    FerError
        If the data, the model, the layer, an input channel or the output is not what it must be.
    """
    config = config or FilterConfig()
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        proven = load_verified(model)
        network = proven.network
        found = find_layer(network, layer)
        weights = weights_of(network, found)
        drawn = _inputs_to_draw(weights, found, inputs)
        faces = first_faces(data, split, config.most_faces, columns=input_columns)
        with progress(f"faces through {found.name}", len(faces)) as advance:
            report, activity = examine_filters(network, found, faces, config, advance=advance)
        names = names_of_units(found, proven.card.labels)
        save_figure(
            _patch_sheet(patch_mosaics(faces, report.field, activity), report, activity, names), stage / "patches.png"
        )
        if weights is not None and drawn:
            save_figure(weight_sheet(weights, found, drawn), stage / "weights.png")
        _save_tables(stage, report, activity)
        np.savez(
            stage / "filters.npz",
            top_values=activity.top_values,
            top_rows=activity.top_rows,
            top_places=activity.top_places,
            field_rows=report.field.rows,
            field_columns=report.field.columns,
            active=report.active,
            correlation=activity.correlation,
            settings=np.array(json.dumps(asdict(config) | {"weights_sha256": proven.weights_sha256})),
        )
    return report


def _inputs_to_draw(weights: NDArray[np.float32] | None, layer: Layer, inputs: Sequence[int] | None) -> tuple[int, ...]:
    channels = weights.shape[1] if weights is not None and weights.ndim == 4 else 0
    if inputs is None:
        return (0,) if channels == 1 else ()
    if not channels:
        raise ConfigError(f"inputs: layer {layer.name} ({layer.kind}) has no two-dimensional weights")
    wrong = [channel for channel in inputs if not 0 <= channel < channels]
    if wrong:
        found = ", ".join(map(str, wrong))
        raise ConfigError(f"inputs: layer {layer.name} has input channels 0..{channels - 1}, found {found}")
    return tuple(inputs)


def _patch_sheet(
    mosaics: NDArray[np.uint8], report: FilterReport, activity: Activity, names: tuple[str, ...] | None
) -> Figure:
    layer = report.layer
    captions = [
        f"{channel if names is None else names[channel]}: {'' if state in ('live', '') else state + ' '}{highest:.3g}"
        for channel, (state, highest) in enumerate(zip(report.states, activity.top_values[:, 0], strict=True))
    ]
    title = f"Layer {layer.index}: {layer.name} ({layer.kind}), highest on {report.faces:,} faces; sees {report.field}"
    return sheet(mosaics, captions, title)


def _save_tables(folder: Path, report: FilterReport, activity: Activity) -> None:
    with (folder / "filters.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["channel", "state", "active_share", "highest", "row", "y", "x"])
        for channel, state in enumerate(report.states):
            highest, place = activity.top_values[channel, 0], activity.top_places[channel, 0].tolist()
            share = f"{report.active[channel]:.6f}" if state else ""
            table.writerow([channel, state, share, f"{highest:.6g}", activity.top_rows[channel, 0], *place])
    with (folder / "duplicates.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["channel", "other", "alike_in", "value"])
        for what, pairs in (("weights", report.alike_weights), ("outputs", report.alike_outputs)):
            table.writerows([low, high, what, f"{value:.6f}"] for low, high, value in pairs)

"""Examination of a layer's filters: activating patches, dead, rare and duplicate filters, and weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import ConfigError, Faces
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import Advance, progress
from fer_explain.config import FilterConfig
from fer_explain.face_file import DataSource, load_faces, path_of
from fer_explain.layers.activations import Activations, measure_activations
from fer_explain.layers.patches import patch_mosaics
from fer_explain.layers.receptive_field import ReceptiveField, receptive_field
from fer_explain.layers.structure import Layer, find_named_layer, list_layers
from fer_explain.layers.weights import weight_cosines, weight_sheet, weights_of
from fer_explain.plots import save_figure
from fer_explain.sheets import sheet
from fer_explain.verification import load_verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER: Final = OutputFolder(
    always=("filters.csv", "filters.npz"),
    sometimes=("duplicates.csv", "patches.png", "weights.png", REJECTS_FILE),
)
"""Names of the files in the output folder."""

Pairs = tuple[tuple[int, int, float], ...]
"""Pairs of channels, and their similarity."""


@dataclass(frozen=True)
class FilterReport:
    """Findings about the filters of a layer.

    Attributes
    ----------
    layer : Layer
        The layer.
    field : ReceptiveField
        Its receptive field.
    faces : int
        Number of faces.
    states : tuple of str
        State of each channel after the ReLU that follows it, with or without batch normalization: ``dead`` if it is
        never above zero on the faces, ``rare``, or ``live``. Empty strings if no ReLU follows.
    active : ndarray of float64, shape (C,)
        Fraction of positions at which that ReLU is above zero; NaN if none follows.
    duplicate_weights, duplicate_outputs : tuple of (int, int, float)
        Duplicate channels and the cosine similarity of their weights, or the correlation of their outputs, in
        descending order.
    """

    layer: Layer
    field: ReceptiveField
    faces: int
    states: tuple[str, ...]
    active: NDArray[np.float64]
    duplicate_weights: Pairs
    duplicate_outputs: Pairs


def states_of(active: NDArray[np.float64], rare: float) -> tuple[str, ...]:
    """Classify channels by their active fraction: ``dead`` at zero, ``rare`` below `rare`, else ``live``."""
    return tuple("dead" if fraction == 0 else "rare" if fraction < rare else "live" for fraction in active.tolist())


def duplicates(similarity: NDArray[np.float64], threshold: float) -> Pairs:
    """Find pairs of channels whose similarity reaches a threshold.

    Parameters
    ----------
    similarity : ndarray of float64, shape (C, C)
        Symmetric, such as the cosine similarity of weights or the correlation of outputs.
    threshold : float
        Minimum similarity, 0 to 1.

    Returns
    -------
    tuple of (int, int, float)
        Each pair once, the lower channel first, and its similarity; in descending order of similarity.
    """
    pairs = np.argwhere(np.triu(similarity >= threshold, 1)).tolist()
    found = [(low, high, float(similarity[low, high])) for low, high in pairs]
    return tuple(sorted(found, key=lambda pair: -pair[2]))


def examine_filters(
    model: nn.Module,
    layer: Layer,
    faces: Faces,
    config: FilterConfig | None = None,
    *,
    advance: Advance | None = None,
) -> tuple[FilterReport, Activations]:
    """Examine the filters of a layer on faces.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : Layer
        One of its layers.
    faces : Faces
        At least one face.
    config : FilterConfig, optional
        Number of top-activating faces, and thresholds.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    FilterReport, Activations
        Findings, and the activations of the layer that they are based on.
    """
    config = config or FilterConfig()
    weights, field = weights_of(model, layer), receptive_field(model, layer)
    activations = measure_activations(model, layer, faces, top=config.top, advance=advance)
    states, active = ("",) * layer.shape[0], np.full(layer.shape[0], np.nan)
    if (relu := _following_relu(model, layer)) is not None:
        active = activations.active if relu == layer else measure_activations(model, relu, faces, top=1).active
        states = states_of(active, config.rare)
    report = FilterReport(
        layer,
        field,
        len(faces),
        states,
        active,
        () if weights is None else duplicates(weight_cosines(weights), config.cosine),
        duplicates(activations.correlation, config.correlation),
    )
    return report, activations


def _following_relu(model: nn.Module, layer: Layer) -> Layer | None:
    """Return the layer itself or the next one if it is a ReLU of the same shape, else None."""
    # batch normalization between the two is not listed as a layer
    candidates = list_layers(model)[layer.index : layer.index + 2]
    return next((each for each in candidates if each.kind == "ReLU" and each.shape == layer.shape), None)


def draw_filters(
    data: DataSource,
    model: str | Path,
    layer: str | int,
    output: str | Path,
    *,
    inputs: Sequence[int] | None = None,
    config: FilterConfig | None = None,
    force: bool = False,
) -> FilterReport:
    """Draw the image patches that activate each filter of a layer, and report dead and duplicate filters.

    Parameters
    ----------
    data : path, FaceFile, Faces, ndarray of uint8, PIL images or DataFrame
        Faces, see `fer_core.as_faces` and, for one split of a file, `FaceFile`.
    model : str or Path
        Exports folder or run.
    layer : str or int
        Dotted name or index, see `fer_explain.list_layers`.
    output : str or Path
        Folder to create. `patches.png`: the top-activating patches of each filter. `filters.csv`: one row per filter.
        `duplicates.csv`: one row per pair of duplicates. `weights.png`: two-dimensional weights. `filters.npz`:
        `top_values`, `top_rows` (C, top), `top_positions` (C, top, 2), `field_rows` (height, 2), `field_columns`
        (width, 2), `active` (C,), `correlation` (C, C) and the `settings` as JSON; see `Activations` and
        `ReceptiveField`.
    inputs : sequence of int, optional
        Input channels whose weights are drawn. Default: the only one, if the layer has one input channel.
    config : FilterConfig, optional
        Number of faces and thresholds.
    force : bool
        Replace an existing folder.

    Returns
    -------
    FilterReport

    Raises
    ------
    FerError
        If the data, the model, the layer, an input channel or the output is invalid.

    Examples
    --------
    >>> from fer_explain import draw_filters
    >>> report = draw_filters("faces.csv", "exports/course-cnn", "features.1", "filters")
    >>> report.layer.name, str(report.field), report.states.count("dead")
    ('features.1', '3x3 pixels', 0)
    """
    config = config or FilterConfig()
    with staged(output, force=force, folder=FOLDER, inputs=(path_of(data), model)) as stage:
        verified = load_verified(model)
        network = verified.network
        found, class_names = find_named_layer(network, layer, verified.card.labels)
        weights = weights_of(network, found)
        faces = load_faces(data, limit=config.limit, roles=())
        save_rejects(stage, faces.rejected)
        drawn_inputs = _inputs_to_draw(weights, found, inputs)
        with progress(f"activations of {found.name}", len(faces)) as advance:
            report, activations = examine_filters(network, found, faces, config, advance=advance)
        mosaics = patch_mosaics(faces, report.field, activations)
        save_figure(_patch_sheet(mosaics, report, activations, class_names), stage / "patches.png")
        if weights is not None and drawn_inputs:
            save_figure(weight_sheet(weights, found, drawn_inputs), stage / "weights.png")
        _save_tables(stage, report, activations)
        settings = asdict(config) | {"weights_sha256": verified.weights_sha256}
        _save_arrays(stage / "filters.npz", report, activations, json.dumps(settings))
    return report


def _inputs_to_draw(weights: NDArray[np.float32] | None, layer: Layer, inputs: Sequence[int] | None) -> tuple[int, ...]:
    channels = weights.shape[1] if weights is not None and weights.ndim == 4 else 0
    if inputs is None:
        return (0,) if channels == 1 else ()
    if not channels:
        raise ConfigError(f"layer {layer.name} ({layer.kind}) has no two-dimensional weights", parameter="inputs")
    wrong = [channel for channel in inputs if not 0 <= channel < channels]
    if wrong:
        found = ", ".join(map(str, wrong))
        raise ConfigError(f"layer {layer.name} has input channels 0..{channels - 1}, found {found}", parameter="inputs")
    return tuple(inputs)


def _patch_sheet(
    mosaics: NDArray[np.uint8], report: FilterReport, activations: Activations, class_names: tuple[str, ...] | None
) -> Figure:
    layer = report.layer
    captions = []
    for channel, (state, maximum) in enumerate(zip(report.states, activations.top_values[:, 0], strict=True)):
        name = str(channel) if class_names is None else class_names[channel]
        captions.append(f"{name}: {'' if state in ('live', '') else f'{state} '}{maximum:.3g}")
    title = (
        f"Layer {layer.index}: {layer.name} ({layer.kind}), maximum activation on {report.faces:,} faces; "
        f"receptive field: {report.field}"
    )
    return sheet(mosaics, captions, title)


def _save_tables(folder: Path, report: FilterReport, activations: Activations) -> None:
    with (folder / "filters.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["channel", "state", "active_fraction", "maximum", "row", "y", "x"])
        for channel, state in enumerate(report.states):
            maximum, position = activations.top_values[channel, 0], activations.top_positions[channel, 0].tolist()
            fraction = f"{report.active[channel]:.6f}" if state else ""
            table.writerow([channel, state, fraction, f"{maximum:.6g}", activations.top_rows[channel, 0], *position])
    with (folder / "duplicates.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["channel", "other", "compared", "similarity"])
        for compared, pairs in (("weights", report.duplicate_weights), ("outputs", report.duplicate_outputs)):
            table.writerows([low, high, compared, f"{value:.6f}"] for low, high, value in pairs)


def _save_arrays(path: Path, report: FilterReport, activations: Activations, settings: str) -> None:
    np.savez(
        path,
        top_values=activations.top_values,
        top_rows=activations.top_rows,
        top_positions=activations.top_positions,
        field_rows=report.field.rows,
        field_columns=report.field.columns,
        active=report.active,
        correlation=activations.correlation,
        settings=np.array(settings),
    )

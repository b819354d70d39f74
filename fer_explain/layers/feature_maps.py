"""What a layer makes of one face: the outputs of all its channels or units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError, read_faces
from fer_core.faces import take_rows
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_explain.layers.structure import Layer, device_of, evaluation_mode, find_layer, run_to
from fer_explain.plots import save_figure, sheet, unit_sheet, value_limits
from fer_explain.verification import load_verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER: Final = OutputFolder(always=("feature_maps.npz",), sometimes=("sheet.png",))
"""Names of all that is written."""


def layer_output(model: nn.Module, image: NDArray[np.uint8], layer: str | int) -> NDArray[np.float32]:
    """Return what a layer puts out for one face.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); it is run in evaluation mode and left in
        its own, without hooks.
    image : ndarray of uint8, shape (48, 48)
        The face.
    layer : str or int
        Dotted name or index, as `fer_explain.layers.structure.find_layer` takes it.

    Returns
    -------
    ndarray of float32, shape (channels, height, width) or (units,)

    Raises
    ------
    ConfigError
        If there is no such layer, or `image` is not one face.
    """
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE) or image.dtype != np.uint8:
        raise ConfigError(f"image: expected one face, uint8 (48, 48), found {image.dtype} {image.shape}")
    found = find_layer(model, layer)
    batch = torch.from_numpy(np.ascontiguousarray(image)).to(device_of(model)).float()[None, None]
    with evaluation_mode(model), torch.no_grad():
        output = run_to(model, found, batch)[1]
    values: NDArray[np.float32] = output[0].float().cpu().numpy()
    return values


def feature_map_sheet(
    values: NDArray[np.float32], layer: Layer, row: int, class_names: tuple[str, ...] | None = None
) -> Figure:
    """Draw a layer's output for one face.

    Parameters
    ----------
    values : ndarray of float32, shape (channels, height, width) or (units,)
        As `layer_output` returns it.
    layer : Layer
        Where it comes from.
    row : int
        Row number of the face.
    class_names : tuple of str, optional
        Names of the units, where the layer's outputs are the logits.

    Returns
    -------
    matplotlib.figure.Figure
        Channels on one common scale, numbered; units as bars or cells.
    """
    shape = "x".join(map(str, values.shape))
    title = f"Row {row}, layer {layer.index}: {layer.name} ({layer.kind}), {shape}"
    if values.ndim == 1:
        return unit_sheet(values, title, names=class_names)
    captions = [str(channel) for channel in range(len(values))]
    return sheet(values, captions, title, limits=value_limits(values), scale_label="output")


def feature_maps(
    data: str | Path,
    row: int,
    model: str | Path,
    layer: str | int,
    output: str | Path,
    *,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
) -> Path:
    """Draw what a layer makes of one face of a file.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    row : int
        Row number of the face; the header of a CSV is row 1.
    model : str or Path
        An exports folder or a run.
    layer : str or int
        Dotted name or index.
    output : str or Path
        The folder to make: `sheet.png`, and `feature_maps.npz` with `feature_maps` float32 (channels, height,
        width) or (units,), `row`, and the `layer`'s name.
    force : bool
        Replace an existing folder.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    FerError
        If the data, the row, the model, the layer or the output is not what it must be.
    """
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        proven = load_verified(model)
        found = find_layer(proven.network, layer)
        face = take_rows(read_faces(data, roles=(), columns=input_columns), [row])
        values = layer_output(proven.network, face.images[0], found.name)
        save_figure(
            feature_map_sheet(values, found, row, names_of_units(found, proven.card.labels)), stage / "sheet.png"
        )
        np.savez(stage / "feature_maps.npz", feature_maps=values, row=np.int64(row), layer=np.array(found.name))
    return Path(output)


def names_of_units(layer: Layer, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the class names for a dense layer of as many units as there are classes, else None."""
    return labels if layer.kind == "Linear" and layer.shape == (len(labels),) else None

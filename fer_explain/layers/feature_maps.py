"""Feature maps: the output of a layer for one face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.faces import take_rows
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_explain.face_file import DataSource, load_faces, path_of
from fer_explain.layers.structure import Layer, device_of, evaluation_mode, find_layer, find_named_layer, run_to
from fer_explain.plots import save_figure, value_limits
from fer_explain.sheets import sheet, unit_sheet
from fer_explain.verification import load_verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER: Final = OutputFolder(always=("feature_maps.npz",), sometimes=("sheet.png", REJECTS_FILE))
"""Names of the files in the output folder."""


def layer_output(model: nn.Module, image: NDArray[np.uint8], layer: str | int) -> NDArray[np.float32]:
    """Return the output of a layer for one face.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its own mode
        is restored and no hook remains.
    image : ndarray of uint8, shape (48, 48)
        Face.
    layer : str or int
        Dotted name or index, see `fer_explain.list_layers`.

    Returns
    -------
    ndarray of float32, shape (channels, height, width) or (units,)

    Raises
    ------
    ConfigError
        If there is no such layer, or `image` is not one face.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_explain import layer_output
    >>> from fer_train import load_model
    >>> face = read_faces("faces.csv").images[0]
    >>> layer_output(load_model("exports/course-cnn"), face, "features.0").shape
    (48, 48, 48)
    """
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE) or image.dtype != np.uint8:
        raise ConfigError(f"expected one face, uint8 (48, 48), found {image.dtype} {image.shape}", parameter="image")
    found = find_layer(model, layer)
    batch = torch.from_numpy(np.ascontiguousarray(image)).to(device_of(model)).float()[None, None]
    with evaluation_mode(model), torch.no_grad():
        output = run_to(model, found, batch)[1]
    values: NDArray[np.float32] = output[0].float().cpu().numpy()
    return values


def feature_map_sheet(
    values: NDArray[np.float32], layer: Layer, row: int, class_names: tuple[str, ...] | None = None
) -> Figure:
    """Draw the output of a layer for one face.

    Parameters
    ----------
    values : ndarray of float32, shape (channels, height, width) or (units,)
        Output as `layer_output` returns it.
    layer : Layer
        Layer of this output.
    row : int
        Row number of the face.
    class_names : tuple of str, optional
        Names of the units, if the outputs are the logits.

    Returns
    -------
    matplotlib.figure.Figure
        Numbered channels on a common color scale, or units as bars or cells.
    """
    shape = "x".join(map(str, values.shape))
    title = f"Row {row}, layer {layer.index}: {layer.name} ({layer.kind}), {shape}"
    if values.ndim == 1:
        return unit_sheet(values, title, names=class_names)
    captions = [str(channel) for channel in range(len(values))]
    return sheet(values, captions, title, limits=value_limits(values), scale_label="output")


def draw_feature_maps(
    data: DataSource,
    model: str | Path,
    layer: str | int,
    output: str | Path,
    *,
    row: int | None = None,
    force: bool = False,
) -> Path:
    """Draw the output of a layer for one face and save its values.

    Parameters
    ----------
    data : path, FaceFile, Faces, ndarray of uint8, PIL image or DataFrame
        Faces, see `fer_core.as_faces` and, for one split of a file, `FaceFile`.
    model : str or Path
        Exports folder or run.
    layer : str or int
        Dotted name or index, see `fer_explain.list_layers`.
    output : str or Path
        Folder to create: `sheet.png`, and `feature_maps.npz` with `feature_maps` float32 (channels, height, width) or
        (units,), `row`, and the name of the `layer`.
    row : int, optional
        Row number of the face; the header of a CSV is row 1. Default: the first face.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    FerError
        If the data, the row, the model, the layer or the output is invalid.

    Examples
    --------
    >>> from fer_explain import draw_feature_maps
    >>> folder = draw_feature_maps("faces.csv", "exports/course-cnn", "features.0", "maps", row=17)
    >>> sorted(path.name for path in folder.iterdir())
    ['feature_maps.npz', 'sheet.png']
    """
    with staged(output, force=force, folder=FOLDER, inputs=(path_of(data), model)) as stage:
        verified = load_verified(model)
        found, class_names = find_named_layer(verified.network, layer, verified.card.labels)
        faces = load_faces(data, limit=1 if row is None else None, roles=())
        save_rejects(stage, faces.rejected)
        face = faces if row is None else take_rows(faces, [row])
        number = int(face.rows[0])
        values = layer_output(verified.network, face.images[0], found.name)
        save_figure(feature_map_sheet(values, found, number, class_names), stage / "sheet.png")
        np.savez(stage / "feature_maps.npz", feature_maps=values, row=np.int64(number), layer=np.array(found.name))
    return Path(output)

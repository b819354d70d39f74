"""Activation maximization of a model folder: synthesized images, their values, and comparison with real faces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, Faces
from fer_core.faces import take_rows
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.config import FACE_LIMIT, AscentConfig
from fer_explain.face_file import DataSource, load_faces, path_of
from fer_explain.layers.structure import find_named_layer
from fer_explain.maximization.ascent import Maximization, maximize_objectives
from fer_explain.maximization.objectives import (
    Objectives,
    channel_objectives,
    class_objective,
    direction_objective,
    parse_position,
    read_direction,
)
from fer_explain.maximization.on_faces import FaceMaxima, maxima_on_faces
from fer_explain.plots import save_figure
from fer_explain.sheets import LARGE_TILE, TILE, sheet
from fer_explain.verification import VerifiedModel, load_verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CAPTION_LETTERS: Final = 18
"""Longest caption that fits above a tile of normal size."""

FOLDER: Final = OutputFolder(always=("maximization.npz",), sometimes=("sheet.png", REJECTS_FILE))
"""Names of the files in the output folder."""


def maximize(  # noqa: PLR0913 - options of a public function
    model: str | Path,
    layer: str | int | None,
    output: str | Path,
    *,
    channels: Sequence[int] | None = None,
    class_name: str | None = None,
    direction: str | Path | None = None,
    position: str | None = None,
    start: str = "noise",
    data: DataSource | None = None,
    limit: int | None = None,
    config: AscentConfig | None = None,
    force: bool = False,
) -> Path:
    """Synthesize images that maximize channels, a neuron, a class or a direction, and save them.

    Parameters
    ----------
    model : str or Path
        Exports folder or run.
    layer : str or int or None
        Dotted name or index, see `fer_explain.list_layers`; None with `class_name`.
    output : str or Path
        Folder to create: `sheet.png`, and `maximization.npz` with `images` float32 (M, 48, 48), `names`, `channels`,
        `activation_start`, `activation_reached`, `dead`, all (M,), the name of the `layer`, and the `settings` as JSON.
        With `data` also the maxima on real faces, `activation_on_faces`, and their rows, `rows_on_faces`, both (M,),
        and the number of `faces`.
    channels : sequence of int, optional
        Channel or unit numbers. Default: all.
    class_name : str, optional
        Maximize the logit of this class.
    direction : str or Path, optional
        Maximize a direction in channel space, a floating-point vector of shape (channels,) in this `.npy` file.
    position : str, optional
        Row and column of one neuron, such as ``5,7``, or ``center``. Default: the mean over all positions.
    start : str
        Start image: ``noise`` around mid gray, the ``mean`` of the faces, or one face, such as ``row:17``.
    data : path, FaceFile, Faces, ndarray of uint8, PIL images or DataFrame, optional
        Faces for comparison and for the start image, see `fer_core.as_faces` and, for one split of a file, `FaceFile`.
    limit : int, optional
        Use at most the first `limit` faces for comparison and mean; 4,096 by default.
    config : AscentConfig, optional
        Settings of the gradient ascent.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    FerError
        If the model, the layer, an objective, the data or the output is invalid.

    Examples
    --------
    >>> from fer_explain import AscentConfig, maximize
    >>> folder = maximize("exports/course-cnn", 0, "ascent", channels=[0, 5], config=AscentConfig(steps=8))
    >>> np.load(folder / "maximization.npz")["images"].shape
    (2, 48, 48)
    """
    config = config or AscentConfig()
    if data is None and limit is not None:
        raise ConfigError("requires `data`", parameter="limit")
    limit = FACE_LIMIT if limit is None else limit
    with staged(output, force=force, folder=FOLDER, inputs=(model, path_of(data), direction)) as stage:
        verified = load_verified(model)
        objectives = _objectives(verified, layer, channels, class_name, direction, position)
        all_faces = start.startswith("row:")
        faces = None if data is None else load_faces(data, limit=None if all_faces else limit, roles=())
        compared = None if faces is None else load_faces(faces, limit=limit)
        save_rejects(stage, () if faces is None else faces.rejected)
        start_image = _start_image(start, faces, compared)
        steps = config.steps * config.images * len(objectives)
        with progress(f"maximize {objectives.layer.name}", steps, "steps") as advance:
            found = maximize_objectives(verified.network, objectives, config, start=start_image, advance=advance)
        maxima = None
        if compared is not None:
            with progress(f"activations of {objectives.layer.name}", len(compared)) as advance:
                maxima = maxima_on_faces(verified.network, found.objectives, compared, advance=advance)
        save_figure(maximization_sheet(found, maxima=maxima), stage / "sheet.png")
        used = {"position": objectives.position, "start": start, "weights_sha256": verified.weights_sha256}
        _save_arrays(stage / "maximization.npz", found, maxima, json.dumps(asdict(found.config) | used))
    return Path(output)


def _objectives(
    verified: VerifiedModel,
    layer: str | int | None,
    channels: Sequence[int] | None,
    class_name: str | None,
    direction: str | Path | None,
    position: str | None,
) -> Objectives:
    network, labels = verified.network, verified.card.labels
    if sum(choice is not None for choice in (channels, class_name, direction)) > 1:
        raise ConfigError("expected only one of `channels`, `class_name` and `direction`")
    if class_name is not None:
        if layer is not None or position is not None:
            raise ConfigError("`class_name` cannot be combined with `layer` or `position`")
        return class_objective(network, labels, class_name)
    if layer is None:
        raise ConfigError("expected a name or an index, or `class_name` instead", parameter="layer")
    found, class_names = find_named_layer(network, layer, labels)
    at = None if position is None else parse_position(found, position)
    if direction is not None:
        return direction_objective(found, read_direction(Path(direction)), Path(direction).stem, position=at)
    return channel_objectives(found, channels, position=at, class_names=class_names)


def _start_image(start: str, faces: Faces | None, compared: Faces | None) -> NDArray[np.float32] | None:
    """Return the start image, float32 (48, 48); None for mid gray."""
    if start == "noise":
        return None
    kind, _, row = start.partition(":")
    if not (start == "mean" or (kind == "row" and row.isdecimal())):
        raise ConfigError(f"expected noise, mean or row:N, such as row:17, found {start!r}", parameter="start")
    if faces is None or compared is None:
        raise ConfigError(f"{start} requires `data`", parameter="start")
    if start == "mean":
        return np.asarray(compared.images.mean(0, dtype=np.float64), np.float32)
    return np.asarray(take_rows(faces, [int(row)]).images[0], np.float32)


def maximization_sheet(
    found: Maximization, class_names: tuple[str, ...] | None = None, maxima: FaceMaxima | None = None
) -> Figure:
    """Draw the images of a `Maximization` with the captions of `image_captions`."""
    layer, position = found.layer, found.objectives.position
    where = "" if position is None else f" at row {position[0]}, column {position[1]}"
    title = f"Layer {layer.index}: {layer.name} ({layer.kind}), {layer.unit}{where}: activation reached"
    if maxima is not None:
        title += f" (relative to the maximum on {maxima.n:,} faces{_below(found, maxima)})"
    captions = image_captions(found, class_names, maxima)
    tile = LARGE_TILE if max(map(len, captions)) > MAX_CAPTION_LETTERS else TILE
    return sheet(np.rint(found.images).astype(np.uint8), captions, title, tile_pixels=tile)


def image_captions(
    found: Maximization, class_names: tuple[str, ...] | None = None, maxima: FaceMaxima | None = None
) -> list[str]:
    """Return one caption per image: number or class name, and the activation reached or ``dead``.

    With `maxima` of the same objectives the ratio to the maximum on real faces is added, or the maximum itself if it is
    not positive or the channel is dead.
    """
    names = found.objectives.names if class_names is None else [class_names[c] for c in found.channels]
    captions = [
        f"{name}: {'dead' if dead else _short(reached)}"
        for name, dead, reached in zip(names, found.dead, found.reached, strict=True)
    ]
    if maxima is None:
        return captions
    return [
        f"{caption} ({_ratio(reached / maximum)})"
        if maximum > 0 and not dead
        else f"{caption} (faces: {_short(maximum)})"
        for caption, dead, reached, maximum in zip(captions, found.dead, found.reached, maxima.values, strict=True)
    ]


def _below(found: Maximization, maxima: FaceMaxima) -> str:
    """Return a note on the number of images that stay below the maximum on real faces, if any."""
    below = int((~found.dead & (found.reached < maxima.values)).sum())
    return f"; {below} below it" if below else ""


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.1g}"


def _save_arrays(path: Path, found: Maximization, maxima: FaceMaxima | None, settings: str) -> None:
    arrays: dict[str, Any] = {}
    if maxima is not None:
        arrays = {
            "activation_on_faces": maxima.values,
            "rows_on_faces": maxima.rows,
            "faces": np.array(maxima.n),
        }
    np.savez(
        path,
        images=found.images,
        names=np.array(found.objectives.names),
        channels=found.channels,
        activation_start=found.start,
        activation_reached=found.reached,
        dead=found.dead,
        layer=np.array(found.layer.name),
        settings=np.array(settings),
        **arrays,
    )

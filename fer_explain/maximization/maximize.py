"""What the channels of a layer answer to, as a labelled sheet and as numbers, against what real faces make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, Faces, read_faces
from fer_core.faces import take_rows
from fer_core.io.reader import first_faces
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.layers.activations import MOST_FACES
from fer_explain.layers.feature_maps import names_of_units
from fer_explain.layers.structure import find_layer
from fer_explain.maximization.ascent import AscentConfig, Maximization, maximize_objectives
from fer_explain.maximization.objectives import (
    Objectives,
    channel_objectives,
    class_objective,
    direction_objective,
    parse_place,
    read_direction,
)
from fer_explain.maximization.on_faces import Highest, highest_on_faces
from fer_explain.plots import save_figure, sheet
from fer_explain.verification import VerifiedModel, load_verified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION_LETTERS: Final = 18
"""So many stand over an image drawn at twice its size."""

FOLDER: Final = OutputFolder(always=("maximization.npz",), sometimes=("sheet.png",))
"""Names of all that is written."""


def maximization_sheet(
    found: Maximization, class_names: tuple[str, ...] | None = None, highest: Highest | None = None
) -> Figure:
    """Draw the images of a `Maximization`, each under its caption, see `channel_captions`."""
    layer, place = found.layer, found.objectives.place
    where = "" if place is None else f" at row {place[0]}, column {place[1]}"
    title = f"Layer {layer.index}: {layer.name} ({layer.kind}), {layer.unit}{where}: activation reached"
    if highest is not None:
        title += f" (times the highest on {highest.n:,} faces{_below(found, highest)})"
    captions = channel_captions(found, class_names, highest)
    # three screen pixels for each of the image where a caption with a name needs the room
    wide = max(map(len, captions)) > CAPTION_LETTERS
    return sheet(np.rint(found.images).astype(np.uint8), captions, title, tile_pixels=144 if wide else 96)


def channel_captions(
    found: Maximization, class_names: tuple[str, ...] | None = None, highest: Highest | None = None
) -> list[str]:
    """Return one caption an image: its number or class name, and the activation reached or that it is dead.

    With `highest`, of the same images, also how many times the highest on real faces that is; where no face raises it
    above zero, or the channel is dead, what the highest was.
    """
    names = found.objectives.names if class_names is None else [class_names[c] for c in found.channels]
    captions = [
        f"{name}: {'dead' if dead else _short(reached)}"
        for name, dead, reached in zip(names, found.dead, found.reached, strict=True)
    ]
    if highest is None:
        return captions
    return [
        f"{caption} ({_times(reached / most)})" if most > 0 and not dead else f"{caption} (faces: {_short(most)})"
        for caption, dead, reached, most in zip(captions, found.dead, found.reached, highest.values, strict=True)
    ]


def _below(found: Maximization, highest: Highest) -> str:
    """Say how many images stay below what a real face reaches: there the ascent was weak."""
    below = int((~found.dead & (found.reached < highest.values)).sum())
    return f"; {below} below it" if below else ""


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10 else f"{ratio:.0f}x"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.1g}"


def maximize(
    model: str | Path,
    layer: str | int | None,
    output: str | Path,
    *,
    channels: Sequence[int] | None = None,
    class_name: str | None = None,
    direction: str | Path | None = None,
    place: str | None = None,
    start: str = "noise",
    data: str | Path | None = None,
    split: str | None = None,
    most_faces: int | None = None,
    config: AscentConfig | None = None,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
) -> Path:
    """Draw what a layer answers to.

    Parameters
    ----------
    model : str or Path
        An exports folder or a run.
    layer : str or int or None
        Dotted name or index; None only with `class_name`.
    output : str or Path
        The folder to make: `sheet.png`, and `maximization.npz` with `images` float32 (M, 48, 48), `names`, `channels`,
        `activation_start`, `activation_reached`, `dead`, all (M,), the `layer`'s name, and the `settings` as JSON; with
        `data` also `activation_on_faces` and `rows_on_faces`, the highest on real faces and its row, both (M,), and
        `faces`, how many those were.
    channels : sequence of int, optional
        Channel or unit numbers; all without it.
    class_name : str, optional
        Climb for the logit of this class instead.
    direction : str or Path, optional
        Climb along a direction among the layer's channels instead: a `.npy` file, floating-point (channels,).
    place : str, optional
        Row and column of the one neuron that counts, such as ``5,7``, or ``centre``; without it the mean over all.
    start : str
        Climb from ``noise`` around mid gray, from the ``mean`` of the faces, or from one of them, such as ``row:17``.
    data : str or Path, optional
        Faces, as `fer_core.read_faces` takes them, to compare with and to start from.
    split : str, optional
        Use this split of `data` only.
    most_faces : int, optional
        Compare with, and take the mean of, so many of the faces at most, the first of them; 4,096 if None.
    config : AscentConfig, optional
        Of the ascent.
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
        If the model, the layer, an objective, the data or the output is not what it must be.
    """
    config = config or AscentConfig()
    if data is None and split is not None:
        raise ConfigError(f"split: {split} is a split of faces, but there is no data")
    if data is None and most_faces is not None:
        raise ConfigError(f"most_faces: expected no limit of {most_faces:,}, as there is no data")
    if data is None and input_columns:
        raise ConfigError("input_columns: columns are those of faces, but there is no data")
    with staged(output, force=force, folder=FOLDER, inputs=(model, data, direction)) as stage:
        proven = load_verified(model)
        objectives = _objectives(proven, layer, channels, class_name, direction, place)
        most = MOST_FACES if most_faces is None else most_faces
        faces = None if data is None else first_faces(data, split, most, columns=input_columns)
        home = _start(start, data, split, faces, input_columns)
        total = config.steps * config.images * len(objectives)
        with progress(f"maximize {objectives.layer.name}", total, "steps") as advance:
            found = maximize_objectives(proven.network, objectives, config, start=home, advance=advance)
        highest = None
        if faces is not None:
            with progress(f"faces through {objectives.layer.name}", len(faces)) as advance:
                highest = highest_on_faces(proven.network, found.objectives, faces, advance=advance)
        save_figure(maximization_sheet(found, highest=highest), stage / "sheet.png")
        settings = asdict(found.config) | {
            "place": objectives.place,
            "start": start,
            "weights_sha256": proven.weights_sha256,
        }
        _save(stage / "maximization.npz", found, highest, settings)
    return Path(output)


def _objectives(
    proven: VerifiedModel,
    layer: str | int | None,
    channels: Sequence[int] | None,
    class_name: str | None,
    direction: str | Path | None,
    place: str | None,
) -> Objectives:
    network, labels = proven.network, proven.card.labels
    if sum(choice is not None for choice in (channels, class_name, direction)) > 1:
        raise ConfigError("channels, class and direction: expected one of them, found several")
    if class_name is not None:
        if layer is not None or place is not None:
            raise ConfigError("class: expected no layer and no place, as a logit is a unit of the last layer")
        return class_objective(network, labels, class_name)
    if layer is None:
        raise ConfigError("layer: expected a name or an index, or a class in its place")
    found = find_layer(network, layer)
    at = None if place is None else parse_place(found, place)
    if direction is not None:
        return direction_objective(found, read_direction(Path(direction)), Path(direction).stem, place=at)
    return channel_objectives(found, channels, place=at, class_names=names_of_units(found, labels))


def _start(
    start: str,
    data: str | Path | None,
    split: str | None,
    faces: Faces | None,
    columns: Mapping[str, str] | None,
) -> NDArray[np.float32] | None:
    """Return the image to climb from, float32 (48, 48); None for mid gray."""
    if start == "noise":
        return None
    kind, _, row = start.partition(":")
    if not (start == "mean" or (kind == "row" and row.isdecimal())):
        raise ConfigError(f"start: expected noise, mean or row:N, such as row:17, found {start!r}")
    if data is None or faces is None:
        raise ConfigError(f"start: {start} is taken from faces, but there is no data")
    if start == "mean":
        return np.asarray(faces.images.mean(0, dtype=np.float64), np.float32)
    if int(row) not in faces.rows:  # what is read once is not read again
        faces = read_faces(data, split, roles=(), columns=columns)
    return np.asarray(take_rows(faces, [int(row)]).images[0], np.float32)


def _save(path: Path, found: Maximization, highest: Highest | None, settings: dict[str, Any]) -> None:
    arrays: dict[str, Any] = {}
    if highest is not None:
        arrays = {
            "activation_on_faces": highest.values,
            "rows_on_faces": highest.rows,
            "faces": np.array(highest.n),
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
        settings=np.array(json.dumps(settings)),
        **arrays,
    )

"""What images are climbed for and faces are measured by: channels, neurons, class logits, directions of a layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import ConfigError
from fer_explain.layers.structure import Layer, list_layers, logits_layer

Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Objectives:
    """N directions in the channels of a layer: what is climbed is the layer's output along one of them.

    Attributes
    ----------
    layer : Layer
        Whose output.
    directions : ndarray of float32, shape (N, channels)
        Each of length 1; a single channel has a single 1.
    channels : ndarray of int64, shape (N,)
        The channel or unit that a direction is; -1 where it is none alone.
    names : tuple of str
        N of them: channel numbers, or the names of classes.
    place : tuple of int, optional
        Row and column of the one neuron that counts; all places of the layer on average without it.
    """

    layer: Layer
    directions: NDArray[np.float32]
    channels: NDArray[np.int64]
    names: tuple[str, ...]
    place: Place | None = None

    def __len__(self) -> int:
        return len(self.directions)

    def take(self, index: NDArray[np.int64]) -> Objectives:
        """Return the objectives at these positions."""
        names = tuple(self.names[i] for i in index)
        return Objectives(self.layer, self.directions[index], self.channels[index], names, self.place)

    def places(self, outputs: Tensor) -> Tensor:
        """Return objective i of output i, wherever it counts.

        Parameters
        ----------
        outputs : Tensor
            Of the layer, or what a layer without weights is given, float32 (N, channels, ...).

        Returns
        -------
        Tensor
            float32 (N, places).
        """
        directions = torch.from_numpy(self.directions).to(outputs.device)
        return torch.einsum("nc,ncp->np", directions, self._seen(outputs))

    def of_all(self, outputs: Tensor) -> Tensor:
        """Return every objective, averaged over its places, of all outputs: (batch, N) of (batch, channels, ...)."""
        directions = torch.from_numpy(self.directions).to(outputs.device)
        return self._seen(outputs).mean(2) @ directions.T

    def _seen(self, outputs: Tensor) -> Tensor:
        if self.place is None:
            return outputs.reshape(*outputs.shape[:2], -1)
        y, x = self.place
        return outputs[:, :, y, x, None]


def channel_objectives(
    layer: Layer,
    channels: Sequence[int] | None = None,
    *,
    place: Place | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Objectives:
    """Make an objective of each of some channels.

    Parameters
    ----------
    layer : Layer
        Whose channels or units.
    channels : sequence of int, optional
        Their numbers; all without it.
    place : tuple of int, optional
        Row and column of the neuron; the mean over all places without it.
    class_names : tuple of str, optional
        Names of the units, where they are the logits.

    Raises
    ------
    ConfigError
        If the layer has no such channel or place.
    """
    chosen = np.arange(layer.shape[0]) if channels is None else np.array(channels, np.int64)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= layer.shape[0]:
        wrong = [str(c) for c in chosen if not 0 <= c < layer.shape[0]]
        more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
        found = ", ".join(wrong[:5]) + more if wrong else "none"
        raise ConfigError(f"channels: layer {layer.name} has {layer.unit}s 0..{layer.shape[0] - 1}, found {found}")
    names = tuple(str(c) if class_names is None else class_names[c] for c in chosen)
    return Objectives(layer, np.eye(layer.shape[0], dtype=np.float32)[chosen], chosen, names, _checked(layer, place))


def direction_objective(
    layer: Layer, direction: NDArray[Any], name: str = "direction", *, place: Place | None = None
) -> Objectives:
    """Make an objective of a direction among a layer's channels, such as the difference of two classes' means.

    Parameters
    ----------
    layer : Layer
        Whose output.
    direction : ndarray of float, shape (channels,)
        Of any length but zero; its length does not count.
    name : str
        For captions.
    place : tuple of int, optional
        Row and column; the mean over all places without it.

    Raises
    ------
    ConfigError
        If the vector is of another shape, zero or not finite, or the layer has no such place.
    """
    if direction.shape != (layer.shape[0],) or not np.issubdtype(direction.dtype, np.floating):
        raise ConfigError(
            f"{name}: expected floating-point numbers of shape ({layer.shape[0]},), one for each {layer.unit} of "
            f"layer {layer.name}, found {direction.dtype} {direction.shape}"
        )
    length = float(np.linalg.norm(direction.astype(np.float64)))
    if not (np.isfinite(length) and length > 0):
        raise ConfigError(f"{name}: expected a direction, found a vector of length {length}")
    unit = (direction / length).astype(np.float32)[None]
    return Objectives(layer, unit, np.array([-1]), (name,), _checked(layer, place))


def class_objective(model: nn.Module, labels: tuple[str, ...], name: str) -> Objectives:
    """Make an objective of the logit of a class, by its name.

    Raises
    ------
    ConfigError
        If there is no class of that name, or no layer gives the logits.
    """
    if name not in labels:
        raise ConfigError(f"class: expected one of {', '.join(labels)}, found {name!r}")
    layer = logits_layer(model)
    if layer is None:
        raise ConfigError(
            f"class: expected a network whose last layer gives the logits, found one that goes on after "
            f"{list_layers(model)[-1].name}, as an ensemble does; climb a member's layer and channel instead"
        )
    return channel_objectives(layer, [labels.index(name)], class_names=labels)


def parse_place(layer: Layer, text: str) -> Place:
    """Read a place of a layer: ``centre``, the lower right of four in the middle, or row and column such as ``5,7``."""
    if text == "centre" and len(layer.shape) == 3:
        return layer.shape[1] // 2, layer.shape[2] // 2
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6})", text, re.ASCII)
    if match is None:
        raise ConfigError(
            f"place: expected row and column such as 5,7, or centre of a layer with places, found {text!r}"
        )
    return int(match[1]), int(match[2])


def read_direction(path: Path) -> NDArray[Any]:
    """Read a vector from a `.npy` file; ConfigError where it is none."""
    try:
        vector = np.load(path, allow_pickle=False)
    except Exception as error:  # what NumPy raises at a damaged file has no base in common
        raise ConfigError(f"direction: {path}: cannot be read as an .npy file: {error}") from None
    if not isinstance(vector, np.ndarray):
        vector.close()
        raise ConfigError(f"direction: {path}: expected an .npy file, found an archive of several arrays")
    return vector


def _checked(layer: Layer, place: Place | None) -> Place | None:
    """Return a place that the layer has, and raise ConfigError at any other."""
    if place is None:
        return None
    sides = layer.shape[1:]
    if len(sides) != 2 or not all(0 <= at < side for at, side in zip(place, sides, strict=True)):
        expected = f"rows 0..{sides[0] - 1} and columns 0..{sides[1] - 1}" if sides else "no places, as it is dense"
        raise ConfigError(f"place: layer {layer.name} has {expected}, found {place[0]},{place[1]}")
    return place

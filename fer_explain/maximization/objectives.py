"""Objectives of activation maximization: channels, neurons, class logits and directions of a layer."""

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

Position = tuple[int, int]
"""Row and column of a neuron in a layer."""


@dataclass(frozen=True, eq=False)
class Objectives:
    """N objectives: the outputs of a layer projected on one direction in channel space each.

    Attributes
    ----------
    layer : Layer
        The layer.
    directions : ndarray of float32, shape (N, channels)
        Unit vectors; one-hot for a single channel.
    channels : ndarray of int64, shape (N,)
        Channel or unit of a one-hot direction; -1 for other directions.
    names : tuple of str
        N names: channel numbers, or names of classes.
    position : tuple of int, optional
        Row and column of one neuron; without it objectives are averaged over all positions of the layer.
    """

    layer: Layer
    directions: NDArray[np.float32]
    channels: NDArray[np.int64]
    names: tuple[str, ...]
    position: Position | None = None

    def __len__(self) -> int:
        return len(self.directions)

    def take(self, index: NDArray[np.int64]) -> Objectives:
        """Return the objectives at these indices."""
        names = tuple(self.names[i] for i in index)
        return Objectives(self.layer, self.directions[index], self.channels[index], names, self.position)

    def at_positions(self, outputs: Tensor) -> Tensor:
        """Return objective i of output i at each position.

        Parameters
        ----------
        outputs : Tensor
            Outputs of the layer, or inputs of a layer without weights, float32 (N, channels, ...).

        Returns
        -------
        Tensor
            float32 (N, positions).
        """
        directions = torch.from_numpy(self.directions).to(outputs.device)
        return torch.einsum("nc,ncp->np", directions, self._flat(outputs))

    def values(self, outputs: Tensor) -> Tensor:
        """Return all objectives of all outputs, averaged over positions: (batch, N) for (batch, channels, ...)."""
        directions = torch.from_numpy(self.directions).to(outputs.device)
        return self._flat(outputs).mean(2) @ directions.T

    def _flat(self, outputs: Tensor) -> Tensor:
        if self.position is None:
            return outputs.reshape(*outputs.shape[:2], -1)
        y, x = self.position
        return outputs[:, :, y, x, None]


def channel_objectives(
    layer: Layer,
    channels: Sequence[int] | None = None,
    *,
    position: Position | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Objectives:
    """Create one objective per channel.

    Parameters
    ----------
    layer : Layer
        Layer of the channels or units.
    channels : sequence of int, optional
        Channel numbers. Default: all.
    position : tuple of int, optional
        Row and column of the neuron. Default: the mean over all positions.
    class_names : tuple of str, optional
        Names of the units, if they are the logits.

    Raises
    ------
    ConfigError
        If the layer has no such channel or position.
    """
    chosen = np.arange(layer.shape[0]) if channels is None else np.array(channels, np.int64)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= layer.shape[0]:
        wrong = [str(c) for c in chosen if not 0 <= c < layer.shape[0]]
        more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
        found = ", ".join(wrong[:5]) + more if wrong else "none"
        raise ConfigError(
            f"layer {layer.name} has {layer.unit}s 0..{layer.shape[0] - 1}, found {found}", parameter="channels"
        )
    names = tuple(str(c) if class_names is None else class_names[c] for c in chosen)
    directions = np.eye(layer.shape[0], dtype=np.float32)[chosen]
    return Objectives(layer, directions, chosen, names, _checked(layer, position))


def direction_objective(
    layer: Layer, direction: NDArray[Any], name: str = "direction", *, position: Position | None = None
) -> Objectives:
    """Create an objective for a direction in the channel space of a layer.

    Parameters
    ----------
    layer : Layer
        The layer.
    direction : ndarray of float, shape (channels,)
        Nonzero vector, such as the difference of two class means; its length has no effect.
    name : str
        Name for captions.
    position : tuple of int, optional
        Row and column of the neurons. Default: the mean over all positions.

    Raises
    ------
    ConfigError
        If the vector has another shape, is zero or not finite, or the layer has no such position.
    """
    if direction.shape != (layer.shape[0],) or not np.issubdtype(direction.dtype, np.floating):
        raise ConfigError(
            f"{name}: expected floating-point numbers of shape ({layer.shape[0]},), one per {layer.unit} of "
            f"layer {layer.name}, found {direction.dtype} {direction.shape}"
        )
    length = float(np.linalg.norm(direction.astype(np.float64)))
    if not (np.isfinite(length) and length > 0):
        raise ConfigError(f"{name}: expected a direction, found a vector of length {length}")
    unit = (direction / length).astype(np.float32)[None]
    return Objectives(layer, unit, np.array([-1]), (name,), _checked(layer, position))


def class_objective(model: nn.Module, labels: tuple[str, ...], name: str) -> Objectives:
    """Create an objective for the logit of a class.

    Raises
    ------
    ConfigError
        If there is no class of that name, or the outputs of the last layer are not the logits.
    """
    if name not in labels:
        raise ConfigError(f"expected one of {', '.join(labels)}, found {name!r}", parameter="class_name")
    layer = logits_layer(model)
    if layer is None:
        raise ConfigError(
            f"expected a network whose last layer outputs the logits, found operations after "
            f"{list_layers(model)[-1].name}, as in an ensemble; maximize a layer and channel of a member instead",
            parameter="class_name",
        )
    return channel_objectives(layer, [labels.index(name)], class_names=labels)


def parse_position(layer: Layer, text: str) -> Position:
    """Parse a position in a layer: row and column such as ``5,7``, or ``center``.

    The center of an even number of rows or columns is the lower or right one of the two in the middle.
    """
    if text == "center" and len(layer.shape) == 3:
        return layer.shape[1] // 2, layer.shape[2] // 2
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6})", text, re.ASCII)
    if match is None:
        raise ConfigError(
            f"expected row and column such as 5,7, or center for a convolutional layer, found {text!r}",
            parameter="position",
        )
    return int(match[1]), int(match[2])


def read_direction(path: Path) -> NDArray[Any]:
    """Read a vector from an `.npy` file; raise ConfigError if it is not one."""
    try:
        vector = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy's errors for a damaged file have no common base class
        raise ConfigError(f"{path}: cannot be read as an .npy file: {error}", parameter="direction") from None
    if not isinstance(vector, np.ndarray):
        vector.close()
        raise ConfigError(f"{path}: expected an .npy file, found an archive of several arrays", parameter="direction")
    return vector


def _checked(layer: Layer, position: Position | None) -> Position | None:
    """Return a position that exists in the layer; raise ConfigError for another one."""
    if position is None:
        return None
    sides = layer.shape[1:]
    if len(sides) != 2 or not all(0 <= at < side for at, side in zip(position, sides, strict=True)):
        expected = f"rows 0..{sides[0] - 1} and columns 0..{sides[1] - 1}" if sides else "no positions, as it is dense"
        raise ConfigError(f"layer {layer.name} has {expected}, found {position[0]},{position[1]}", parameter="position")
    return position

"""Receptive fields: the image region that each position of a layer depends on.

Araujo, Norris and Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, propagate size, stride and
offset. Here the interval of each position is propagated, which needs no special case at the edges of the image.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from fer_core import IMAGE_SIZE, ModelError
from fer_explain.layers.structure import Layer, evaluation_mode

Intervals = NDArray[np.int64]

POSITIONWISE: Final = (
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Identity,
    nn.ReLU,
    nn.Sigmoid,
)
"""Modules whose output at a position depends only on their input at that position."""
ELEMENTWISE: Final = (operator.add, operator.sub, operator.mul, operator.truediv, functional.instance_norm)
"""Functions whose output at a position depends on their inputs at that position. Instance normalization also depends on
mean and standard deviation of the whole image; this dependence is ignored."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The pixels that each position of a layer depends on: `rows[y]` by `columns[x]` for the position (y, x).

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (height, 2) and (width, 2)
        First pixel and one past the last pixel, 0..48, clipped to the image. A dense layer has one position.
    """

    rows: Intervals
    columns: Intervals

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest receptive field, in pixels."""
        height, width = ((field[:, 1] - field[:, 0]).max() for field in (self.rows, self.columns))
        return int(height), int(width)

    @property
    def whole(self) -> bool:
        """Whether every position depends on the whole image."""
        return all((field == [0, IMAGE_SIZE]).all() for field in (self.rows, self.columns))

    def box(self, y: int, x: int) -> tuple[slice, slice]:
        """Return the rows and columns of the image that the position (y, x) depends on."""
        return slice(*self.rows[y].tolist()), slice(*self.columns[x].tolist())

    def __str__(self) -> str:
        return "the whole image" if self.whole else "{}x{} pixels".format(*self.size)


def receptive_field(model: nn.Module, layer: Layer) -> ReceptiveField:
    """Compute the receptive field of a layer.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) to logits; must be traceable by `torch.fx`. Traced in evaluation mode.
    layer : Layer
        One of its layers.

    Returns
    -------
    ReceptiveField
        Exact, except that zero weights are not taken into account. Behind a gate that depends on the whole image, such
        as squeeze-and-excitation, the receptive field is the whole image.

    Raises
    ------
    ModelError
        If the network contains an operation that is not supported; the message names it.
    """
    for name, field in receptive_fields(model):
        if name == layer.name:
            return field
    raise ModelError(f"layer {layer.name}: not reached in the forward pass")


def receptive_fields(model: nn.Module) -> Iterator[tuple[str, ReceptiveField]]:
    """Yield the dotted name and receptive field of each module of a network, in forward order.

    Parameters and errors are those of `receptive_field`; an unsupported operation raises when it is reached.
    """
    with evaluation_mode(model):
        try:
            traced = fx.symbolic_trace(model)
        except Exception as error:  # any error of the network's own code
            raise ModelError(f"receptive field: the network cannot be traced: {error}") from error
    pixels = np.stack([np.arange(IMAGE_SIZE), np.arange(1, IMAGE_SIZE + 1)], 1)
    fields: dict[fx.Node, ReceptiveField] = {}
    for node in traced.graph.nodes:
        inputs = [fields[source] for source in node.all_input_nodes if source in fields]
        if node.op == "placeholder":
            fields[node] = ReceptiveField(pixels, pixels)
        elif node.op == "call_module":
            fields[node] = _through(traced.get_submodule(node.target), node.target, inputs[0])
            yield node.target, fields[node]
        elif node.op == "call_function" and node.target in ELEMENTWISE:
            fields[node] = ReceptiveField(_union([f.rows for f in inputs]), _union([f.columns for f in inputs]))
        elif inputs and node.op != "output":
            raise _unsupported(str(node.target))


def _through(module: nn.Module, name: str, field: ReceptiveField) -> ReceptiveField:
    """Return the receptive field of a module's output, given that of its input."""
    if isinstance(module, POSITIONWISE):
        return field
    if isinstance(module, nn.Flatten | nn.Linear):
        return ReceptiveField(_pooled(field.rows, 1), _pooled(field.columns, 1))
    axes = []
    for axis, intervals in enumerate((field.rows, field.columns)):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            axes.append(_pooled(intervals, _along(module.output_size, axis)))
        elif isinstance(module, nn.PixelUnshuffle):
            axes.append(_windows(intervals, module.downscale_factor, module.downscale_factor))
        elif isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            dilation, padding = module.dilation[axis], module.padding[axis]
            axes.append(_windows(intervals, module.kernel_size[axis], module.stride[axis], int(padding), dilation))
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and not module.ceil_mode:
            dilation = _along(module.dilation, axis) if isinstance(module, nn.MaxPool2d) else 1
            kernel, stride, padding = (
                _along(setting, axis) for setting in (module.kernel_size, module.stride, module.padding)
            )
            axes.append(_windows(intervals, kernel, stride, padding, dilation))
        else:
            raise _unsupported(f"{name}, {module}")
    return ReceptiveField(*axes)


def _windows(intervals: Intervals, kernel: int, stride: int, padding: int = 0, dilation: int = 1) -> Intervals:
    """Return the union of the intervals under each position of a sliding window; padding contributes no pixels."""
    n = len(intervals)
    taps = dilation * np.arange(kernel)
    starts = stride * np.arange((n + 2 * padding - taps[-1] - 1) // stride + 1) - padding
    covered = starts[:, None] + taps
    inside = (covered >= 0) & (covered < n)
    low = np.where(inside, intervals[covered.clip(0, n - 1), 0], IMAGE_SIZE).min(1)
    high = np.where(inside, intervals[covered.clip(0, n - 1), 1], 0).max(1)
    return np.stack([low, high], 1)


def _pooled(intervals: Intervals, size: int) -> Intervals:
    """Return the union of the intervals in each of the `size` bins of adaptive pooling."""
    n = len(intervals)
    bins = [intervals[i * n // size : math.ceil((i + 1) * n / size)] for i in range(size)]
    return np.array([[part[:, 0].min(), part[:, 1].max()] for part in bins])


def _union(fields: list[Intervals]) -> Intervals:
    """Return, per position, the smallest interval that contains those of all fields; a single position is broadcast."""
    aligned = np.broadcast_arrays(*fields)
    return np.stack([np.min([f[:, 0] for f in aligned], 0), np.max([f[:, 1] for f in aligned], 0)], 1)


def _along(value: Any, axis: int) -> int:
    """Return the value of a setting, one number or a pair, for an axis."""
    return int(value if isinstance(value, int) else value[axis])


def _unsupported(operation: str) -> ModelError:
    return ModelError(f"receptive field: unsupported operation {operation}")

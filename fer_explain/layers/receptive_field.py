"""Which pixels a place of a layer sees: computed from the network, by following intervals through it.

Araujo, Norris and Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, follow size, stride and offset
of the field; here the interval of each place is followed, so that the edges of the image need no special care.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from fer_core import IMAGE_SIZE, ModelError
from fer_explain.layers.structure import Layer, evaluation_mode

Intervals = NDArray[np.int64]

SAME_PLACE: Final = (
    nn.BatchNorm2d,
    nn.Dropout,
    nn.Identity,
    nn.ReLU,
    nn.Sigmoid,
)
"""Modules whose output at a place depends on their input at that place alone."""
TOGETHER: Final = (operator.add, operator.sub, operator.mul, operator.truediv, functional.instance_norm)
"""Functions whose output at a place depends on all their inputs at that place; instance normalization also on the mean
and the deviation of the whole face, which are no part of a picture and are left out."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The pixels that each place of a layer can depend on: of the place (y, x) the box of `rows[y]` and `columns[x]`.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (height, 2) and (width, 2)
        First pixel and the one after the last, 0..48, cut off at the edges of the image. A dense layer has one place.
    """

    rows: Intervals
    columns: Intervals

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest box, in pixels."""
        height, width = ((field[:, 1] - field[:, 0]).max() for field in (self.rows, self.columns))
        return int(height), int(width)

    @property
    def whole(self) -> bool:
        """Whether every place sees the whole image."""
        return all((field == [0, IMAGE_SIZE]).all() for field in (self.rows, self.columns))

    def box(self, y: int, x: int) -> tuple[slice, slice]:
        """Return the rows and columns of an image that the place (y, x) sees."""
        return slice(*self.rows[y].tolist()), slice(*self.columns[x].tolist())

    def __str__(self) -> str:
        return "the whole image" if self.whole else "{}x{} pixels".format(*self.size)


def receptive_field(model: nn.Module, layer: Layer) -> ReceptiveField:
    """Compute the receptive field of a layer.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) to logits; a network that `torch.fx` can trace. Taken as in evaluation mode.
    layer : Layer
        Of this network.

    Returns
    -------
    ReceptiveField
        Exact but for weights that happen to be zero: what no path of the network leads to is outside. A gate such as
        squeeze-and-excitation, which looks at the whole image, makes all behind it see the whole image. A network that
        standardizes each face sees, besides, its mean and deviation.

    Raises
    ------
    ModelError
        If something in the network cannot be followed; it is named.
    """
    with evaluation_mode(model):
        try:
            traced = fx.symbolic_trace(model)
        except Exception as error:  # whatever the network's own code raises when it is given no numbers
            raise ModelError(f"layer {layer.name}: the network cannot be traced: {error}") from error
    pixels = np.stack([np.arange(IMAGE_SIZE), np.arange(1, IMAGE_SIZE + 1)], 1)
    fields: dict[fx.Node, ReceptiveField] = {}
    for node in traced.graph.nodes:
        seen = [fields[source] for source in node.all_input_nodes if source in fields]
        if node.op == "placeholder":
            fields[node] = ReceptiveField(pixels, pixels)
        elif node.op == "call_module":
            fields[node] = _through(traced.get_submodule(node.target), node.target, seen[0])
            if node.target == layer.name:
                return fields[node]
        elif node.op == "call_function" and node.target in TOGETHER:
            fields[node] = ReceptiveField(_union([f.rows for f in seen]), _union([f.columns for f in seen]))
        elif seen and node.op != "output":
            raise _unknown(str(node.target))
    raise ModelError(f"layer {layer.name}: no face passes through it")


def _through(module: nn.Module, name: str, field: ReceptiveField) -> ReceptiveField:
    """Return the field of a module's output, given that of its input."""
    if isinstance(module, SAME_PLACE):
        return field
    if isinstance(module, nn.Flatten | nn.Linear):
        return ReceptiveField(_pooled(field.rows, 1), _pooled(field.columns, 1))
    axes = []
    for axis, intervals in enumerate((field.rows, field.columns)):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            axes.append(_pooled(intervals, _of(module.output_size, axis)))
        elif isinstance(module, nn.PixelUnshuffle):
            axes.append(_windows(intervals, module.downscale_factor, module.downscale_factor))
        elif isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            dilation, padding = module.dilation[axis], module.padding[axis]
            axes.append(_windows(intervals, module.kernel_size[axis], module.stride[axis], int(padding), dilation))
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and not module.ceil_mode:
            dilation = _of(module.dilation, axis) if isinstance(module, nn.MaxPool2d) else 1
            kernel, stride, padding = (_of(of, axis) for of in (module.kernel_size, module.stride, module.padding))
            axes.append(_windows(intervals, kernel, stride, padding, dilation))
        else:
            raise _unknown(f"{name}, {module}")
    return ReceptiveField(*axes)


def _windows(intervals: Intervals, kernel: int, stride: int, padding: int = 0, dilation: int = 1) -> Intervals:
    """Return the union of the intervals under each position of a sliding window; padding sees nothing."""
    n = len(intervals)
    taps = dilation * np.arange(kernel)
    starts = stride * np.arange((n + 2 * padding - taps[-1] - 1) // stride + 1) - padding
    under = starts[:, None] + taps
    inside = (under >= 0) & (under < n)
    low = np.where(inside, intervals[under.clip(0, n - 1), 0], IMAGE_SIZE).min(1)
    high = np.where(inside, intervals[under.clip(0, n - 1), 1], 0).max(1)
    return np.stack([low, high], 1)


def _pooled(intervals: Intervals, size: int) -> Intervals:
    """Return the union of the intervals under each of `size` even shares of the axis."""
    n = len(intervals)
    shares = [intervals[i * n // size : -(-(i + 1) * n // size)] for i in range(size)]
    return np.array([[share[:, 0].min(), share[:, 1].max()] for share in shares])


def _union(fields: list[Intervals]) -> Intervals:
    """Return, place by place, the smallest interval that holds those of all fields; a single place meets them all."""
    spread = np.broadcast_arrays(*fields)
    return np.stack([np.min([f[:, 0] for f in spread], 0), np.max([f[:, 1] for f in spread], 0)], 1)


def _of(value: Any, axis: int) -> int:
    """Return what a setting, one number or a pair, says of an axis."""
    return int(value if isinstance(value, int) else value[axis])


def _unknown(what: str) -> ModelError:
    return ModelError(f"receptive field: cannot be followed through {what}")

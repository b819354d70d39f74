"""Derivatives of the ONNX operators for images: convolutions, pooling and normalization.

MaxPool passes the gradient to the first of several maxima of a window, as PyTorch does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fer_core import ModelError
from fer_train.exporting.saliency.builder import GraphBuilder
from fer_train.exporting.saliency.nodes import attribute, require, reshape_to, scatter

Gradients = list[str | None]
"""Name of the gradient at each input of a node; None where the input needs none."""


def instance_normalization(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Project out the mean and the normalized input (Ioffe and Szegedy 2015, section 3, for one image)."""
    values, scale, _ = node.input
    shape = build.shape(values)
    axes, ones = build.integers(*range(2, len(shape))), (1, -1) + (1,) * (len(shape) - 2)

    def mean(value: str) -> str:
        return build.add("ReduceMean", value, axes, keepdims=1)

    centered = build.add("Sub", values, mean(values))
    variance = mean(build.add("Mul", centered, centered))
    deviation = build.add("Sqrt", build.add("Add", variance, build.constant(attribute(node, "epsilon", 1e-5))))
    normalized = build.add("Div", centered, deviation)
    scaled = build.add("Mul", gradient, build.add("Reshape", scale, build.integers(*ones)))
    along = build.add("Mul", normalized, mean(build.add("Mul", scaled, normalized)))
    return [build.add("Div", build.add("Sub", build.add("Sub", scaled, mean(scaled)), along), deviation), None, None]


def average_pool(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Spread the gradient of each window evenly over it."""
    kernel = list(attribute(node, "kernel_shape"))
    require(node, strides=kernel, pads=[0, 0, 0, 0], dilations=[1, 1], auto_pad=b"NOTSET", ceil_mode=0)
    shape = build.shape(node.input[0])
    batch, channels, *_ = shape
    height, width = build.sizes(node.input[0], (2, 3))
    if height % kernel[0] or width % kernel[1]:
        raise ModelError(f"expected windows of {kernel} that tile the input, found {shape}")
    rows, columns = height // kernel[0], width // kernel[1]
    pooled = reshape_to(build, gradient, (batch, channels, rows, 1, columns, 1))
    spread = np.full((1, 1, 1, kernel[0], 1, kernel[1]), 1 / math.prod(kernel))
    return [reshape_to(build, build.add("Mul", pooled, build.constant(spread)), shape)]


def max_pool(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Add the gradient of each window at its first maximum, whose place a second MaxPool returns."""
    from onnx import helper

    attributes = {found.name: helper.get_attribute_value(found) for found in node.attribute}
    require(node, storage_order=0)
    _, places = build.add_many("MaxPool", node.input[0], outputs=2, **attributes)
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    overlaps = any(size > stride for size, stride in zip(kernel, strides, strict=True))
    size = build.add("ReduceProd", build.add("Shape", node.input[0]), keepdims=1)
    scattered = scatter(build, size, places, gradient, reduction="add" if overlaps else "none")
    return [reshape_to(build, scattered, build.shape(node.input[0]))]


def convolution(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Convolve back, see `convolution_gradient`."""
    if any(wanted[1:]):
        raise ModelError("expected weights that do not depend on the face")
    return [convolution_gradient(build, node, gradient, node.input[1]), *[None] * (len(node.input) - 1)]


def convolution_gradient(build: GraphBuilder, node: Any, gradient: str, weights: str) -> str:
    """Return the gradient at the input of a convolution with `weights`: the transposed convolution."""
    require(node, auto_pad=b"NOTSET")
    kernel, pads = build.sizes(node.input[1], (2, 3)), list(attribute(node, "pads", [0, 0, 0, 0]))
    strides, dilations = list(attribute(node, "strides", [1, 1])), list(attribute(node, "dilations", [1, 1]))
    sizes = build.sizes(node.input[0], (2, 3)), build.sizes(node.output[0], (2, 3))
    # rows and columns at the end that no window reaches
    rest = [
        large - ((small - 1) * stride + dilation * (size - 1) + 1 - begin - end)
        for large, small, stride, dilation, size, begin, end in zip(
            *sizes, strides, dilations, kernel, pads[:2], pads[2:], strict=True
        )
    ]
    group = attribute(node, "group", 1)
    full = [dilation * (size - 1) - pad for pad, dilation, size in zip(pads, dilations * 2, kernel * 2, strict=True)]
    if set(strides) == {1} and group == 1 and not any(rest) and min(full) >= 0:
        flipped = _flipped(build, weights)
        return build.add("Conv", gradient, flipped, kernel_shape=kernel, dilations=dilations, pads=full)
    return build.add(
        "ConvTranspose",
        gradient,
        weights,
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=group,
        output_padding=rest,
    )


def _flipped(build: GraphBuilder, weights: str) -> str:
    """Swap the channels of weights, (outputs, inputs, height, width), and rotate the kernels by 180 degrees.

    A convolution with them is the transposed convolution, and ONNX Runtime runs it faster than its ConvTranspose. It
    rearranges the weights once, when it loads the graph.
    """
    swapped = build.add("Transpose", weights, perm=[1, 0, 2, 3])
    begin, end = build.integers(-1, -1), build.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).min)
    return build.add("Slice", swapped, begin, end, build.integers(2, 3), build.integers(-1, -1))


def batch_normalization(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Multiply each channel by its factor."""
    shape = build.shape(node.input[0])
    factor = build.add("Reshape", normalization_factor(build, node), build.integers(1, -1, *[1] * (len(shape) - 2)))
    return [build.add("Mul", gradient, factor), *[None] * 4]


def normalization_factor(build: GraphBuilder, node: Any) -> str:
    """Return the factor of each channel, scale / sqrt(variance + epsilon); ONNX Runtime computes it once, at load."""
    require(node, training_mode=0)
    _, scale, _, _, variance = node.input
    epsilon = build.constant(attribute(node, "epsilon", 1e-5))
    return build.add("Div", scale, build.add("Sqrt", build.add("Add", variance, epsilon)))

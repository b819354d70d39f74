"""Derivatives of ONNX operators: for each, the nodes that carry a gradient from its output to its inputs.

All rules are vector-Jacobian products of the operators as ONNX defines them (opset 20). Where an operator is not
differentiable, the rule chooses as PyTorch does: the derivative of Relu at 0 is 0, and MaxPool passes the gradient to
the first of several maxima of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from fer_core import ModelError
from fer_train.exporting.saliency.builder import GraphBuilder, Shape

Gradients = list[str | None]
"""Name of the gradient at each input of a node; None where the input needs none."""


def differentiate_node(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Add the nodes that carry `gradient` from the output of a node to its inputs.

    Parameters
    ----------
    build : GraphBuilder
        Graph that contains the node.
    node : onnx.NodeProto
        Node to differentiate.
    gradient : str
        Name of the gradient at its output.
    wanted : list of bool
        Which inputs need a gradient.

    Returns
    -------
    list of str or None
        Names of the gradients at the inputs.

    Raises
    ------
    ModelError
        If the operator has no rule, or is used in a way that the rule does not cover.
    """
    rule = RULES.get(node.op_type)
    if rule is None:
        raise ModelError(f"{described(node)}: no rule for its gradient; known operators are {', '.join(sorted(RULES))}")
    try:
        return rule(build, node, gradient, wanted)
    except ModelError as error:
        raise ModelError(f"{described(node)}: its gradient cannot be written: {error}") from None


def described(node: Any) -> str:
    """Return the operator and name of a node."""
    return f"node {node.name or node.output[0]!r} ({node.op_type})"


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node."""
    from onnx import helper

    return next((helper.get_attribute_value(found) for found in node.attribute if found.name == name), default)


def require(node: Any, **expected: Any) -> None:
    """Raise ModelError unless attributes have the expected values or are absent."""
    for name, value in expected.items():
        found = attribute(node, name, value)
        if found != value:
            raise ModelError(f"expected {name} {value!r}, found {found!r}")


def reshape_to(build: GraphBuilder, value: str, shape: Shape) -> str:
    """Reshape a value to a shape in which at most one size is not fixed."""
    if shape.count(None) > 1:
        raise ModelError(f"expected at most one size that is not fixed, found {shape}")
    return build.add("Reshape", value, build.integers(*(-1 if size is None else size for size in shape)))


def sum_to(build: GraphBuilder, value: str, found: Shape, shape: Shape) -> str:
    """Sum a value of shape `found` over the dimensions along which `shape` was broadcast to it."""
    if len(found) != len(shape):
        raise ModelError(f"expected operands with equally many dimensions, found {found} and {shape}")
    axes = [axis for axis, (large, small) in enumerate(zip(found, shape, strict=True)) if small == 1 and large != 1]
    return build.add("ReduceSum", value, build.integers(*axes), keepdims=1) if axes else value


def scatter(build: GraphBuilder, size: str, places: str, values: str, reduction: str) -> str:
    """Return a vector of `size` with `values` at `places` and zeros elsewhere; "add" sums values at the same place."""
    flat = [build.add("Reshape", each, build.integers(-1)) for each in (places, values)]
    return build.add("ScatterElements", build.add("ConstantOfShape", size), *flat, axis=0, reduction=reduction)


def _same(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    return [gradient]


def _reshape(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Restore the shape of the input."""
    return [reshape_to(build, gradient, build.shape(node.input[0]))]


def _transpose(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    axes = attribute(node, "perm") or list(range(len(build.shape(node.input[0]))))[::-1]
    return [build.add("Transpose", gradient, perm=np.argsort(axes).tolist())]


def _sums(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Add and Sub."""
    found = build.shape(node.output[0])
    signed = [gradient, build.add("Neg", gradient) if node.op_type == "Sub" and wanted[1] else gradient]
    return [
        sum_to(build, each, found, build.shape(name)) if needed else None
        for each, name, needed in zip(signed, node.input, wanted, strict=True)
    ]


def _product(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    found = build.shape(node.output[0])
    first, second = node.input
    return [
        sum_to(build, build.add("Mul", gradient, other), found, build.shape(own)) if needed else None
        for own, other, needed in ((first, second, wanted[0]), (second, first, wanted[1]))
    ]


def _quotient(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    if wanted[1]:
        raise ModelError("expected a divisor that does not depend on the face")
    scaled = build.add("Div", gradient, node.input[1])
    return [sum_to(build, scaled, build.shape(node.output[0]), build.shape(node.input[0])), None]


def _relu(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    is_active = build.add("Greater", node.output[0], build.constant(0.0))
    return [build.add("Mul", gradient, build.add("Cast", is_active, to=1))]


def _sigmoid(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Multiply by s (1 - s)."""
    (sigmoid,) = node.output
    slope = build.add("Mul", sigmoid, build.add("Sub", build.constant(1.0), sigmoid))
    return [build.add("Mul", gradient, slope)]


def _log_softmax(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Subtract the softmax times the sum of the gradient."""
    total = build.add("ReduceSum", gradient, build.integers(attribute(node, "axis", -1)), keepdims=1)
    return [build.add("Sub", gradient, build.add("Mul", build.add("Exp", node.output[0]), total))]


def _axes(build: GraphBuilder, node: Any) -> list[int]:
    """Return the axes of a reduction, all of them if none are named."""
    named = build.value(node.input[1]) if len(node.input) > 1 else None
    if named is None and len(node.input) > 1:
        raise ModelError("expected constant axes")
    dimensions = len(build.shape(node.input[0]))
    return list(range(dimensions)) if named is None else [int(axis) % dimensions for axis in named.ravel()]


def _kept(build: GraphBuilder, node: Any, value: str, axes: list[int]) -> str:
    """Give a reduced value its reduced dimensions back, with size 1."""
    return value if attribute(node, "keepdims", 1) else build.add("Unsqueeze", value, build.integers(*axes))


def _mean(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Spread the gradient evenly: ReduceMean and GlobalAveragePool."""
    dimensions = len(build.shape(node.input[0]))
    axes = list(range(2, dimensions)) if node.op_type == "GlobalAveragePool" else _axes(build, node)
    sizes = build.sizes(node.input[0], axes)
    share = np.full(1, 1 / math.prod(sizes))
    spread = np.broadcast_to(share, [sizes[axes.index(axis)] if axis in axes else 1 for axis in range(dimensions)])
    return [build.add("Mul", _kept(build, node, gradient, axes), build.constant(spread))]


def _log_sum_exp(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Multiply by the softmax along the reduced axes."""
    axes = _axes(build, node)
    kept = [_kept(build, node, value, axes) for value in (gradient, node.output[0])]
    return [build.add("Mul", kept[0], build.add("Exp", build.add("Sub", node.input[0], kept[1])))]


def _concat(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    axis = attribute(node, "axis")
    sizes = [size for name in node.input for size in build.sizes(name, [axis])]
    return list(build.add_many("Split", gradient, build.integers(*sizes), outputs=len(sizes), axis=axis))


def _slice(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Put zeros around the slice."""
    starts, ends, axes, steps = (build.value(name) for name in [*node.input[1:], ""][:4])
    shape = build.shape(node.input[0])
    axes = np.arange(len(shape)) if axes is None else axes % len(shape)
    if starts is None or ends is None or (steps is not None and (steps != 1).any()):
        raise ModelError("expected constant starts and ends, and steps of 1")
    before, after = [0] * len(shape), [0] * len(shape)
    for axis, start, end in zip(axes.tolist(), starts.tolist(), ends.tolist(), strict=True):
        (size,) = build.sizes(node.input[0], [axis])
        first, last, _ = slice(start, end).indices(size)
        before[axis], after[axis] = first, size - max(first, last)
    return [build.add("Pad", gradient, build.integers(*before, *after))]


def _gather(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Add the gradient at the gathered places of a vector."""
    values, places = node.input
    if len(build.shape(values)) != 1:
        raise ModelError(f"expected a vector, found {build.shape(values)}")
    return [scatter(build, build.add("Shape", values), places, gradient, reduction="add"), None]


def _dense(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Multiply by the transposed weights: Gemm and MatMul."""
    require(node, transA=0)
    if wanted[1] or any(wanted[2:]) or len(build.shape(node.input[1])) != 2:
        raise ModelError("expected weights, a matrix that does not depend on the face")
    transposed = 1 - attribute(node, "transB", 0)
    return [build.add("Gemm", gradient, node.input[1], alpha=attribute(node, "alpha", 1.0), transB=transposed)]


def _instance_normalization(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
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


def _average_pool(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
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


def _max_pool(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
    """Add the gradient of each window at its first maximum, whose place a second MaxPool returns."""
    from onnx import helper

    attributes = {found.name: helper.get_attribute_value(found) for found in node.attribute}
    require(node, storage_order=0)
    _, places = build.add_many("MaxPool", node.input[0], outputs=2, **attributes)
    overlaps = list(attributes["kernel_shape"]) > list(attributes.get("strides", [1, 1]))
    size = build.add("ReduceProd", build.add("Shape", node.input[0]), keepdims=1)
    scattered = scatter(build, size, places, gradient, reduction="add" if overlaps else "none")
    return [reshape_to(build, scattered, build.shape(node.input[0]))]


def _convolution(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
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
    if set(strides) == {1} and group == 1 and not any(rest):
        pads = [
            dilation * (size - 1) - pad for pad, dilation, size in zip(pads, dilations * 2, kernel * 2, strict=True)
        ]
        flipped = _flipped(build, weights)
        return build.add("Conv", gradient, flipped, kernel_shape=kernel, dilations=dilations, pads=pads)
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


def _batch_normalization(build: GraphBuilder, node: Any, gradient: str, wanted: list[bool]) -> Gradients:
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


Rule = Callable[[GraphBuilder, Any, str, list[bool]], Gradients]

RULES: Final[dict[str, Rule]] = {
    "Add": _sums,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _same,
    "Concat": _concat,
    "Conv": _convolution,
    "Div": _quotient,
    "Flatten": _reshape,
    "Gather": _gather,
    "Gemm": _dense,
    "GlobalAveragePool": _mean,
    "Identity": _same,
    "InstanceNormalization": _instance_normalization,
    "LogSoftmax": _log_softmax,
    "MatMul": _dense,
    "MaxPool": _max_pool,
    "Mul": _product,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "Squeeze": _reshape,
    "Sub": _sums,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
"""Rule of each operator."""

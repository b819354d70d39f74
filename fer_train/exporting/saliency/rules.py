"""Derivatives of ONNX operators: for each, the nodes that carry a gradient from its output to its inputs.

All rules are vector-Jacobian products of the operators as ONNX defines them (opset 20). Where an operator is not
differentiable, the rule chooses as PyTorch does: the derivative of Relu at 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from fer_core import ModelError
from fer_train.exporting.saliency.builder import GraphBuilder
from fer_train.exporting.saliency.image_rules import (
    Gradients,
    average_pool,
    batch_normalization,
    convolution,
    instance_normalization,
    max_pool,
)
from fer_train.exporting.saliency.nodes import attribute, described, require, reshape_to, scatter, sum_to


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


Rule = Callable[[GraphBuilder, Any, str, list[bool]], Gradients]

RULES: Final[dict[str, Rule]] = {
    "Add": _sums,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": _same,
    "Concat": _concat,
    "Conv": convolution,
    "Div": _quotient,
    "Flatten": _reshape,
    "Gather": _gather,
    "Gemm": _dense,
    "GlobalAveragePool": _mean,
    "Identity": _same,
    "InstanceNormalization": instance_normalization,
    "LogSoftmax": _log_softmax,
    "MatMul": _dense,
    "MaxPool": max_pool,
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

"""Attributes of ONNX nodes, and nodes that several rules add."""

from __future__ import annotations

from typing import Any

from fer_core import ModelError
from fer_train.exporting.saliency.builder import GraphBuilder, Shape


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

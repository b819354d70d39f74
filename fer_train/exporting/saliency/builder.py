"""An ONNX graph to which nodes are added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_core import ModelError

Shape = tuple[int | None, ...]
"""Sizes of the dimensions of a value; None for a size that is not fixed, such as the batch."""

PREFIX: Final = "saliency/"
"""Start of the names of all added values, which no value of an exported graph has."""


class GraphBuilder:
    """An ONNX graph that grows by nodes; its own nodes and values stay as they are.

    Parameters
    ----------
    model : onnx.ModelProto
        Model with nodes in topological order; it is extended in place.

    Attributes
    ----------
    graph : onnx.GraphProto
        The graph of `model`.
    nodes : list of onnx.NodeProto
        Nodes of the graph before anything was added.
    """

    def __init__(self, model: Any) -> None:
        from onnx import shape_inference

        self.graph = model.graph
        self.nodes = list(model.graph.node)
        self._shapes = dict(_shapes(shape_inference.infer_shapes(model).graph))
        self._values = dict(_values(model.graph))
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._number = 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output, and return the name of the output."""
        return self.add_many(operator, *inputs, outputs=1, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Append a node with several outputs, and return their names."""
        from onnx import helper

        names = [self._name(operator) for _ in range(outputs)]
        self.graph.node.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names

    def constant(self, value: ArrayLike, dtype: Any = np.float32) -> str:
        """Return the name of an initializer with this value; equal constants share one."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._name("constant")
            self.graph.initializer.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Return the name of an initializer with int64 values, shape (len(values),)."""
        return self.constant(values, np.int64)

    def shape(self, value: str) -> Shape:
        """Return the shape of a value of the original graph; raise ModelError if shape inference did not find it."""
        if value not in self._shapes:
            raise ModelError(f"the shape of {value!r} is unknown")
        return self._shapes[value]

    def sizes(self, value: str, axes: Sequence[int]) -> list[int]:
        """Return sizes of a value of the original graph; raise ModelError if one is not fixed."""
        shape = self.shape(value)
        found = [size for size in (shape[axis] for axis in axes) if size is not None]
        if len(found) != len(axes):
            raise ModelError(f"expected fixed sizes of {value!r}, found {shape}")
        return found

    def value(self, name: str) -> NDArray[Any] | None:
        """Return the value of an initializer or constant of the original graph; None if it is computed."""
        return self._values.get(name)

    def _name(self, kind: str) -> str:
        self._number += 1
        return f"{PREFIX}{kind}_{self._number}"


def _shapes(graph: Any) -> Iterator[tuple[str, Shape]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            yield value.name, tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)


def _values(graph: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    from onnx import helper, numpy_helper

    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant":
            found = helper.get_attribute_value(node.attribute[0])
            yield (
                node.output[0],
                numpy_helper.to_array(found) if node.attribute[0].name == "value" else np.asarray(found),
            )

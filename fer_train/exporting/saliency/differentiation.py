"""Reverse-mode differentiation of an ONNX graph (Griewank and Walther 2008, section 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from fer_core import ModelError
from fer_train.exporting.saliency.builder import GraphBuilder
from fer_train.exporting.saliency.image_rules import convolution_gradient, normalization_factor
from fer_train.exporting.saliency.rules import differentiate_node


def differentiate(build: GraphBuilder, output: str, seed: str, source: str, at: Collection[str]) -> dict[str, str]:
    """Add the nodes that compute gradients of an output, node by node backwards.

    Parameters
    ----------
    build : GraphBuilder
        Graph to extend.
    output : str
        Value to differentiate.
    seed : str
        Weights of its elements, of the same shape; the derivative is that of their weighted sum.
    source : str
        Value that the gradients lead to; only paths from it are differentiated.
    at : collection of str
        Values at which to return the gradient; each lies on a path from `source` to `output`.

    Returns
    -------
    dict of str to str
        Name of the gradient at each value of `at`, of the shape of the value.

    Raises
    ------
    ModelError
        If `output` does not depend on a value, or an operator between them has no rule.
    """
    reached = {source}
    for node in build.nodes:
        if reached.intersection(node.input):
            reached.update(node.output)
    convolutions = _followed_by_normalization(build.nodes, at)
    gradients = {output: seed}
    for node in reversed(build.nodes):
        gradient = gradients.get(node.output[0])
        if gradient is None or node.output[0] == source or not reached.intersection(node.input):
            continue
        if node.output[0] in convolutions:
            convolution = convolutions[node.output[0]]
            found = [(convolution.input[0], _folded(build, node, convolution, gradient))]
        else:
            parts = differentiate_node(build, node, gradient, [name in reached for name in node.input])
            found = [(name, each) for name, each in zip(node.input, parts, strict=False) if each is not None]
        for name, each in found:
            gradients[name] = build.add("Add", gradients[name], each) if name in gradients else each
    if missing := [name for name in at if name not in gradients]:
        raise ModelError(f"expected {output!r} to depend on {missing[0]!r}; no gradient reaches it")
    return {name: gradients[name] for name in at}


def _followed_by_normalization(nodes: Sequence[Any], at: Collection[str]) -> dict[str, Any]:
    """Return the convolutions that only a BatchNormalization reads, by its output."""
    uses = Counter(name for node in nodes for name in node.input)
    convolutions = {node.output[0]: node for node in nodes if node.op_type == "Conv"}
    return {
        node.output[0]: convolutions[node.input[0]]
        for node in nodes
        if node.op_type == "BatchNormalization"
        and node.input[0] in convolutions
        and uses[node.input[0]] == 1
        and node.input[0] not in at
    }


def _folded(build: GraphBuilder, normalization: Any, convolution: Any, gradient: str) -> str:
    """Return the gradient at the input of a convolution with BatchNorm, whose factors enter its weights."""
    factor = build.add("Reshape", normalization_factor(build, normalization), build.integers(-1, 1, 1, 1))
    return convolution_gradient(build, convolution, gradient, build.add("Mul", convolution.input[1], factor))

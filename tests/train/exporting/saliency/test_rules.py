"""Each rule is compared with PyTorch's gradient of the same operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from fer_core import ModelError
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_train.exporting.saliency.builder import GraphBuilder
from fer_train.exporting.saliency.differentiation import differentiate

RNG = np.random.default_rng(0)
WEIGHTS = {
    "conv": RNG.normal(size=(6, 4, 3, 3)),
    "grouped": RNG.normal(size=(6, 2, 3, 2)),
    "matrix": RNG.normal(size=(5, 8)),
    "scale": RNG.uniform(0.5, 2, 4),
    "shift": RNG.normal(size=4),
    "mean": RNG.normal(size=4),
    "variance": RNG.uniform(0.5, 2, 4),
    "row": RNG.uniform(0.5, 2, (1, 4, 1, 7)),
}


def weight(name: str) -> Tensor:
    return torch.from_numpy(WEIGHTS[name].astype(np.float32))


def gradient_by_graph(
    nodes: list[Any], x: NDArray[np.float32], seed: NDArray[np.float32], integers: dict[str, list[int]]
) -> NDArray[np.float32]:
    """Return the gradient of sum(seed * y) at x, where `nodes` compute y from x."""
    batch = [None, *x.shape[1:]]
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in WEIGHTS.items()]
    initializers += [numpy_helper.from_array(np.array(values), name) for name, values in integers.items()]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, batch)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * seed.ndim)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    build = GraphBuilder(model)
    found = differentiate(build, "y", "seed", "x", ["x"])["x"]
    model.graph.input.append(helper.make_tensor_value_info("seed", TensorProto.FLOAT, [None, *seed.shape[1:]]))
    model.graph.output.append(helper.make_tensor_value_info(found, TensorProto.FLOAT, [None, *x.shape[1:]]))
    onnx.checker.check_model(model)
    session = load_runtime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run([found], {"x": x, "seed": seed})[0]
    return result


def node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), [output], **attributes)


def gathered(x: Tensor) -> Tensor:
    return x.flatten()[torch.tensor([[5, 0], [5, 3]])]


CASES: dict[str, tuple[list[Any], Callable[[Tensor], Tensor], tuple[int, ...], dict[str, list[int]]]] = {
    "Add, both": ([node("Add", "x", "x")], lambda x: x + x, (2, 4, 6, 7), {}),
    "Add, broadcast": ([node("Add", "x", "row")], lambda x: x + weight("row"), (2, 4, 6, 1), {}),
    "Sub": ([node("Sub", "row", "x")], lambda x: weight("row") - x, (2, 4, 6, 7), {}),
    "Mul, broadcast": ([node("Mul", "x", "row")], lambda x: x * weight("row"), (2, 1, 6, 7), {}),
    "Mul, square": ([node("Mul", "x", "x")], lambda x: x * x, (2, 4, 6, 7), {}),
    "Div": ([node("Div", "x", "row")], lambda x: x / weight("row"), (2, 4, 6, 7), {}),
    "Relu": ([node("Relu", "x")], torch.relu, (2, 4, 6, 7), {}),
    "Sigmoid": ([node("Sigmoid", "x")], torch.sigmoid, (2, 4, 6, 7), {}),
    "LogSoftmax": ([node("LogSoftmax", "x", axis=1)], lambda x: functional.log_softmax(x, 1), (3, 5), {}),
    "ReduceMean": (
        [node("ReduceMean", "x", "axes", keepdims=0)],
        lambda x: x.mean((1, 3)),
        (2, 4, 6, 7),
        {"axes": [1, -1]},
    ),
    "GlobalAveragePool": (
        [node("GlobalAveragePool", "x")],
        lambda x: x.mean((2, 3), keepdim=True),
        (2, 4, 6, 7),
        {},
    ),
    "ReduceLogSumExp": (
        [node("ReduceLogSumExp", "x", "axes", keepdims=0)],
        lambda x: torch.logsumexp(x, 1),
        (3, 5, 2),
        {"axes": [1]},
    ),
    "Concat": (
        [node("Relu", "x", output="r"), node("Concat", "x", "r", axis=1)],
        lambda x: torch.cat([x, x.relu()], 1),
        (2, 4, 6, 7),
        {},
    ),
    "Slice": (
        [node("Slice", "x", "starts", "ends", "axes")],
        lambda x: x[:, 1:-1, :, 3:],
        (2, 4, 6, 7),
        {"starts": [1, 3], "ends": [-1, 2**31], "axes": [1, -1]},
    ),
    "Gather": (
        [node("Reshape", "x", "flat", output="f"), node("Gather", "f", "places", axis=0)],
        gathered,
        (2, 4),
        {"flat": [-1], "places": [[5, 0], [5, 3]]},  # type: ignore[list-item]
    ),
    "Transpose": ([node("Transpose", "x", perm=[0, 3, 1, 2])], lambda x: x.permute(0, 3, 1, 2), (2, 4, 6, 7), {}),
    "Flatten": ([node("Flatten", "x")], lambda x: x.flatten(1), (2, 4, 2), {}),
    "Squeeze": ([node("Squeeze", "x", "axes")], lambda x: x.squeeze(1), (2, 1, 6), {"axes": [1]}),
    "Gemm": ([node("Gemm", "x", "matrix", transB=1, alpha=0.5)], lambda x: x @ weight("matrix").T / 2, (3, 8), {}),
    "MatMul": ([node("MatMul", "x", "matrix")], lambda x: x @ weight("matrix"), (3, 5), {}),
    "Conv": (
        [node("Conv", "x", "conv", pads=[1, 0, 2, 1])],
        lambda x: functional.conv2d(functional.pad(x, (0, 1, 1, 2)), weight("conv")),
        (2, 4, 9, 8),
        {},
    ),
    "Conv, strided, with a rest": (
        [node("Conv", "x", "conv", pads=[1, 1, 1, 1], strides=[2, 3])],
        lambda x: functional.conv2d(x, weight("conv"), stride=(2, 3), padding=1),
        (2, 4, 10, 9),
        {},
    ),
    "Conv, padded by more than its kernel": (
        [node("Conv", "x", "conv", pads=[3, 3, 3, 3])],
        lambda x: functional.conv2d(x, weight("conv"), padding=3),
        (2, 4, 5, 4),
        {},
    ),
    "Conv, dilated": (
        [node("Conv", "x", "conv", dilations=[2, 1])],
        lambda x: functional.conv2d(x, weight("conv"), dilation=(2, 1)),
        (2, 4, 9, 8),
        {},
    ),
    "Conv, in groups": (
        [node("Conv", "x", "grouped", group=2)],
        lambda x: functional.conv2d(x, weight("grouped"), groups=2),
        (2, 4, 9, 8),
        {},
    ),
    "BatchNormalization": (
        [node("BatchNormalization", "x", "scale", "shift", "mean", "variance", epsilon=1e-3)],
        lambda x: functional.batch_norm(
            x, weight("mean"), weight("variance"), weight("scale"), weight("shift"), eps=1e-3
        ),
        (2, 4, 6, 7),
        {},
    ),
    "BatchNormalization of a Conv": (
        [
            node("Relu", "x", output="r"),
            node("Conv", "r", "square", output="c"),
            node("BatchNormalization", "c", "scale", "shift", "mean", "variance"),
        ],
        lambda x: functional.batch_norm(
            functional.conv2d(x.relu(), weight("conv")[:4]),
            weight("mean"),
            weight("variance"),
            weight("scale"),
            weight("shift"),
        ),
        (2, 4, 6, 7),
        {},
    ),
    "BatchNormalization of a Conv that is also used elsewhere": (
        [
            node("Conv", "x", "square", output="c"),
            node("BatchNormalization", "c", "scale", "shift", "mean", "variance", output="n"),
            node("Mul", "c", "n"),
        ],
        lambda x: (
            functional.conv2d(x, weight("conv")[:4])
            * functional.batch_norm(
                functional.conv2d(x, weight("conv")[:4]),
                weight("mean"),
                weight("variance"),
                weight("scale"),
                weight("shift"),
            )
        ),
        (2, 4, 6, 7),
        {},
    ),
    "InstanceNormalization": (
        [node("InstanceNormalization", "x", "scale", "shift", epsilon=0.1)],
        lambda x: functional.instance_norm(x, weight=weight("scale"), bias=weight("shift"), eps=0.1),
        (2, 4, 6, 7),
        {},
    ),
    "AveragePool": (
        [node("AveragePool", "x", kernel_shape=[2, 3], strides=[2, 3])],
        lambda x: functional.avg_pool2d(x, (2, 3)),
        (2, 4, 6, 9),
        {},
    ),
    "MaxPool": (
        [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])],
        lambda x: functional.max_pool2d(x, 2),
        (2, 4, 7, 6),
        {},
    ),
    "MaxPool, overlapping in one direction": (
        [node("MaxPool", "x", kernel_shape=[2, 3], strides=[3, 2])],
        lambda x: functional.max_pool2d(x, (2, 3), (3, 2)),
        (2, 4, 8, 7),
        {},
    ),
    "MaxPool, overlapping and padded": (
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1])],
        lambda x: functional.max_pool2d(x, 3, (1, 2), 1),
        (2, 4, 7, 6),
        {},
    ),
}
WEIGHTS["square"] = WEIGHTS["conv"][:4]


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_equals_pytorchs(case: str) -> None:
    nodes, function, shape, integers = CASES[case]
    x = torch.from_numpy(RNG.normal(size=shape).astype(np.float32)).requires_grad_()
    y = function(x)
    seed = torch.from_numpy(RNG.normal(size=y.shape).astype(np.float32))
    (expected,) = torch.autograd.grad((y * seed).sum(), x)
    found = gradient_by_graph(nodes, x.detach().numpy(), seed.numpy(), integers)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_first_of_equal_maxima_gets_the_gradient_and_a_relu_at_zero_passes_none() -> None:
    pool = [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])]
    equal = np.array([[5, 5, 1, 2], [5, 5, 2, 1]], np.float32).reshape(1, 1, 2, 4)
    found = gradient_by_graph(pool, equal, np.array([[[[3, 4]]]], np.float32), {})
    np.testing.assert_array_equal(found[0, 0], [[3, 0, 0, 4], [0, 0, 0, 0]])
    found = gradient_by_graph([node("Relu", "x")], np.array([[-1, 0, 1]], np.float32), np.ones((1, 3), np.float32), {})
    np.testing.assert_array_equal(found, [[0, 0, 1]])


@pytest.mark.parametrize(
    ("nodes", "shape", "message"),
    [
        (
            [node("Softplus", "x")],
            (2, 3),
            r"^node 'y' \(Softplus\): no rule for its gradient; known operators are Add, ",
        ),
        ([node("Div", "row", "x")], (2, 4, 6, 7), r"^node 'y' \(Div\): .* expected a divisor that does not depend"),
        (
            [node("AveragePool", "x", kernel_shape=[2, 2], strides=[1, 1])],
            (2, 4, 6, 6),
            r"^node 'y' \(AveragePool\): .* expected strides \[2, 2\], found \[1, 1\]$",
        ),
        (
            [node("AveragePool", "x", kernel_shape=[4, 4], strides=[4, 4])],
            (2, 4, 6, 6),
            r"^node 'y' \(AveragePool\): .* expected windows of \[4, 4\] that tile the input, found \(None, 4, 6, 6\)$",
        ),
        (
            [node("Conv", "x", "conv", auto_pad="SAME_UPPER")],
            (2, 4, 6, 6),
            r"^node 'y' \(Conv\): its gradient cannot be written: expected auto_pad b'NOTSET', found b'SAME_UPPER'$",
        ),
        ([node("MatMul", "x", "x")], (3, 3), r"^node 'y' \(MatMul\): .* a matrix that does not depend on the face$"),
    ],
)
def test_an_operator_without_a_rule_is_named(nodes: list[Any], shape: tuple[int, ...], message: str) -> None:
    x = np.zeros(shape, np.float32)
    with pytest.raises(ModelError, match=message):
        gradient_by_graph(nodes, x, x, {})


def test_a_value_that_the_output_does_not_depend_on_is_named() -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ModelError, match=r"^expected 'y' to depend on 'x'; no gradient reaches it$"):
        gradient_by_graph([node("Identity", "row")], x, x, {})

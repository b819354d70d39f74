"""Write `saliency.onnx`: a model's graph, its gradient at the pixels, and Grad-CAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from fer_core import IMAGE_SIZE, ModelError
from fer_train.exporting.saliency.builder import PREFIX, GraphBuilder
from fer_train.exporting.saliency.differentiation import differentiate

PREDICTED: Final = -1
"""Target that stands for the predicted class."""


def write_saliency_graph(graph: Path, path: Path) -> None:
    """Extend an exported graph by its gradient at the pixels and by Grad-CAM, and check it with the ONNX checker.

    The graph takes `faces`, uint8 (batch, 48, 48), and `target`, int64 (batch), the class to explain or -1 for the
    predicted one. As well as `logits` and `probabilities`, it returns `saliency`, float32 (batch, 48, 48), the signed
    gradient of the target's logit with respect to the pixels (Simonyan et al. 2014, section 3); and, if there is a
    convolution, `grad_cam`, float32 (batch, 48, 48), of the last one (Selvaraju et al. 2017, equations 1 and 2). The
    optional input `offset`, float32 (batch or 1, 48, 48), is added to the pixels.

    Parameters
    ----------
    graph : Path
        `model.onnx` of an export; its nodes, weights and model card are part of the new graph as they are.
    path : Path
        File to write.

    Raises
    ------
    ModelError
        If the graph contains an operator whose gradient is not known; the message names the node.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(graph)
    build = GraphBuilder(model)
    pixels = _pixels(build, graph)
    cam = _cam_value(build)
    try:
        gradients = differentiate(build, "logits", _seed(build), pixels, [pixels, *([] if cam is None else [cam])])
    except ModelError as error:
        raise ModelError(f"{graph.name}: {error}") from None
    outputs = {"saliency": gradients[pixels]}
    if cam is not None:
        outputs["grad_cam"] = _grad_cam(build, cam, gradients[cam])
    side = [IMAGE_SIZE, IMAGE_SIZE]
    for name, value in outputs.items():
        shape = build.integers(-1, *side)
        model.graph.node.append(helper.make_node("Reshape", [value, shape], [name], name=PREFIX + name))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *side]))
    model.graph.input.append(helper.make_tensor_value_info("target", TensorProto.INT64, ["batch"]))
    _add_offset(model.graph, pixels)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _pixels(build: GraphBuilder, graph: Path) -> str:
    """Return the value that holds the pixels as float32."""
    size = (IMAGE_SIZE, IMAGE_SIZE)
    casts = [node for node in build.nodes if node.op_type == "Cast" and build.shape(node.output[0])[2:] == size]
    if not casts:
        raise ModelError(f"{graph.name}: expected a Cast of the faces to float32, found none")
    return str(casts[0].output[0])


def _seed(build: GraphBuilder) -> str:
    """Return the one-hot vectors of the targets, float32 (batch, classes)."""
    classes = build.shape("logits")[1]
    predicted = build.add("ArgMax", "logits", axis=1, keepdims=1)
    target = build.add("Unsqueeze", "target", build.integers(1))
    is_predicted = build.add("Equal", target, build.integers(PREDICTED))
    chosen = build.add("Where", is_predicted, predicted, target)
    return build.add("Cast", build.add("Equal", chosen, build.integers(*range(classes or 0))), to=1)


def _cam_value(build: GraphBuilder) -> str | None:
    """Return the value whose channels Grad-CAM weights, as `fer_explain` chooses it.

    That is the activation after the last convolution with spatial outputs, or its output if none follows.
    """

    def is_spatial(node: Any) -> bool:
        shape = build.shape(node.output[0])
        return len(shape) == 4 and shape[2] != 1

    convolutions = [number for number, node in enumerate(build.nodes) if node.op_type == "Conv" and is_spatial(node)]
    if not convolutions:
        return None
    last = convolutions[-1]
    after = [node for node in build.nodes[last:] if node.op_type == "Relu" and is_spatial(node)]
    return str((after or build.nodes[last : last + 1])[0].output[0])


def _grad_cam(build: GraphBuilder, activations: str, gradients: str) -> str:
    """Return Grad-CAM, float32 (batch, 1, 48, 48)."""
    weights = build.add("ReduceMean", gradients, build.integers(2, 3), keepdims=1)
    weighted = build.add("Mul", activations, weights)
    maps = build.add("Relu", build.add("ReduceSum", weighted, build.integers(1), keepdims=1))
    height, width = build.shape(activations)[2:]
    scales = build.constant([1, 1, IMAGE_SIZE / (height or 1), IMAGE_SIZE / (width or 1)])
    return build.add("Resize", maps, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")


def _add_offset(graph: Any, pixels: str) -> None:
    """Add the optional input `offset` to the pixels, which all their consumers then read."""
    from onnx import TensorProto, helper, numpy_helper

    place = next(number for number, node in enumerate(graph.node) if pixels in node.output)
    shifted = f"{PREFIX}pixels"
    for node in graph.node[place + 1 :]:
        for number, name in enumerate(node.input):
            if name == pixels:
                node.input[number] = shifted
    channel = helper.make_node("Unsqueeze", ["offset", f"{PREFIX}channel"], [f"{PREFIX}offset"])
    graph.node.insert(place + 1, helper.make_node("Add", [pixels, f"{PREFIX}offset"], [shifted], name=shifted))
    graph.node.insert(place + 1, channel)
    graph.initializer.append(numpy_helper.from_array(np.array([1]), f"{PREFIX}channel"))
    graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "offset"))
    graph.input.append(helper.make_tensor_value_info("offset", TensorProto.FLOAT, ["offsets", "height", "width"]))

"""`saliency.onnx` of every architecture, compared with PyTorch's gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tiny_models import CNN, DNN, assert_same_maps, enliven, make_card, make_network
from torch import nn

from fer_core import Faces, ModelError
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_train.exporting.graph import write_graph
from fer_train.exporting.saliency.graph import write_saliency_graph
from fer_train.models import ARCHITECTURES

RESIDUAL = {"widths": [6, 8, 8], "blocks": [1, 2, 1], "squeeze": 2}
PLAIN = {"widths": [[4], [4, 6]]}
MEMBERS = [
    {"architecture": "course-cnn", "arguments": CNN, "temperature": 1.5},
    {"architecture": "residual", "arguments": RESIDUAL, "temperature": 0.8},
    {"architecture": "course-dnn", "arguments": DNN, "temperature": 1.0},
]
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "course-cnn": ("course-cnn", CNN),
    "course-cnn with BatchNorm, each face standardized": (
        "course-cnn",
        {**CNN, "batch_norm": True, "standardize": "face"},
    ),
    "course-dnn": ("course-dnn", DNN),
    "course-dnn, each face standardized": ("course-dnn", {**DNN, "standardize": "face"}),
    "residual": ("residual", RESIDUAL),
    "residual-small": ("residual-small", {"widths": [6, 8], "blocks": [1, 1]}),
    "compact": ("compact", PLAIN),
    "compact, with a mean that the exporter writes by Gather": ("compact", {"widths": [[8], [8, 16], [32]]}),
    "compact from space to depth": ("compact", {**PLAIN, "space_to_depth": True}),
    "ensemble": ("ensemble", {"members": MEMBERS}),
}


def export(network: nn.Module, architecture: str, arguments: dict[str, Any], folder: Path) -> Path:
    write_graph(network, make_card(network, architecture, arguments), folder / "model.onnx")
    write_saliency_graph(folder / "model.onnx", folder / "saliency.onnx")
    return folder / "saliency.onnx"


def run(path: Path, images: NDArray[np.uint8], targets: Any, **inputs: NDArray[np.float32]) -> dict[str, Any]:
    session = load_runtime().InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = {"faces": images, "target": np.asarray(targets, np.int64), **inputs}
    return dict(zip(names, session.run(None, feeds), strict=True))


def gradient(network: nn.Module, images: NDArray[Any], targets: list[int]) -> NDArray[np.float32]:
    pixels = torch.from_numpy(images).float()[:, None].requires_grad_()
    logits = network(pixels)
    found: NDArray[np.float32] = torch.autograd.grad(logits[range(len(targets)), targets].sum(), pixels)[0][
        :, 0
    ].numpy()
    return found


def test_every_architecture_is_tried() -> None:
    assert {architecture for architecture, _ in NETWORKS.values()} == {*ARCHITECTURES, "ensemble"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_saliency_of_every_architecture_equals_pytorchs(name: str, tmp_path: Path, drawn: Faces) -> None:
    architecture, arguments = NETWORKS[name]
    network = enliven(make_network(architecture, arguments))
    path = export(network, architecture, arguments, tmp_path)
    images = drawn.images[:5]
    logits = network(torch.from_numpy(images).float()[:, None]).detach().numpy()
    predicted = run(path, images, [-1] * 5)
    np.testing.assert_allclose(predicted["logits"], logits, atol=1e-4)
    assert_same_maps(predicted["saliency"], gradient(network, images, logits.argmax(1).tolist()))
    chosen = run(path, images, [0, 6, 3, 3, 1])
    assert_same_maps(chosen["saliency"], gradient(network, images, [0, 6, 3, 3, 1]))
    one = run(path, images[3:4], [3])
    assert_same_maps(one["saliency"], chosen["saliency"][3:4])


def test_a_network_with_eight_classes_is_explained(tmp_path: Path, drawn: Faces) -> None:
    network = enliven(make_network("compact", PLAIN))
    network.classifier[-1] = nn.Linear(6, 8)  # type: ignore[index,union-attr]
    path = export(network, "compact", PLAIN, tmp_path)
    found = run(path, drawn.images[:2], [7, -1])
    assert found["logits"].shape == (2, 8)
    assert_same_maps(found["saliency"][:1], gradient(network, drawn.images[:1], [7]))


def test_the_graph_contains_the_scored_graph_and_its_card_as_they_are(tmp_path: Path) -> None:
    network = make_network("residual", RESIDUAL)
    path = export(network, "residual", RESIDUAL, tmp_path)
    scored, explained = onnx.load(tmp_path / "model.onnx"), onnx.load(path)
    added = {"saliency/channel", "saliency/offset"}
    nodes = [node for node in explained.graph.node if not node.output[0].startswith("saliency/")]
    cast = next(node.output[0] for node in scored.graph.node if node.op_type == "Cast")
    for node in scored.graph.node:  # which read the pixels after the offset was added
        node.input[:] = ["saliency/pixels" if name == cast else name for name in node.input]
    assert nodes[: len(scored.graph.node)] == list(scored.graph.node)
    weights = [tensor for tensor in explained.graph.initializer if not tensor.name.startswith("saliency/")]
    assert [tensor for tensor in weights if tensor.name != "offset"] == list(scored.graph.initializer)
    assert added <= {name for node in explained.graph.node for name in (*node.input, *node.output)}
    assert list(explained.metadata_props) == list(scored.metadata_props)
    assert [(one.domain, one.version) for one in explained.opset_import] == [("", 20)]


def test_an_offset_moves_the_pixels_and_is_zero_by_default(tmp_path: Path, drawn: Faces) -> None:
    network = enliven(make_network("course-cnn", CNN))
    path = export(network, "course-cnn", CNN, tmp_path)
    images, offsets = drawn.images[:2], np.random.default_rng(0).normal(0, 40, (2, 48, 48)).astype(np.float32)
    moved = run(path, images, [2, 2], offset=offsets)
    assert_same_maps(moved["saliency"], gradient(network, images + offsets, [2, 2]))
    assert np.abs(moved["logits"] - run(path, images, [2, 2])["logits"]).max() > 1e-3


def test_grad_cam_is_absent_without_a_convolution(tmp_path: Path) -> None:
    path = export(make_network("course-dnn", DNN), "course-dnn", DNN, tmp_path)
    assert [output.name for output in onnx.load(path).graph.output] == ["logits", "probabilities", "saliency"]


def test_a_graph_with_an_unknown_operator_is_refused_by_name(tmp_path: Path) -> None:
    class Unknown(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return torch.erf(values)

    network = make_network("course-dnn", DNN)
    network.classifier[2] = Unknown()  # type: ignore[index,operator]
    with pytest.raises(ModelError, match=r"^model\.onnx: node '.*' \(Erf\): no rule for its gradient"):
        export(network, "course-dnn", DNN, tmp_path)
    assert not (tmp_path / "saliency.onnx").exists()

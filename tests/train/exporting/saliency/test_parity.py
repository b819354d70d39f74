from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper
from tiny_models import CNN, DNN, enliven, make_card, make_network
from torch import nn

from fer_core import ConfigError, Faces, ModelError
from fer_core.io.csv.writer import write_csv
from fer_infer.attribution.maps import attributions_of
from fer_infer.saliency import SaliencyModel
from fer_train.cli import main
from fer_train.exporting.export import export
from fer_train.exporting.graph import write_graph
from fer_train.exporting.saliency import parity as parity_module
from fer_train.exporting.saliency.graph import write_saliency_graph
from fer_train.exporting.saliency.network import Choices, maps_of
from fer_train.exporting.saliency.parity import check_saliency


def exported(network: nn.Module, folder: Path, architecture: str = "course-cnn") -> Path:
    arguments = CNN if architecture == "course-cnn" else DNN
    card = make_card(network, architecture, arguments)  # type: ignore[arg-type]
    write_graph(network, card, folder / "model.onnx")
    card.save_json(folder / "card.json")
    write_saliency_graph(folder / "model.onnx", folder / "saliency.onnx")
    return folder / "saliency.onnx"


@pytest.fixture
def network() -> nn.Module:
    return enliven(make_network("course-cnn", CNN))


def test_the_parity_says_what_was_compared(network: nn.Module, tmp_path: Path, drawn: Faces) -> None:
    found = check_saliency(network, exported(network, tmp_path), drawn.take(slice(10)), atol=1e-4)
    assert (found.n, found.providers, found.batch_sizes, found.reference_n) == (
        10,
        ["CPUExecutionProvider"],
        [1, 2, 7, 128],
        4,
    )
    assert 0 < found.median_relative_difference <= found.max_relative_difference <= 1e-5
    assert found.grad_cam_max_relative_difference is not None
    assert found.grad_cam_max_relative_difference <= 1e-5
    assert json.loads(json.dumps(found.record()))["rtol"] == 1e-5
    assert found.to_text().startswith("saliency on 10 faces, CPUExecutionProvider: relative difference median ")


def test_a_network_without_convolutions_has_no_grad_cam(tmp_path: Path, drawn: Faces) -> None:
    network = enliven(make_network("course-dnn", DNN))
    found = check_saliency(network, exported(network, tmp_path, "course-dnn"), drawn.take(slice(3)), atol=1e-4)
    assert found.grad_cam_max_relative_difference is None


def test_a_graph_whose_gradient_is_wrong_is_refused(network: nn.Module, tmp_path: Path, drawn: Faces) -> None:
    path = exported(network, tmp_path)
    graph = onnx.load(path)
    (node,) = (node for node in graph.graph.node if node.op_type == "Greater" and node.input[0] == "relu_6")
    node.input[0] = "relu_5"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(
        ModelError, match=r"^saliency\.onnx: a map of row \d+ differs .* and no kink explains it: it differs by "
    ):
        check_saliency(network, path, drawn.take(slice(4)), atol=1e-4)


def test_a_graph_with_other_weights_is_refused(network: nn.Module, tmp_path: Path, drawn: Faces) -> None:
    path = exported(network, tmp_path)
    graph = onnx.load(path)
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("classifier.7.bias"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, tensor.name))
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match=r"^saliency\.onnx: differs from the PyTorch network: max \|d logit\| 1"):
        check_saliency(network, path, drawn.take(slice(4)), atol=1e-4)


def test_maps_that_are_not_finite_are_refused(network: nn.Module, tmp_path: Path, drawn: Faces) -> None:
    path = exported(network, tmp_path)
    graph = onnx.load(path)
    (last,) = (node for node in graph.graph.node if node.output[0] == "saliency")
    nothing = onnx.helper.make_node("Log", ["saliency/minus_one"], ["saliency/nan"])
    graph.graph.initializer.append(numpy_helper.from_array(np.array(-1, np.float32), "saliency/minus_one"))
    spoiled = onnx.helper.make_node("Add", [last.input[0], "saliency/nan"], ["saliency/spoiled"])
    last.input[0] = "saliency/spoiled"
    place = list(graph.graph.node).index(last)
    graph.graph.node.insert(place, spoiled)
    graph.graph.node.insert(place, nothing)
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match=r"^saliency\.onnx: a map of row \d+ differs .* by nan of its scale"):
        check_saliency(network, path, drawn.take(slice(2)), atol=1e-4)
    with (
        SaliencyModel(tmp_path, device="cpu") as model,
        pytest.raises(ModelError, match=r"saliency\.onnx: attributions contain NaN or Inf; check the model's weights$"),
    ):
        attributions_of(model, drawn.images[:2])


class Kinked(nn.Module):
    """A network with one unit exactly at the kink of its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.flatten(1)[:, :2]
        return self.relu(pixels * torch.tensor([1.0, 0.0])) @ torch.eye(2, 7)


def test_imposed_choices_move_the_gradient_to_their_side_of_a_kink() -> None:
    images = np.full((1, 48, 48), 10, np.uint8)
    ours = maps_of(Kinked(), images, np.array([0]))
    assert ours.saliency[0, 0, 0] == 1
    assert (ours.gaps[0], ours.places) == (0, [""])
    inactive = Choices([np.array([[False, False]])], [])
    theirs = maps_of(Kinked(), images, np.array([0]), inactive)
    assert theirs.saliency[0, 0, 0] == 0
    assert theirs.gaps[0] == 1  # the unit is as far from its kink as can be
    assert theirs.places == ["relu"]
    at_kink = Choices([np.array([[True, True]])], [])
    same = maps_of(Kinked(), images, np.array([0]), at_kink)
    assert (same.gaps[0], same.places) == (0, ["relu"])


@pytest.mark.parametrize(
    ("active", "message"),
    [
        ([], r"^relu: expected a node of the graph with output \(1, 2\), found none$"),
        ([np.ones((1, 3), np.bool_)], r"^relu: expected a node .* \(1, 2\), found \(1, 3\)$"),
        ([np.ones((1, 2), np.bool_)] * 2, r"^the graph has more ReLU or max pooling nodes than the network$"),
    ],
)
def test_choices_of_another_network_are_refused(active: list[np.ndarray], message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ModelError, match=message):
        maps_of(Kinked(), np.zeros((1, 48, 48), np.uint8), np.array([0]), Choices(active, []))


def test_a_face_at_a_kink_is_named_and_not_excused(
    network: nn.Module, tmp_path: Path, drawn: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, faces = exported(network, tmp_path), drawn.take(slice(3))
    other = maps_of(network, faces.images[:1], np.array([-1]))
    plain = maps_of

    def rounded(model: nn.Module, images: np.ndarray, targets: np.ndarray, choices: Choices | None = None) -> object:  # type: ignore[type-arg]
        """Move one unit to the other side of its kink, as rounding would."""
        found = plain(model, images, targets, choices)
        if choices is None and np.array_equal(images, faces.images[:1]):
            found.saliency[:] = other.saliency * 1.01
        elif choices is not None:
            found.places[:], found.gaps[:] = ["features.1"], [1e-9]
        return found

    monkeypatch.setattr(parity_module, "maps_of", rounded)
    found = check_saliency(network, path, faces, atol=1e-4)
    kinks = {(kink.row, kink.engine, kink.layer) for kink in found.kinks}
    row = int(faces.rows[0])
    assert kinks == {(row, "CPUExecutionProvider", "features.1"), (row, "onnx.reference", "features.1")}
    assert all(abs(kink.relative_difference - 0.01) < 1e-3 and kink.on_same_side < 1e-5 for kink in found.kinks)
    assert found.max_relative_difference <= 1e-5
    assert "1 at a kink of the network and equal on the same side of it" in found.to_text()


def test_the_command_lists_the_graph(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", str(run), "--output", str(tmp_path / "small"), "--saliency"])
    assert done.exit_code == 0, done.output
    assert "small: model.onnx, saliency.onnx, weights.safetensors, card.json, parity.json" in done.stdout


def test_an_export_with_saliency_is_whole_and_keeps_it(run: Path, tmp_path: Path, drawn: Faces) -> None:
    parity = export(run, tmp_path / "small", saliency=True)
    table = json.loads((tmp_path / "small" / "parity.json").read_text())
    assert table["saliency"]["n"] == parity.n
    assert set(table["graph_sha256"]) == {"model.onnx", "saliency.onnx"}
    assert "## saliency" in (tmp_path / "small" / "README.md").read_text()
    assert "saliency on" in parity.to_text()
    with SaliencyModel(tmp_path / "small", device="cpu") as model:
        assert model.explain(drawn.images[:3]).saliency.shape == (3, 48, 48)
    write_csv(drawn.take(slice(5)), tmp_path / "drawn.csv")
    with pytest.raises(ConfigError, match=r"saliency\.onnx would be lost; add `saliency=True`, or delete the graph"):
        export(tmp_path / "small", tmp_path / "small", data=tmp_path / "drawn.csv", force=True)

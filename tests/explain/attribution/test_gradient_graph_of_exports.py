"""`saliency.onnx` gives the maps that Captum gives for the PyTorch original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from numpy.typing import NDArray
from tiny_models import CNN, DNN, assert_same_maps, enliven, make_card, make_network
from torch import nn

from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain import METHODS
from fer_explain.attribution.attributions import attributions_of
from fer_explain.config import AttributionConfig
from fer_infer import SaliencyModel
from fer_infer.attribution.maps import attributions_of as attributions_of_graph
from fer_infer.config import MapConfig
from fer_train.exporting.graph import write_graph
from fer_train.exporting.saliency.graph import write_saliency_graph

RESIDUAL = {"widths": [6, 8, 8], "blocks": [1, 2, 1], "squeeze": 2}
PLAIN = {"widths": [[4], [4, 6]]}
NETWORKS: dict[str, dict[str, Any]] = {
    "course-cnn": CNN,
    "course-dnn": DNN,
    "residual": RESIDUAL,
    "compact": PLAIN,
    "ensemble": {
        "members": [
            {"architecture": "compact", "arguments": PLAIN, "temperature": 1.5},
            {"architecture": "residual", "arguments": RESIDUAL, "temperature": 0.8},
        ]
    },
}
IMAGES = draw_faces(5, seed=4).images
TARGETS = np.array([3, 0, 6, 4, 1])


def assert_same_integrals(found: NDArray[np.float32], expected: Any) -> None:
    """Compare maps that average many gradients, one of which can be at a kink, where rounding decides its side."""
    expected = np.asarray(expected)
    differences = np.abs(found - expected).max(axis=(1, 2)) / np.abs(expected).max(axis=(1, 2))
    assert np.median(differences) < 1e-5
    assert differences.max() < 0.02


@pytest.fixture(params=NETWORKS)
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[nn.Module, SaliencyModel]:
    name = request.param
    network = enliven(make_network(name, NETWORKS[name]))
    card = make_card(network, name, NETWORKS[name])
    write_graph(network, card, tmp_path / "model.onnx")
    card.save_json(tmp_path / "card.json")
    write_saliency_graph(tmp_path / "model.onnx", tmp_path / "saliency.onnx")
    return network, SaliencyModel(tmp_path, device="cpu")


def test_the_gradient_is_captums(exported: tuple[nn.Module, SaliencyModel]) -> None:
    network, model = exported
    pixels = torch.from_numpy(IMAGES).float()[:, None].requires_grad_()
    expected = Saliency(network).attribute(pixels, target=torch.from_numpy(TARGETS), abs=False)
    assert_same_maps(model.explain(IMAGES, TARGETS).saliency, expected.detach()[:, 0])


def test_integrated_gradients_are_captums(exported: tuple[nn.Module, SaliencyModel]) -> None:
    network, model = exported
    pixels = torch.from_numpy(IMAGES).float()[:, None].requires_grad_()
    expected = IntegratedGradients(network).attribute(
        pixels, baselines=128.0, target=torch.from_numpy(TARGETS), n_steps=12, method="gausslegendre"
    )
    config = MapConfig(method="integrated-gradients", samples=12, baseline=128.0)
    found = attributions_of_graph(model, IMAGES, TARGETS, config=config)
    assert_same_integrals(found.attributions, expected.detach()[:, 0])


@pytest.mark.parametrize("method", ["saliency", "input-x-gradient", "grad-cam", "integrated-gradients", "smoothgrad"])
def test_methods_of_the_same_name_give_the_same_maps(exported: tuple[nn.Module, SaliencyModel], method: str) -> None:
    network, model = exported
    if method == "grad-cam" and model.card.architecture == "course-dnn":
        pytest.skip("the network has no convolution")
    samples = {"samples": 10} if method in ("integrated-gradients", "smoothgrad") else {}
    rows = np.array([9, 2, 3, 4, 8])
    expected = attributions_of(
        network, METHODS[method], IMAGES, TARGETS, rows=rows, config=AttributionConfig(**samples)
    )
    found = attributions_of_graph(model, IMAGES, TARGETS, rows=rows, config=MapConfig(method=method, **samples))
    same = assert_same_integrals if samples else assert_same_maps
    same(found.attributions, expected["attributions"])

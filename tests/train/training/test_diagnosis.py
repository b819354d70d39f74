"""Layers that cannot learn are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fer_core.synthetic.drawn_faces import draw_faces
from fer_train.models import build_model
from fer_train.training.diagnosis import diagnose

ARGUMENTS = {
    "course-cnn": {"widths": [4, 4, 8], "hidden": 16},
    "course-dnn": {"widths": [32, 16]},
    "compact": {"widths": [[8], [8, 8]]},
    "residual-small": {"widths": [8, 8], "blocks": [1, 1]},
}


@pytest.fixture(scope="module")
def faces() -> tuple[Any, ...]:
    drawn = draw_faces(40, seed=0)
    return torch.from_numpy(drawn.images).unsqueeze(1), torch.from_numpy(drawn.labels)


def network(name: Any) -> Any:
    torch.manual_seed(0)
    return build_model(name, mean=120.0, std=60.0, **ARGUMENTS[name])


@pytest.mark.parametrize("name", ARGUMENTS)
def test_nothing_is_wrong_with_a_fresh_network(name: str, faces: tuple[Any, ...]) -> None:
    assert diagnose(network(name), *faces) == []


def test_dead_layers_are_named(faces: tuple[Any, ...]) -> None:
    model = network("course-cnn")
    with torch.no_grad():
        model.features[5].bias.fill_(-1e6)
    found = diagnose(model, *faces)
    assert "layers with no active unit (features.6)" in found or found[0].startswith(
        "layers with no active unit (features.6 and"
    )


def test_vanishing_gradients_are_named(faces: tuple[Any, ...]) -> None:
    model = network("course-dnn")
    with torch.no_grad():
        model.classifier[-1].weight.mul_(1e-9)
    assert "vanishing gradients (classifier.1 and 1 more)" in diagnose(model, *faces)


def test_weights_that_are_not_finite_are_named(faces: tuple[Any, ...]) -> None:
    model = network("course-cnn")
    with torch.no_grad():
        model.features[2].weight[0, 0, 0, 0] = float("nan")
    assert diagnose(model, *faces)[0] == "weights or gradients that are not finite (features.2)"


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool, faces: tuple[Any, ...]) -> None:
    model = network("residual-small").train(training)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    diagnose(model, *faces)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(torch.equal(parameter.grad, torch.ones_like(parameter)) for parameter in model.parameters())
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules() if isinstance(module, nn.Module))

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_core import ModelError
from fer_explain.layers.receptive_field import receptive_field
from fer_explain.layers.structure import Layer, find_layer, list_layers, run_to
from fer_train.models import build_model

MODELS = {
    "course-cnn": {"widths": [2, 3, 4], "hidden": 8},
    "course-dnn": {"widths": [6, 4]},
    "residual-small": {"widths": [2, 3], "blocks": [1, 2]},
    "compact": {"widths": [[2, 3], [3, 4], [4]], "space_to_depth": True},
}


class Dilated(nn.Module):
    """Everything that shifts a field: dilation, uneven kernels, padded and overlapping pools, a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, (3, 5), stride=(1, 2), padding=(2, 0), dilation=(2, 1))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.mean = nn.AvgPool2d((2, 3), stride=1)
        self.branch = nn.Conv2d(2, 2, 3, padding=1)
        self.last = nn.Conv2d(2, 2, 1)
        self.parts = nn.AdaptiveAvgPool2d((3, 4))

    def forward(self, images: Tensor) -> Tensor:
        features = self.mean(self.pool(self.first(images)))
        return self.parts(self.last(features + self.branch(features)))


def opened(model: nn.Module) -> nn.Module:
    """Copy a network so that no two of its paths cancel each other and none is shut: then no gradient is lost."""
    model = copy.deepcopy(model).double().eval()
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(module, nn.MaxPool2d):
            setattr(model.get_submodule(parent), last, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
        if isinstance(module, nn.ReLU | nn.BatchNorm2d):
            setattr(model.get_submodule(parent), last, nn.Identity())
        if isinstance(module, nn.Sigmoid):
            setattr(model.get_submodule(parent), last, nn.Softplus())
    for parameter in model.parameters():
        parameter.data.fill_(0.01 if parameter.ndim > 1 else 0.0)
    return model


def support(model: nn.Module, layer: Layer, y: int, x: int) -> tuple[slice, slice]:
    """Return the box of pixels on which a place of a layer has a gradient."""
    images = torch.full((1, 1, 48, 48), 200.0, dtype=torch.float64, requires_grad=True)
    output = run_to(model, layer, images)[1]
    place = output[0, 0, y, x] if output.ndim == 4 else output[0, 0]
    (gradient,) = torch.autograd.grad(place, images)
    rows, columns = (gradient[0, 0].abs().sum(axis).nonzero().flatten() for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def network(name: str) -> nn.Module:
    return Dilated() if name == "dilated" else build_model(name, mean=100.0, std=50.0, **MODELS[name]).eval()


@pytest.mark.parametrize("name", [*MODELS, "dilated"])
def test_every_field_is_the_support_of_the_gradient(name: str) -> None:
    model = network(name)
    open_model = opened(model)
    for layer in list_layers(model):
        field = receptive_field(model, layer)
        height, width = layer.shape[1:] if len(layer.shape) == 3 else (1, 1)
        assert (len(field.rows), len(field.columns)) == (height, width)
        for y, x in {(0, 0), (height // 2, width // 3), (height - 1, width - 1)}:
            assert field.box(y, x) == support(open_model, layer, y, x), (str(layer), y, x)


@pytest.mark.parametrize(
    ("layer", "size", "words"),
    [
        (0, (3, 3), "3x3 pixels"),
        (3, (5, 5), "5x5 pixels"),
        (8, (14, 14), "14x14 pixels"),
        (21, (48, 48), "the whole image"),
    ],
)
def test_fields_known_by_hand(layer: int, size: tuple[int, int], words: str) -> None:
    model = network("course-cnn")
    field = receptive_field(model, find_layer(model, layer))
    assert (field.size, str(field)) == (size, words)
    assert field.whole == (layer == 21)


def test_a_gate_over_the_whole_image_shows_it_to_all_behind() -> None:
    model = network("residual-small")
    layers = list_layers(model)
    gate = next(layer.index for layer in layers if "weigh" in layer.name)
    wholes = [receptive_field(model, layer).whole for layer in layers]
    assert wholes == [index >= gate for index in range(len(layers))]


def test_what_cannot_be_followed_is_named() -> None:
    for odd in (nn.Upsample(scale_factor=2), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(1, 1, 3, padding="same")):
        model = nn.Sequential(odd, nn.Conv2d(1, 2, 3))
        with pytest.raises(ModelError, match=rf"receptive field: unsupported operation 0, {type(odd).__name__}"):
            receptive_field(model, list_layers(model)[-1])


def test_a_network_that_decides_by_its_input_is_refused() -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 3)

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = self.layer(images if images.sum() > 0 else -images)
            return found

    model = Deciding().train()
    with pytest.raises(ModelError, match="receptive field: the network cannot be traced"):
        receptive_field(model, find_layer(model, 0))
    assert model.training


def test_the_intervals_only_grow_along_the_axis() -> None:
    model = network("compact")
    for layer in list_layers(model):
        rows = receptive_field(model, layer).rows
        assert (np.diff(rows, axis=0) >= 0).all()
        assert (rows[:, 1] > rows[:, 0]).all()


def test_the_mean_and_deviation_of_a_face_are_no_part_of_the_field() -> None:
    arguments = MODELS["course-cnn"]
    own, training = (
        build_model("course-cnn", mean=128.0, std=64.0, standardize=kind, **arguments).eval()
        for kind in ("face", "training")
    )
    for one, other in zip(list_layers(own), list_layers(training), strict=True):
        found, expected = receptive_field(own, one), receptive_field(training, other)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.columns, expected.columns)

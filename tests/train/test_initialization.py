"""What convolutions begin with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fer_core import ConfigError
from fer_core.synthetic import draw_faces
from fer_train.checkpoint import load_model
from fer_train.config import FitConfig
from fer_train.initialization import pass_features_on, whiten_patches
from fer_train.models import build_model
from fer_train.trainer import fit


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("name", ["course-cnn", "compact", "best-small"])
def test_later_convolutions_copy_their_inputs_and_nothing_else_changes(name):
    torch.manual_seed(0)
    model = build_model(name, mean=0.0, std=1.0)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    pass_features_on(model)
    first, *later = convolutions(model)
    copying = [conv for conv in later if conv.kernel_size == (3, 3)]
    assert copying
    for conv in copying:
        n = min(conv.in_channels, conv.out_channels)
        features = torch.randn(2, conv.in_channels, 12, 12)
        found = functional.conv2d(features, conv.weight, stride=conv.stride, padding=conv.padding)
        step = conv.stride[0]
        assert torch.equal(found[:, :n], features[:, :n, ::step, ::step])
    touched = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    names = {id(p): key for key, p in model.named_parameters()}
    assert touched == {names[id(conv.weight)] for conv in copying}
    for conv in copying:
        rest = conv.weight[conv.in_channels :]
        assert torch.equal(rest, before[names[id(conv.weight)]][conv.in_channels :])
    assert first.weight is not None


@pytest.mark.parametrize(("name", "filters"), [("compact", 32), ("course-cnn", 18)])
def test_a_whitening_convolution_gives_uncorrelated_features_of_variance_1(name, filters):
    images = draw_faces(300, seed=0).images
    model = build_model(name, mean=float(images.mean()), std=float(images.std()))
    weight = convolutions(model)[0].weight
    random = weight.detach().clone()
    whiten_patches(model, images)
    side = weight.shape[-1]
    faces = model.standardize(torch.from_numpy(images).float().unsqueeze(1))
    features = functional.conv2d(faces, weight.detach(), stride=side)  # the patches that were measured, unpadded
    half = features[:, : filters // 2].transpose(0, 1).flatten(1)
    moments = half @ half.T / half.shape[1]
    variances = moments.diagonal()
    assert variances.min() > 0.5  # below 1 by what is added to small variances
    assert variances.max() <= 1 + 1e-4
    torch.testing.assert_close(moments, torch.diag(variances), atol=1e-3, rtol=0)
    torch.testing.assert_close(features[:, filters // 2 : filters], -features[:, : filters // 2])
    assert torch.equal(weight[filters:], random[filters:])
    energy = weight[: filters // 2].flatten(1).norm(dim=1)
    assert (energy.diff() >= 0).all()  # the directions of largest variance, which are shrunk most, come first


def test_faces_without_variance_leave_finite_filters():
    model = build_model("compact", mean=100.0, std=1.0)
    whiten_patches(model, np.full((3, 48, 48), 100, np.uint8))
    assert convolutions(model)[0].weight.isfinite().all()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            lambda model: pass_features_on(model),
            r"^dirac: expected a network with two convolutions at least, found less$",
        ),
        (
            lambda model: whiten_patches(model, draw_faces(4, seed=0).images),
            r"^whitening: expected a network with a convolution, found none$",
        ),
    ],
)
def test_a_network_without_convolutions_is_refused(start, message):
    with pytest.raises(ConfigError, match=message):
        start(build_model("course-dnn", mean=0.0, std=1.0))


@pytest.mark.parametrize("name", ["dirac", "whitening"])
def test_weights_of_a_run_leave_nothing_to_begin_with(name):
    message = f"^{name}: expected none beside initial, which gives all weights, found True$"
    with pytest.raises(ConfigError, match=message):
        FitConfig(initial="runs/cnn", **{name: True})


def test_a_run_begins_with_them(tmp_path, splits, small_config):
    config = replace(small_config, epochs=1, lr=1e-12, optimizer="sgd", weight_decay=0.0, dirac=True, whitening=True)
    fit(splits, config, tmp_path / "run")
    found = convolutions(load_model(tmp_path / "run"))
    expected = build_model(config.model, mean=splits.mean, std=splits.std, **config.model_arguments)
    whiten_patches(expected, splits.training.images)
    n = 2 * (len(found[0].weight) // 2)
    torch.testing.assert_close(found[0].weight[:n], convolutions(expected)[0].weight[:n])
    identity = nn.init.dirac_(torch.empty_like(found[1].weight[: found[1].in_channels]))
    torch.testing.assert_close(found[1].weight[: found[1].in_channels].detach(), identity)

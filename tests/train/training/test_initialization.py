"""What convolutions begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fer_core import ConfigError
from fer_core.synthetic.drawn_faces import draw_faces
from fer_train.config import FitConfig
from fer_train.data.splits import Splits
from fer_train.models import build_model
from fer_train.runs.checkpoint import load_model
from fer_train.training import initialization
from fer_train.training.initialization import initialize_dirac, initialize_whitening
from fer_train.training.trainer import fit


def convolutions(model: Any) -> Any:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("name", ["course-cnn", "compact", "residual-small"])
def test_later_convolutions_copy_their_inputs_and_nothing_else_changes(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, mean=0.0, std=1.0)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    initialize_dirac(model)
    copying = [conv for conv in convolutions(model)[1:] if conv.kernel_size == (3, 3)]
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


@pytest.mark.parametrize(
    ("name", "arguments", "filters"),
    [
        ("compact", {}, 32),
        ("compact", {"space_to_depth": True, "widths": [[90]]}, 72),  # four channels of 3x3
        ("course-cnn", {}, 18),
        ("course-cnn", {"standardize": "face"}, 18),
        ("residual-small", {}, 48),
    ],
)
def test_a_whitening_convolution_gives_uncorrelated_features_of_variance_1(
    name: str, arguments: dict[str, Any], filters: int
) -> None:
    images = draw_faces(300, seed=0).images
    model = build_model(name, mean=float(images.mean()), std=float(images.std()), **arguments)
    weight = convolutions(model)[0].weight
    random = weight.detach().clone()
    initialize_whitening(model, images)
    features = model.standardize(torch.from_numpy(images).float().unsqueeze(1))
    if "space_to_depth" in arguments:
        features = functional.pixel_unshuffle(features, 2)
    found = functional.conv2d(features, weight.detach(), stride=weight.shape[-1])  # the patches that were measured
    half = found[:, : filters // 2].transpose(0, 1).flatten(1)
    moments = half @ half.T / half.shape[1]
    variances = moments.diagonal()
    assert variances.min() > 0.2  # below 1 by what is added to small variances
    assert variances.max() <= 1 + 1e-3
    torch.testing.assert_close(moments, torch.diag(variances), atol=2e-3, rtol=0)
    torch.testing.assert_close(found[:, filters // 2 : filters], -found[:, : filters // 2])
    assert torch.equal(weight[filters:], random[filters:])
    energy = weight[: filters // 2].flatten(1).norm(dim=1)
    assert (energy.diff() >= 0).all()  # the directions of largest variance, which are shrunk most, come first


def test_many_faces_are_sampled_over_their_whole_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "PATCH_FACES", 100)
    images = draw_faces(300, seed=0).images
    ours, theirs = (build_model("compact", mean=120.0, std=60.0) for _ in range(2))
    initialize_whitening(ours, images)
    initialize_whitening(theirs, images[::3])
    assert torch.equal(convolutions(ours)[0].weight[:16], convolutions(theirs)[0].weight[:16])


def test_faces_without_variance_leave_finite_filters() -> None:
    model = build_model("compact", mean=100.0, std=1.0)
    initialize_whitening(model, np.full((3, 48, 48), 100, np.uint8))
    assert convolutions(model)[0].weight.isfinite().all()


def whitened(name: Any, **arguments: Any) -> None:
    initialize_whitening(build_model(name, mean=0.0, std=1.0, **arguments), draw_faces(4, seed=0).images)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            lambda: initialize_dirac(build_model("course-dnn", mean=0.0, std=1.0)),
            r"^dirac: expected a convolution larger than 1x1 after the first, found none$",
        ),
        (lambda: whitened("course-dnn"), r"^whitening: expected a network with a convolution, found none$"),
        (
            lambda: whitened("compact", widths=[[1, 8]]),
            r"^whitening: expected at least two filters in the first convolution, found one$",
        ),
        (
            lambda: whitened("residual-small", stem_kernel=49),
            r"^whitening: expected a first convolution of at most 48x48 pixels, found 49x49$",
        ),
    ],
)
def test_a_network_that_cannot_begin_so_is_refused(start: Callable[..., Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start()


@pytest.mark.parametrize("name", ["dirac", "whitening"])
def test_weights_of_a_run_leave_nothing_to_begin_with(name: str) -> None:
    message = f"^{name}: cannot be combined with `initial`, which sets all weights$"
    with pytest.raises(ConfigError, match=message):
        FitConfig(initial="runs/cnn", **{name: True})


def test_a_run_begins_with_them(tmp_path: Path, splits: Splits, small_config: FitConfig) -> None:
    config = replace(small_config, epochs=1, lr=1e-12, optimizer="sgd", weight_decay=0.0, dirac=True, whitening=True)
    fit(splits, config, tmp_path / "run")
    found = convolutions(load_model(tmp_path / "run"))
    expected = build_model(config.architecture, mean=splits.mean, std=splits.std, **config.architecture_arguments)
    initialize_whitening(expected, splits.training.images)
    n = 2 * (len(found[0].weight) // 2)
    torch.testing.assert_close(found[0].weight[:n], convolutions(expected)[0].weight[:n])
    identity = nn.init.dirac_(torch.empty_like(found[1].weight[: found[1].in_channels]))
    torch.testing.assert_close(found[1].weight[: found[1].in_channels].detach(), identity)

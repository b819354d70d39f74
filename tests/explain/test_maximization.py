from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fer_core import ConfigError
from fer_explain.ascent import AscentConfig, _total_variation_gradient, maximize_channels
from fer_explain.layers import find_layer, run_to
from fer_explain.maximization import channel_captions, maximization_sheet, maximize

FEW = AscentConfig(steps=12)
LAYERS = ["features.0", "features.1", "features.7", "features.9", "classifier.1", "classifier.2", "classifier.7"]


def mean_activations(model: nn.Module, layer: str, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        output = run_to(model, find_layer(model, layer), torch.from_numpy(images)[:, None])[1]
    return np.array([output[i, i].mean().item() for i in range(len(images))], np.float32)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_live_channel_is_raised(cnn: nn.Module, layer: str) -> None:
    found = maximize_channels(cnn, layer, config=FEW)
    assert found.images.shape == (found.layer.shape[0], 48, 48)
    assert found.images.dtype == np.float32
    assert 0 <= found.images.min() <= found.images.max() <= 255
    assert not found.dead.all()
    assert (found.reached > found.start)[~found.dead].all()
    live = ~found.dead
    np.testing.assert_allclose(
        found.reached[live], mean_activations(cnn, layer, found.images)[live], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("layer", ["features.1", "classifier.2", "classifier.7"])
def test_a_channel_takes_the_same_way_whichever_others_are_climbed(cnn: nn.Module, layer: str) -> None:
    together = maximize_channels(cnn, layer, config=FEW)
    for channel in (0, 3):
        alone = maximize_channels(cnn, layer, [channel], FEW)
        assert alone.channels.tolist() == [channel]
        np.testing.assert_allclose(alone.images[0], together.images[channel], atol=0.05)
        np.testing.assert_allclose(alone.start[0], together.start[channel], rtol=1e-4, atol=1e-6)
    batched = maximize_channels(cnn, layer, config=FEW, batch_size=2)
    np.testing.assert_allclose(batched.images, together.images, atol=0.05)


def test_dense_units_are_not_blurred_by_jitter(dnn: nn.Module) -> None:
    still = maximize_channels(dnn, 0, config=AscentConfig(steps=12, jitter=0))
    np.testing.assert_array_equal(maximize_channels(dnn, 0, config=FEW).images, still.images)


def test_the_same_seed_gives_the_same_images_and_another_seed_others(cnn: nn.Module) -> None:
    first, again = (maximize_channels(cnn, 0, config=FEW) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    other = maximize_channels(cnn, 0, config=AscentConfig(steps=12, seed=1))
    assert not np.array_equal(first.images, other.images)


def test_a_dead_channel_is_flagged_and_mid_gray(cnn: nn.Module) -> None:
    convolution = cnn.get_submodule("features.2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.weight.data[1] = 0
    convolution.bias.data[1] = 0.3
    for layer in ("features.2", "features.3"):
        found = maximize_channels(cnn, layer, config=FEW)
        assert found.dead.tolist() == [False, True, False, False]
        np.testing.assert_array_equal(found.images[1], 127.5)
        assert np.isfinite(found.images).all()
        assert channel_captions(found)[1] == "1: dead"


def test_a_relu_channel_that_never_speaks_is_dead(cnn: nn.Module) -> None:
    convolution = cnn.get_submodule("features.2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.bias.data[2] = -1e6
    found = maximize_channels(cnn, "features.3", config=FEW)
    assert found.dead.tolist() == [False, False, True, False]
    assert found.reached[2] == 0


def test_a_relu_channel_that_starts_silent_is_woken(cnn: nn.Module) -> None:
    convolution = cnn.get_submodule("features.0")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.weight.data[0] = 0.2
    convolution.bias.data[0] = -0.8  # speaks only for what is much brighter than the noise
    found = maximize_channels(cnn, "features.1", [0], AscentConfig(steps=40))
    assert found.start[0] == 0
    assert found.reached[0] > 0.1


def test_zero_weights_are_dead_and_never_nan(cnn: nn.Module) -> None:
    for parameter in cnn.parameters():
        parameter.data.zero_()
    for layer in ("features.1", "classifier.7"):
        found = maximize_channels(cnn, layer, config=FEW)
        assert found.dead.all()
        np.testing.assert_array_equal(found.images, 127.5)
        np.testing.assert_array_equal(found.reached, 0)


def test_nothing_stays_on_the_network(cnn: nn.Module) -> None:
    cnn.train()
    maximize_channels(cnn, 0, config=FEW)
    assert cnn.training
    assert all(parameter.grad is None for parameter in cnn.parameters())
    assert sum(len(module._forward_hooks) for module in cnn.modules()) == 0


def test_the_total_variation_gradient_is_that_of_its_definition() -> None:
    images = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
    images.requires_grad_()
    down, right = images[:, :, 1:] - images[:, :, :-1], images[:, :, :, 1:] - images[:, :, :, :-1]
    down, right = nn.functional.pad(down, (0, 0, 0, 1)), nn.functional.pad(right, (0, 1))
    (expected,) = torch.autograd.grad((down.square() + right.square() + 1).sqrt().sum(), images)
    torch.testing.assert_close(_total_variation_gradient(images.detach()), expected)


@pytest.mark.parametrize(("channels", "match"), [([4], "found 4"), ([-1, 0, 9], "found -1, 9"), ([], "found none")])
def test_channels_that_do_not_exist_are_refused(cnn: nn.Module, channels: list[int], match: str) -> None:
    with pytest.raises(ConfigError, match=rf"channels: layer features\.0 has channels 0\.\.3, {match}$"):
        maximize_channels(cnn, 0, channels, FEW)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"steps": 0}, "steps: expected at least 1"),
        ({"decay": 1.0}, "decay: expected 0 to below 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        AscentConfig(**settings)  # type: ignore[arg-type]


def test_maximize_writes_a_sheet_and_its_numbers(exports: Path, tmp_path: Path) -> None:
    folder = maximize(exports, "classifier.7", tmp_path / "out", channels=(3, 0), config=FEW)
    assert sorted(path.name for path in folder.iterdir()) == ["maximization.npz", "sheet.png"]
    found = np.load(folder / "maximization.npz")
    assert found["channels"].tolist() == [3, 0]
    assert found["images"].shape == (2, 48, 48)
    assert (found["activation_reached"] > found["activation_start"]).all()
    assert not found["dead"].any()


def test_the_sheet_names_classes(cnn: nn.Module) -> None:
    found = maximize_channels(cnn, "classifier.7", config=AscentConfig(steps=1))
    names = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert [text.split(":")[0] for text in channel_captions(found, names)] == list(names)
    assert "classifier.7" in maximization_sheet(found, names).texts[0].get_text()

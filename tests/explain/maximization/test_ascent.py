import math

import numpy as np
import pytest
import torch
from torch import nn

from fer_core import ConfigError, ModelError
from fer_explain.config import AscentConfig
from fer_explain.layers.structure import find_layer, run_to
from fer_explain.maximization.ascent import (
    _similarity,
    _total_variation_gradient,
    maximize_channels,
    maximize_objectives,
)
from fer_explain.maximization.objectives import channel_objectives, direction_objective
from fer_explain.maximization.transforms import draw_transform

BARE = {"noise": 0.0, "decay": 0.0, "total_variation": 0.0, "jitter": 0, "rotation": 0.0, "zoom": 0.0}


def linear(seed: int = 0) -> nn.Module:
    """Build a network whose logits are weighted sums of the pixels: the best image is known."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(2304, 3)).eval()


def weights(model: nn.Module) -> np.ndarray:
    found = model.get_submodule("1").weight.detach().numpy()
    return found.reshape(-1, 48, 48)


@pytest.mark.parametrize("space", ["pixel", "fourier"])
def test_the_best_image_of_a_linear_unit_is_white_where_its_weight_is_positive(space: str) -> None:
    model = linear()
    config = AscentConfig(steps=400, step_size=40, space=space, **BARE)
    found = maximize_channels(model, 0, config=config)
    bias = model.get_submodule("1").bias.detach().numpy()
    best = 255 * np.clip(weights(model), 0, None).sum((1, 2)) + bias
    assert (found.reached <= best * (1 + 1e-5)).all()
    assert (found.reached > (0.999 if space == "pixel" else 0.9) * best).all()
    if space == "pixel":
        settled = np.abs(weights(model)) > 0.02 * weights(model).std()  # the others have hardly moved yet
        assert settled.mean() > 0.95
        np.testing.assert_array_equal(found.images[settled], np.where(weights(model) > 0, 255, 0)[settled])


def test_one_step_in_pixel_space_is_the_one_taken_by_hand() -> None:
    model = linear()
    start = np.random.default_rng(0).uniform(80, 170, (48, 48)).astype(np.float32)
    config = AscentConfig(**{**BARE, "steps": 1, "step_size": 6, "space": "pixel", "total_variation": 0.2})
    found = maximize_objectives(model, channel_objectives(find_layer(model, 0)), config, start=start)
    smoother = _total_variation_gradient(torch.from_numpy(start)[None, None].double())[0, 0].numpy()
    for image, weight in zip(found.images, weights(model), strict=True):
        pull = weight / np.sqrt((weight**2).mean()) - 0.2 * smoother
        np.testing.assert_allclose(image, start + 6 * pull / np.sqrt((pull**2).mean()), atol=1e-3)


def test_decay_leads_back_to_the_start() -> None:
    start = np.full((48, 48), 60, np.float32)
    model = linear()
    objectives = channel_objectives(find_layer(model, 0), [1])
    bare = {**BARE, "steps": 1, "step_size": 5, "space": "pixel"}
    free = maximize_objectives(model, objectives, AscentConfig(**bare), start=start)
    held = maximize_objectives(model, objectives, AscentConfig(**{**bare, "decay": 0.25}), start=start)
    np.testing.assert_allclose(held.images - 60, 0.75 * (free.images - 60), atol=1e-4)


def test_the_total_variation_gradient_is_that_of_a_loop_over_the_pixels() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (48, 48))

    def variation(picture: np.ndarray) -> float:
        total = 0.0
        for y in range(48):
            for x in range(48):
                down = picture[y + 1, x] - picture[y, x] if y < 47 else 0.0
                right = picture[y, x + 1] - picture[y, x] if x < 47 else 0.0
                total += math.sqrt(down**2 + right**2 + 1)
        return total

    gradient = _total_variation_gradient(torch.from_numpy(image)[None, None])[0, 0].numpy()
    for y, x in [(0, 0), (0, 47), (47, 0), (47, 47), (20, 31)]:
        change = np.zeros((48, 48))
        change[y, x] = 1e-4
        slope = (variation(image + change) - variation(image - change)) / 2e-4
        assert gradient[y, x] == pytest.approx(slope, abs=1e-4)


def test_similarity_is_the_mean_cosine_of_gram_matrices() -> None:
    outputs = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    inputs = torch.randn(6, 30, generator=torch.Generator().manual_seed(1))
    grams = np.einsum("ncyx,ndyx->ncd", outputs.numpy(), outputs.numpy()).reshape(6, -1)
    for found, vectors in (
        (_similarity(inputs, outputs, 3), grams),
        (_similarity(inputs, inputs[:, :2], 3), inputs.numpy()),
    ):
        expected = 0.0
        for first in (0, 3):
            pairs = [(a, b) for a in range(first, first + 3) for b in range(first, first + 3) if a < b]
            cosines = [
                vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]) for a, b in pairs
            ]
            expected += np.mean(cosines)
        assert found.item() == pytest.approx(expected, rel=1e-5)


def test_diversity_drives_the_images_of_a_channel_apart(cnn: nn.Module) -> None:
    layer = find_layer(cnn, "features.7")

    def similarity(diversity: float) -> float:
        config = AscentConfig(steps=16, images=3, diversity=diversity)
        found = maximize_channels(cnn, layer.name, [1], config)
        assert found.channels.tolist() == [1, 1, 1]
        assert found.images.shape == (3, 48, 48)
        with torch.no_grad():
            return _similarity(*run_to(cnn, layer, torch.from_numpy(found.images)[:, None]), 3).item()

    assert similarity(2.0) < similarity(0.0)


def test_several_images_of_a_channel_do_not_depend_on_the_batch(cnn: nn.Module) -> None:
    config = AscentConfig(steps=6, images=2)
    together = maximize_channels(cnn, "features.7", config=config)
    alone = maximize_channels(cnn, "features.7", [3], config, batch_size=1)
    np.testing.assert_allclose(alone.images, together.images[6:8], atol=0.05)
    assert not np.allclose(together.images[6], together.images[7])


def test_a_neuron_is_raised_within_its_receptive_field_alone(cnn: nn.Module) -> None:
    layer = find_layer(cnn, "features.2")
    objectives = channel_objectives(layer, [0], position=(10, 20))
    config = AscentConfig(**{**BARE, "steps": 8, "space": "pixel"})
    found = maximize_objectives(cnn, objectives, config)
    changed = np.argwhere(found.images[0] != 127.5)
    assert changed.min(0).tolist() == [8, 18]
    assert changed.max(0).tolist() == [12, 22]
    with torch.no_grad():
        output = run_to(cnn, layer, torch.from_numpy(found.images)[:, None])[1]
    assert found.reached[0] == pytest.approx(output[0, 0, 10, 20].item(), rel=1e-5)


def test_a_direction_of_one_channel_is_that_channel(cnn: nn.Module) -> None:
    layer = find_layer(cnn, "features.7")
    config = AscentConfig(steps=4, noise=0)
    vector = np.zeros(layer.shape[0])
    vector[2] = 5.0
    along = maximize_objectives(cnn, direction_objective(layer, vector), config)
    channel = maximize_channels(cnn, "features.7", [2], config)
    np.testing.assert_array_equal(along.images, channel.images)
    assert along.reached.tolist() == channel.reached.tolist()


def test_a_direction_away_from_a_relus_channel_is_maximized_below_zero(cnn: nn.Module) -> None:
    layer = find_layer(cnn, "features.3")
    config = AscentConfig(steps=8, noise=4)
    found = maximize_objectives(cnn, direction_objective(layer, -np.eye(layer.shape[0])[0]), config)
    assert found.start[0] < 0
    assert not found.dead[0]
    assert found.start[0] < found.reached[0] <= 0
    with torch.no_grad():
        output = run_to(cnn, layer, torch.from_numpy(found.images)[:, None])[1]
    assert found.reached[0] == pytest.approx(-output[0, 0].mean().item(), rel=1e-4)


def test_what_is_reported_is_of_the_image_and_not_of_a_view(cnn: nn.Module) -> None:
    found = maximize_channels(cnn, "features.9", config=AscentConfig(steps=3, jitter=6, rotation=30.0, zoom=0.3))
    with torch.no_grad():
        output = run_to(cnn, found.layer, torch.from_numpy(found.images)[:, None])[1]
    expected = [output[i, i].mean().item() for i in range(len(found.images))]
    np.testing.assert_allclose(found.reached[~found.dead], np.array(expected)[~found.dead], rtol=1e-4)


def test_each_step_looks_at_a_view_of_its_own(cnn: nn.Module) -> None:
    seen = []
    hook = cnn.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    try:
        maximize_channels(cnn, 0, [0], AscentConfig(steps=1, seed=4))
    finally:
        hook.remove()
    _, _, start, viewed, _ = seen  # two blank ones list the layers; the last is measured
    view = draw_transform(np.random.default_rng(4), 2, 5.0, 0.05)
    torch.testing.assert_close(viewed, view(start))


def test_a_start_that_is_not_an_image_is_refused(cnn: nn.Module) -> None:
    objectives = channel_objectives(find_layer(cnn, 0))
    for start in (np.zeros((47, 48), np.float32), np.full((48, 48), 256, np.float32), np.full((48, 48), np.nan)):
        with pytest.raises(ConfigError, match=r"start: expected one 48x48 image in 0\.\.255"):
            maximize_objectives(cnn, objectives, start=start)


def test_broken_weights_are_reported_and_hooks_are_gone_after_an_error(cnn: nn.Module) -> None:
    cnn.get_submodule("features.0").weight.data.fill_(math.nan)
    cnn.train()
    with pytest.raises(ModelError, match=r"layer features\.2: activations contain NaN or Inf; check the model"):
        maximize_channels(cnn, "features.2", config=AscentConfig(steps=1))
    assert cnn.training
    assert sum(len(module._forward_hooks) for module in cnn.modules()) == 0


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"space": "wavelet"}, "space: expected one of fourier, pixel, found 'wavelet'"),
        ({"images": 0}, "images: expected at least 1, found 0"),
        ({"rotation": -1.0}, "rotation: expected 0 to 180, found -1"),
        ({"zoom": 1.0}, "zoom: expected 0 to below 1, found 1"),
        ({"step_size": math.nan}, "step_size: expected at least 0 and finite, found nan"),
        ({"noise": math.inf}, "noise: expected at least 0 and finite, found inf"),
        ({"rotation": 181.0}, "rotation: expected 0 to 180, found 181"),
    ],
)
def test_settings_outside_their_range_are_named(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        AscentConfig(**settings)

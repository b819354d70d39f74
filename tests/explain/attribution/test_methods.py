"""Each method against a slow computation of its own, after the paper, or a closed form."""

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from tiny_models import CNN, DNN, assert_same_maps, enliven, make_network
from torch import nn

from fer_core import ConfigError, Faces
from fer_explain.attribution import METHODS, AttributionConfig, attributions_of, cam_layer
from fer_train.models.layers import Standardize

MEAN, STD = 128.0, 64.0


def explain(model: nn.Module, method: str, images: np.ndarray, targets: Any, **settings: Any) -> dict[str, np.ndarray]:
    chosen = np.asarray(targets, np.int64)
    return attributions_of(model, METHODS[method], images, chosen, config=AttributionConfig(**settings))


def gradient(model: nn.Module, image: torch.Tensor, target: int) -> torch.Tensor:
    image = image.detach().clone().requires_grad_()
    return torch.autograd.grad(model(image)[0, target], image)[0]


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).float()[None, None]


def output(model: nn.Module, image: torch.Tensor, target: int) -> float:
    with torch.no_grad():
        return model(image)[0, target].item()


@pytest.fixture
def cnn() -> nn.Module:
    return enliven(make_network("course-cnn", CNN))


@pytest.fixture
def dnn() -> nn.Module:
    return enliven(make_network("course-dnn", DNN))


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(1)
    return enliven(nn.Sequential(Standardize(MEAN, STD), nn.Flatten(), nn.Linear(2304, 3))).eval()


@pytest.fixture
def weights(linear: nn.Module) -> np.ndarray:
    """Of each class and pixel, in logits per gray level."""
    return (linear[2].weight.detach().numpy() / STD).reshape(3, 48, 48)


class Residual(nn.Module):
    """Before its ReLU the features also go around it, and a pooling directly follows another ReLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.standardize = Standardize(MEAN, STD)
        self.first = nn.Conv2d(1, 3, 5, stride=4)
        self.inner = nn.ReLU()
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.outer = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(3 * 5 * 5, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.first(self.standardize(images))[..., :10, :10]
        return self.last(self.pool(self.outer(features + self.second(self.inner(features)))).flatten(1))


@pytest.fixture
def residual() -> nn.Module:
    return enliven(Residual()).eval()


def test_input_x_gradient_is_the_product_of_both(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "input-x-gradient", faces.images[:2], [1, 4])["attributions"]
    for image, target, map_ in zip(faces.images, (1, 4), found, strict=False):
        assert_same_maps(map_, (as_tensor(image) * gradient(cnn, as_tensor(image), target))[0, 0])


def test_integrated_gradients_of_a_linear_model_is_its_closed_form(
    linear: nn.Module, weights: np.ndarray, faces: Faces
) -> None:
    found = explain(linear, "integrated-gradients", faces.images[:2], [0, 2], samples=4)
    expected = weights[[0, 2]] * (faces.images[:2] - MEAN)
    assert_same_maps(found["attributions"], expected)
    np.testing.assert_allclose(found["deltas"], 0, atol=1e-4)
    other = explain(linear, "integrated-gradients", faces.images[:2], [0, 2], samples=4, baseline=0.0)
    assert_same_maps(other["attributions"], weights[[0, 2]] * faces.images[:2])


def test_integrated_gradients_is_captums_and_its_deltas_are_what_is_missed(cnn: nn.Module, faces: Faces) -> None:
    images = torch.from_numpy(faces.images[:2]).float()[:, None]
    found = explain(cnn, "integrated-gradients", faces.images[:2], [3, 3], samples=64)
    captum = IntegratedGradients(cnn).attribute(images, MEAN, target=3, n_steps=64)
    assert_same_maps(found["attributions"], captum[:, 0].detach())
    difference = [output(cnn, image[None], 3) - output(cnn, torch.full_like(image[None], MEAN), 3) for image in images]
    total = found["attributions"].sum((1, 2))
    assert_same_maps(total, difference, share=0.05)
    np.testing.assert_allclose(found["deltas"], total - difference, atol=1e-4)


def test_smoothgrad_is_the_average_over_the_same_noise(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "smoothgrad", faces.images[:2], [5, 0], samples=6, noise=0.3, seed=9)["attributions"]
    for row, (image, target) in enumerate(zip(faces.images[:2], (5, 0), strict=True)):
        chance = np.random.default_rng((9, row))
        sigma = 0.3 * (float(image.max()) - float(image.min()))
        total = torch.zeros(1, 1, 48, 48)
        for _ in range(6):
            noise = torch.from_numpy(chance.standard_normal((1, 1, 48, 48), np.float32))
            total += gradient(cnn, as_tensor(image) + sigma * noise, target)
        assert_same_maps(found[row], (total / 6).abs()[0, 0])


def test_smoothgrad_without_noise_is_saliency(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "smoothgrad", faces.images[:2], [5, 0], samples=2, noise=0.0)["attributions"]
    assert_same_maps(found, explain(cnn, "saliency", faces.images[:2], [5, 0])["attributions"])


def shap_samples(seed: int, row: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gray levels of the baselines of a face, and positions between them and the face."""
    chance = np.random.default_rng((seed, row))
    grays, places = np.array([(chance.normal(MEAN, STD), chance.random()) for _ in range(n)]).T
    return grays.clip(0, 255), places


def test_gradient_shap_of_a_linear_model_is_exact(linear: nn.Module, weights: np.ndarray, faces: Faces) -> None:
    found = explain(linear, "gradient-shap", faces.images[:2], [1, 0], samples=5, seed=4)
    for row, target in enumerate((1, 0)):
        grays, _ = shap_samples(4, row, 5)
        expected = weights[target] * (faces.images[row] - grays.mean())
        assert_same_maps(found["attributions"][row], expected)
    np.testing.assert_allclose(found["deltas"], 0, atol=1e-3)


def test_gradient_shap_is_the_average_over_ways_and_its_deltas_are_what_is_missed(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "gradient-shap", faces.images[:1], [2], samples=4)
    image = as_tensor(faces.images[0])
    grays, places = shap_samples(0, 0, 4)
    total, blank = torch.zeros_like(image), 0.0
    for gray, place in zip(grays, places, strict=True):
        total += gradient(cnn, gray + place * (image - gray), 2) * (image - gray) / 4
        blank += output(cnn, torch.full_like(image, gray), 2) / 4
    assert_same_maps(found["attributions"][0], total[0, 0])
    missed = total.sum().item() - (output(cnn, image, 2) - blank)
    np.testing.assert_allclose(found["deltas"], [missed], atol=1e-4)


def test_occlusion_is_a_loop_over_squares(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "occlusion", faces.images[:1], [6], window=20, stride=16, baseline=90.0)["attributions"][0]
    image = as_tensor(faces.images[0])
    falls, counts = np.zeros((48, 48)), np.zeros((48, 48))
    for top in (0, 16, 32):
        for left in (0, 16, 32):
            covered = image.clone()
            covered[..., top : top + 20, left : left + 20] = 90
            falls[top : top + 20, left : left + 20] += output(cnn, image, 6) - output(cnn, covered, 6)
            counts[top : top + 20, left : left + 20] += 1
    assert_same_maps(found, falls / counts)


class GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(context: Any, gradients: torch.Tensor) -> torch.Tensor:
        (values,) = context.saved_tensors
        return gradients * (values > 0) * (gradients > 0)


class Guided(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return GuidedReLU.apply(values)


def with_guided_relus(model: nn.Module) -> nn.Module:
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Guided())
    return model


def test_guided_backprop_is_a_relu_that_stops_negative_gradients(faces: Faces) -> None:
    make = (lambda: enliven(make_network("course-cnn", CNN)), lambda: enliven(Residual()).eval())
    for build in make:
        found = explain(build(), "guided-backprop", faces.images[:1], [3])["attributions"]
        expected = gradient(with_guided_relus(build()), as_tensor(faces.images[0]), 3)
        assert_same_maps(found, expected[0])
        assert (
            np.abs(found - explain(build(), "saliency", faces.images[:1], [3])["attributions"]).max()
            > 0.1 * np.abs(found).max()
        )


def slow_grad_cam(model: nn.Module, layer: str, image: torch.Tensor, target: int) -> np.ndarray:
    kept: list[torch.Tensor] = []
    with model.get_submodule(layer).register_forward_hook(lambda _, __, features: kept.append(features)):
        score = model(image.requires_grad_())[0, target]
    (gradients,) = torch.autograd.grad(score, kept[0])
    features = kept[0][0].detach().numpy()
    map_ = sum(weight * channel for weight, channel in zip(gradients[0].mean((1, 2)).numpy(), features, strict=True))
    # Bilinear, by hand: where on the coarse map lies the middle of each pixel?
    side = len(map_)
    place = np.clip((np.arange(48) + 0.5) * side / 48 - 0.5, 0, side - 1)
    low = np.minimum(place.astype(int), side - 2)
    share = place - low
    rows = map_.clip(0)[low] * (1 - share)[:, None] + map_.clip(0)[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share


@pytest.mark.parametrize("layer", [None, "features.5", 9])
def test_grad_cam_is_the_papers_equations(cnn: nn.Module, faces: Faces, layer: str | int | None) -> None:
    found = explain(cnn, "grad-cam", faces.images[:3], [0, 1, 2], layer=layer)["attributions"]
    name = cam_layer(cnn, layer).name
    expected = [slow_grad_cam(cnn, name, as_tensor(faces.images[i]), i) for i in range(3)]
    assert_same_maps(found, np.stack(expected))
    guided = explain(cnn, "guided-backprop", faces.images[:3], [0, 1, 2])["attributions"]
    both = explain(cnn, "guided-grad-cam", faces.images[:3], [0, 1, 2], layer=layer)["attributions"]
    assert_same_maps(both, guided * np.stack(expected))


def test_grad_cam_chooses_the_activation_of_the_last_convolution_that_sees_places(cnn: nn.Module) -> None:
    assert cam_layer(cnn, None).name == "features.15"
    small = make_network("residual-small", {"widths": [4, 8], "blocks": [1, 1]})
    assert cam_layer(small, None).name == "stages.1.0.activation"


def test_grad_cam_refuses_layers_without_places(cnn: nn.Module, dnn: nn.Module) -> None:
    with pytest.raises(
        ConfigError, match=r"layer: Grad-CAM needs a layer with spatial outputs, found \d+: classifier\.1"
    ):
        cam_layer(cnn, "classifier.1")
    with pytest.raises(ConfigError, match="Grad-CAM needs a convolution; the network has none"):
        cam_layer(dnn, None)


def test_deeplift_of_a_tiny_network_is_the_rescale_rule_by_hand() -> None:
    """One hidden unit a half of the face: each pixel has its share of the unit's change, times slope and weight."""
    model = nn.Sequential(Standardize(100.0, 10.0), nn.Flatten(), nn.Linear(2304, 2), nn.ReLU(), nn.Linear(2, 1))
    top, bottom = np.zeros(2304, np.float32), np.zeros(2304, np.float32)
    top[:1152], bottom[1152:] = 1 / 1152, -1 / 1152
    model[2].weight.data = torch.from_numpy(np.stack([top, bottom]))
    model[2].bias.data = torch.tensor([-1.0, 2.0])
    model[4].weight.data = torch.tensor([[3.0, 5.0]])
    image = np.full((1, 48, 48), 120, np.uint8)  # 2 deviations above the baseline
    # Unit 0: -1 -> 1, so 0 -> 1: slope 1/2. Unit 1: 2 -> 0, so 2 -> 0: slope 1.
    found = explain(model.eval(), "deeplift", image, [0])
    np.testing.assert_allclose(found["attributions"][0, :24], 2 / 1152 * (1 / 2) * 3, rtol=1e-5)
    np.testing.assert_allclose(found["attributions"][0, 24:], -2 / 1152 * 1 * 5, rtol=1e-5)
    np.testing.assert_allclose(found["deltas"], 0, atol=1e-4)


def test_deeplift_of_a_linear_model_is_integrated_gradients(linear: nn.Module, faces: Faces) -> None:
    found = explain(linear, "deeplift", faces.images[:2], [0, 2])["attributions"]
    expected = explain(linear, "integrated-gradients", faces.images[:2], [0, 2])["attributions"]
    assert_same_maps(found, expected)


def test_deeplift_adds_up_through_pooling_after_relu_and_around_a_relu(residual: nn.Module, faces: Faces) -> None:
    images = faces.images[:4]
    found = explain(residual, "deeplift", images, [0, 1, 2, 3])
    blank = torch.full((1, 1, 48, 48), MEAN)
    difference = [output(residual, as_tensor(images[i]), i) - output(residual, blank, i) for i in range(4)]
    assert np.abs(difference).min() > 0.01
    np.testing.assert_allclose(found["attributions"].sum((1, 2)), difference, atol=1e-4)
    np.testing.assert_allclose(found["deltas"], 0, atol=1e-4)


def test_deeplift_of_a_face_does_not_depend_on_the_first_of_the_batch(residual: nn.Module, faces: Faces) -> None:
    half = faces.images[:3].copy()
    half[:, :, :24] = round(MEAN)  # equal to the baseline, where Captum takes another face's gradient
    together = explain(residual, "deeplift", half, [1, 2, 3])["attributions"]
    for i in range(3):
        alone = explain(residual, "deeplift", half[i : i + 1], [i + 1])["attributions"]
        assert_same_maps(together[i], alone[0])


def test_random_maps_know_neither_network_nor_face(cnn: nn.Module, dnn: nn.Module, faces: Faces) -> None:
    one = explain(cnn, "random", faces.images[:2], [0, 1], seed=7)["attributions"]
    np.testing.assert_array_equal(one, explain(dnn, "random", faces.images[2:4], [5, 5], seed=7)["attributions"])
    np.testing.assert_array_equal(one[1], np.random.default_rng((7, 1)).random((48, 48), np.float32))
    assert abs(one.mean() - 0.5) < 0.02

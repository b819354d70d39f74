from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fer_core import ConfigError
from fer_train.models import ARCHITECTURES, build_model, count_multiply_adds, count_parameters
from fer_train.models.int8_suitability import int8_suitability


def build(name: Any, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return build_model(name, mean=128.0, std=64.0, **arguments).eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_maps_pixels_to_seven_logits(name: str) -> None:
    assert build(name)(torch.zeros(3, 1, 48, 48)).shape == (3, 7)


def test_course_cnn_has_groups_of_two_two_three_convolutions_then_256_256_7() -> None:
    kinds = [type(layer) for layer in build("course-cnn").features]
    block = [nn.Conv2d, nn.ReLU]
    assert kinds == [*block * 2, nn.MaxPool2d, *block * 2, nn.MaxPool2d, *block * 3, nn.MaxPool2d]
    model = build("course-cnn")
    assert [layer.out_channels for layer in model.features if isinstance(layer, nn.Conv2d)] == [48] * 2 + [96] * 2 + [
        192
    ] * 3
    assert {layer.kernel_size for layer in model.features if isinstance(layer, nn.Conv2d)} == {(3, 3)}
    assert [layer.out_features for layer in model.classifier if isinstance(layer, nn.Linear)] == [256, 256, 7]
    assert [layer.p for layer in model.classifier if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


def test_course_dnn_is_2304_1024_512_256_7_with_dropout_three_tenths() -> None:
    linear = [layer for layer in build("course-dnn").modules() if isinstance(layer, nn.Linear)]
    assert [linear[0].in_features, *(layer.out_features for layer in linear)] == [2304, 1024, 512, 256, 7]
    assert {layer.p for layer in build("course-dnn").modules() if isinstance(layer, nn.Dropout)} == {0.3}


def test_the_course_networks_differ_by_at_most_a_tenth_in_parameters() -> None:
    cnn, dnn = (count_parameters(build(name)) for name in ("course-cnn", "course-dnn"))
    assert abs(cnn - dnn) / max(cnn, dnn) <= 0.10


def test_every_activation_is_its_own_module_and_not_in_place() -> None:
    for name in ARCHITECTURES:
        rectifiers = [layer for layer in build(name).modules() if isinstance(layer, nn.ReLU)]
        assert not any(layer.inplace for layer in rectifiers)
        calls = []
        hooks = [layer.register_forward_hook(lambda layer, *_, c=calls: c.append(id(layer))) for layer in rectifiers]
        model = build(name)
        hooks += [
            layer.register_forward_hook(lambda layer, *_, c=calls: c.append(id(layer)))
            for layer in model.modules()
            if isinstance(layer, nn.ReLU)
        ]
        model(torch.zeros(1, 1, 48, 48))
        assert len(calls) == len(set(calls)) == len(rectifiers)


def test_the_first_layer_standardizes_pixel_units() -> None:
    model = build("course-dnn")
    pixels = torch.rand(2, 1, 48, 48) * 255
    torch.testing.assert_close(model(pixels), model.classifier((pixels - 128.0) / 64.0))


@pytest.mark.parametrize("name", ["course-cnn", "course-dnn"])
def test_each_face_can_be_standardized_by_its_own_pixels(name: str) -> None:
    standardize = build(name, standardize="face").standardize
    pixels = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 255
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    variance = ((pixels - mean) ** 2).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(standardize(pixels), (pixels - mean) / (variance + 1).sqrt())
    torch.testing.assert_close(standardize.train()(pixels), standardize.eval()(pixels))


def test_light_and_contrast_tell_a_network_nothing_that_standardizes_each_face() -> None:
    model = build("course-cnn", standardize="face")
    pixels = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 255
    torch.testing.assert_close(model(pixels), model(pixels * 0.5 + 60), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(build("course-cnn")(pixels), build("course-cnn")(pixels * 0.5 + 60), atol=1e-4)


@pytest.mark.parametrize("level", [0, 9, 255])
def test_a_blank_face_standardized_by_itself_is_zero_and_has_gradients(level: int) -> None:
    model = build("course-cnn", standardize="face")
    pixels = torch.full((1, 1, 48, 48), float(level), requires_grad=True)
    assert not model.standardize(pixels).any()
    model(pixels)[0, 0].backward()
    assert pixels.grad.isfinite().all()


def test_another_standardization_is_refused() -> None:
    with pytest.raises(ConfigError, match="standardize: expected one of training, face, found 'batch'"):
        build("course-dnn", standardize="batch")


@pytest.mark.parametrize(
    ("name", "argument", "value", "expected"),
    [
        ("course-cnn", "batch_norm", "false", "true or false"),
        ("compact", "space_to_depth", "false", "true or false"),
        ("compact", "space_to_depth", 1, "true or false"),
        ("course-cnn", "hidden", True, "an integer of at least 1"),
    ],
)
def test_a_text_is_no_flag_and_a_flag_no_size(name: str, argument: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{argument}: expected {expected}, found {value!r}$"):
        build(name, **{argument: value})


def test_batch_norm_is_optional() -> None:
    def norms(model: Any) -> Any:
        return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())

    assert (norms(build("course-cnn")), norms(build("course-cnn", batch_norm=True))) == (0, 7)


def test_multiply_adds_agree_with_a_count_by_hand() -> None:
    model = build("course-cnn", widths=(2, 3, 4), hidden=5)
    convolutions = 48 * 48 * 9 * (1 * 2 + 2 * 2) + 24 * 24 * 9 * (2 * 3 + 3 * 3) + 12 * 12 * 9 * (3 * 4 + 4 * 4 + 4 * 4)
    assert count_multiply_adds(model) == convolutions + 4 * 36 * 5 + 5 * 5 + 5 * 7
    assert not any(module._forward_hooks for module in model.modules())


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"architecture: expected one of course-cnn, course-dnn, residual, residual-small, compact, found 'vgg'",
    ):
        build("vgg")


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(ConfigError, match=r"architecture course-dnn: .*depth"):
        build("course-dnn", depth=3)


@pytest.mark.parametrize(
    ("model", "name"),
    [("course-cnn", "hidden"), ("residual", "squeeze"), ("residual-small", "stem_stride"), ("residual", "stem_kernel")],
)
def test_sizes_of_a_network_are_one_at_least(model: str, name: str) -> None:
    for size in (0, -1):
        with pytest.raises(ConfigError, match=f"^{name}: expected an integer of at least 1, found {size}$"):
            build(model, **{name: size})


@pytest.mark.parametrize("widths", [(1, 2), (0, 1, 2)])
def test_widths_that_make_no_network_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="widths: expected three numbers of channels"):
        build("course-cnn", widths=widths)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_int8_kernels_take_is_counted_as_the_multiply_adds_are(name: str) -> None:
    model = build(name)
    assert int8_suitability(model).multiply_adds == count_multiply_adds(model)
    assert not model.training


def test_int8_suitability_agrees_with_a_count_by_hand() -> None:
    found = int8_suitability(build("course-cnn", widths=(2, 3, 4), hidden=5, batch_norm=True))
    convolved = 48 * 48 * (2 + 2) + 24 * 24 * (3 + 3) + 12 * 12 * (4 + 4 + 4)
    pooled = 24 * 24 * 2 + 12 * 12 * 3 + 6 * 6 * 4
    assert (found.batch_norms, found.folded, found.full) == (7, 7, found.multiply_adds)
    assert (found.fused, found.values) == (convolved + 5 + 5 + 7, convolved + 5 + 5 + 7 + pooled)
    assert found.to_text().startswith("100% of multiply-adds in full int8 kernels, 7 of 7 BatchNorms fold")


class _Unfriendly(nn.Module):
    """A depthwise convolution, a BatchNorm behind a pool, and a shortcut around both."""

    def __init__(self) -> None:
        super().__init__()
        self.standardize = nn.Identity()
        self.full = nn.Conv2d(1, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Any) -> Any:
        features = self.full(self.standardize(images))
        return features + self.norm(self.pool(self.depthwise(features)))


def test_depthwise_convolutions_unfolded_norms_and_shortcuts_count_against_an_architecture() -> None:
    found = int8_suitability(_Unfriendly())
    size = 48 * 48 * 4
    assert (found.multiply_adds, found.full) == (2 * size * 9, size * 9)
    assert (found.batch_norms, found.folded) == (1, 0)
    assert (found.fused, found.values) == (2 * size, 5 * size)
    assert found.to_text() == ("50% of multiply-adds in full int8 kernels, 0 of 1 BatchNorms fold, 40% of values fused")


def test_a_share_of_dropped_branches_is_named_as_it_was_given() -> None:
    with pytest.raises(ConfigError, match=r"^stochastic_depth: expected 0 to below 1, found 5$"):
        build_model("residual-small", mean=0.0, std=1.0, stochastic_depth=5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_registry_states_the_sizes_of_its_networks(name: str) -> None:
    model = build(name)
    stated = ARCHITECTURES[name]
    assert (stated.parameters, stated.multiply_adds) == (count_parameters(model), count_multiply_adds(model))

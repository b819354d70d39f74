from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from tiny_models import CNN, DNN, assert_same_maps, enliven, make_network
from torch import nn

from fer_core import ConfigError, DataError, Faces, ModelError
from fer_explain.attribution import (
    METHODS,
    AttributionConfig,
    Batch,
    attributions_of,
    batch_size_for,
    find_method,
    resolve_targets,
)
from fer_explain.attribution.methods import gradients
from fer_explain.attribution.registry import methods_table


@pytest.fixture
def cnn() -> nn.Module:
    return enliven(make_network("course-cnn", CNN))


@pytest.fixture
def dnn() -> nn.Module:
    return enliven(make_network("course-dnn", DNN))


def saliency(model: nn.Module, images: np.ndarray, targets: np.ndarray, **options: Any) -> np.ndarray:
    return attributions_of(model, METHODS["saliency"], images, targets, **options)["attributions"]


def plain_saliency(model: nn.Module, faces: Faces, targets: np.ndarray) -> np.ndarray:
    maps = []
    for image, target in zip(faces.images, targets, strict=True):
        pixels = torch.from_numpy(image).float()[None, None].requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels)[0, target], pixels)
        maps.append(gradient[0, 0].abs().numpy())
    return np.stack(maps)


def count_hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_saliency_is_the_plain_gradient_at_every_batch_size(cnn: nn.Module, faces: Faces, batch_size: int) -> None:
    targets = np.arange(len(faces)) % 7
    found = saliency(cnn, faces.images, targets, batch_size=batch_size)
    assert found.dtype == np.float32
    assert_same_maps(found, plain_saliency(cnn, faces, targets))


def test_saliency_of_a_dense_network_is_the_plain_gradient(dnn: nn.Module, faces: Faces) -> None:
    assert faces.labels is not None
    found = saliency(dnn, faces.images, faces.labels)
    assert_same_maps(found, plain_saliency(dnn, faces, faces.labels))


def test_a_map_is_explained_in_evaluation_mode_and_each_module_gets_its_own_mode_back(
    cnn: nn.Module, faces: Faces
) -> None:
    expected = saliency(cnn, faces.images, faces.require_labels())
    cnn.train()
    cnn.get_submodule("features").eval()
    modes = [module.training for module in cnn.modules()]
    found = saliency(cnn, faces.images, faces.require_labels())
    np.testing.assert_array_equal(found, expected)
    assert [module.training for module in cnn.modules()] == modes


def test_nothing_stays_on_the_network(cnn: nn.Module, faces: Faces) -> None:
    next(cnn.parameters()).requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in cnn.parameters()]
    saliency(cnn, faces.images, faces.require_labels())
    assert count_hooks(cnn) == 0
    assert all(parameter.grad is None for parameter in cnn.parameters())
    assert [parameter.requires_grad for parameter in cnn.parameters()] == wanted


def test_nothing_stays_on_the_network_after_an_error(
    cnn: nn.Module, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(batch: Batch) -> dict[str, torch.Tensor]:
        Saliency(batch.model).attribute(batch.images, target=batch.targets)
        raise RuntimeError("half way")

    cnn.train()
    monkeypatch.setattr(gradients, "saliency", fail)
    with pytest.raises(RuntimeError, match="half way"):
        saliency(cnn, faces.images, faces.require_labels())
    assert cnn.training
    assert count_hooks(cnn) == 0
    assert all(parameter.grad is None for parameter in cnn.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_constant_faces_and_zero_weights_give_finite_maps(cnn: nn.Module, method: str) -> None:
    images = np.repeat(np.array([0, 128], np.uint8), 2304).reshape(2, 48, 48)
    targets = np.zeros(2, np.int64)
    assert np.isfinite(attributions_of(cnn, METHODS[method], images, targets)["attributions"]).all()
    for parameter in cnn.parameters():
        parameter.data.zero_()
    if method != "random":
        np.testing.assert_array_equal(attributions_of(cnn, METHODS[method], images, targets)["attributions"], 0)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "random"])
def test_weights_that_are_not_finite_are_refused(cnn: nn.Module, faces: Faces, method: str) -> None:
    cnn.get_submodule("classifier.7").weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match=f"{method}: attributions contain NaN or Inf"):
        attributions_of(cnn, METHODS[method], faces.images[:2], np.zeros(2, np.int64))


@pytest.mark.parametrize("method", METHODS)
def test_no_method_leaves_anything_on_the_network(cnn: nn.Module, faces: Faces, method: str) -> None:
    cnn.train()
    own = [set(vars(module)) for module in cnn.modules()]
    attributions_of(cnn, METHODS[method], faces.images[:2], np.zeros(2, np.int64))
    assert count_hooks(cnn) == 0
    assert [set(vars(module)) for module in cnn.modules()] == own
    assert all(module.training for module in cnn.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in cnn.parameters())


@pytest.mark.parametrize("method", ["guided-backprop", "grad-cam", "deeplift"])
def test_a_method_that_fails_inside_the_network_leaves_nothing_on_it(
    cnn: nn.Module, faces: Faces, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, features: torch.Tensor) -> torch.Tensor:
            return features.clone()

        @staticmethod
        def backward(_: Any, __: torch.Tensor) -> None:
            raise RuntimeError("half way")

    own = [set(vars(module)) for module in cnn.modules()]
    with monkeypatch.context() as patch:
        patch.setattr(cnn.get_submodule("classifier.0"), "forward", lambda features: Broken.apply(features).flatten(1))
        with pytest.raises(RuntimeError, match="half way"):
            attributions_of(cnn, METHODS[method], faces.images[:2], np.zeros(2, np.int64))
    assert count_hooks(cnn) == 0
    assert [set(vars(module)) for module in cnn.modules()] == own
    assert all(parameter.requires_grad for parameter in cnn.parameters())


def test_no_faces_give_no_maps(cnn: nn.Module) -> None:
    found = saliency(cnn, np.empty((0, 48, 48), np.uint8), np.empty(0, np.int64))
    assert found.shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("targets", "match"),
    [
        (np.zeros(3, np.int64), r"expected int64 \(21,\), one class per face, found int64 \(3,\)"),
        (np.zeros(21, np.int32), r"expected int64 \(21,\), one class per face, found int32"),
        (np.full(21, 7), r"expected classes in 0\.\.6, found 7\.\.7"),
        (np.full(21, -1), r"expected classes in 0\.\.6, found -1\.\.-1"),
    ],
)
def test_targets_that_are_no_classes_are_refused(cnn: nn.Module, faces: Faces, targets: np.ndarray, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        saliency(cnn, faces.images, targets)


def test_a_batch_of_nothing_is_refused(cnn: nn.Module, faces: Faces) -> None:
    with pytest.raises(ConfigError, match="batch_size: expected at least 1, found 0"):
        saliency(cnn, faces.images, faces.require_labels(), batch_size=0)


def test_every_method_says_what_a_reader_needs() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.paper
        assert method.needs
        assert method.sign


def test_every_method_names_its_function() -> None:
    for name, method in METHODS.items():
        assert method.function.__name__ == name.replace("-", "_")
        assert (method.function.__doc__ or "").strip()


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"method: expected one of saliency, input-x-gradient, .*, random, found 'lime'"
    ):
        find_method("lime")


def test_targets_are_predicted_true_or_named(faces: Faces) -> None:
    logits = np.eye(7, dtype=np.float32)[[2, 5]]
    two = faces.take([0, 1])
    names = ("a", "b", "c", "d", "e", "f", "g")
    assert resolve_targets("predicted", logits, two, names).tolist() == [2, 5]
    assert resolve_targets("true", logits, two, names).tolist() == two.require_labels().tolist()
    assert resolve_targets("d", logits, two, names).tolist() == [3, 3]
    with pytest.raises(ConfigError, match=r"target: expected predicted, true or one of a, b, .*, found 'z'"):
        resolve_targets("z", logits, two, names)
    with pytest.raises(DataError, match="has no labels"):
        resolve_targets("true", logits, replace(two, labels=None), names)


@pytest.mark.parametrize("method", METHODS)
def test_every_batch_size_and_order_gives_the_maps_of_one_by_one(cnn: nn.Module, faces: Faces, method: str) -> None:
    few, rows = faces.images[:7], faces.rows[:7]
    targets = np.arange(7)
    settings = AttributionConfig(samples=5) if "samples" in METHODS[method].uses else AttributionConfig()
    if method == "occlusion":
        settings = AttributionConfig(window=16, stride=16)

    def found(order: np.ndarray, batch_size: int) -> np.ndarray:
        maps = attributions_of(
            cnn,
            METHODS[method],
            few[order],
            targets[order],
            rows=rows[order],
            config=settings,
            batch_size=batch_size,
        )["attributions"]
        assert maps.dtype == np.float32
        return maps[np.argsort(order)]

    in_order = np.arange(7)
    expected = found(in_order, 1)
    others = [found(in_order, batch_size) for batch_size in (2, 7, 64)]
    others.append(found(np.array([3, 0, 6, 5, 1, 2, 4]), 64))
    for maps in others:
        if settings.samples == 5:
            # A sampled point may lie so close to a kink of the network that rounding chooses its side.
            assert (np.abs(maps - expected).sum((1, 2)) < 1e-2 * np.abs(expected).sum((1, 2))).all()
        else:
            assert_same_maps(maps, expected)


@pytest.mark.parametrize("method", ["smoothgrad", "gradient-shap", "random"])
def test_chance_follows_from_seed_and_row(cnn: nn.Module, faces: Faces, method: str) -> None:
    def found(row: int, seed: int) -> np.ndarray:
        settings = AttributionConfig(seed=seed)
        place = {"rows": np.array([row]), "config": settings}
        return attributions_of(cnn, METHODS[method], faces.images[:1], np.zeros(1, np.int64), **place)["attributions"]

    np.testing.assert_array_equal(found(5, 1), found(5, 1))
    assert np.abs(found(5, 1) - found(6, 1)).max() > 0
    assert np.abs(found(5, 1) - found(5, 2)).max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_method_costs_the_passes_that_it_states(cnn: nn.Module, faces: Faces, method: str) -> None:
    forward, backward = [], []

    def count(_: nn.Module, __: object, logits: torch.Tensor) -> None:
        forward.append(len(logits))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: backward.append(len(gradient)))

    samples = 6 if METHODS[method].sample_passes != (0, 0) else None
    settings = AttributionConfig(samples=samples)

    def passes(n: int) -> tuple[int, int]:
        forward.clear()
        backward.clear()
        attributions_of(cnn, METHODS[method], faces.images[:n], np.zeros(n, np.int64), config=settings)
        return sum(forward), sum(backward)

    with cnn.get_submodule("classifier").register_forward_hook(count):
        (one_forward, one_backward), (four_forward, four_backward) = passes(1), passes(4)
    found = (four_forward - one_forward) / 3, (four_backward - one_backward) / 3
    fixed, per_sample = METHODS[method].passes, METHODS[method].sample_passes
    assert found == tuple(a + (samples or 0) * b for a, b in zip(fixed, per_sample, strict=True))


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.signed])
def test_a_method_without_a_sign_is_never_negative(cnn: nn.Module, faces: Faces, method: str) -> None:
    found = attributions_of(cnn, METHODS[method], faces.images[:7], np.arange(7))["attributions"]
    assert found.min() >= 0
    assert found.max() > 0


def test_a_signed_method_is_of_both_signs(cnn: nn.Module, faces: Faces) -> None:
    for method in (method for method in METHODS.values() if method.signed and method.name != "guided-grad-cam"):
        found = attributions_of(cnn, method, faces.images[:3], np.zeros(3, np.int64))["attributions"]
        assert found.min() < 0 < found.max(), method.name


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_probabilities_are_explained_where_they_are_asked_for(cnn: nn.Module, faces: Faces, temperature: float) -> None:
    targets = np.array([2, 5])
    settings = AttributionConfig(of="probabilities", temperature=temperature)
    found = attributions_of(cnn, METHODS["saliency"], faces.images[:2], targets, config=settings)["attributions"]
    for image, target, map_ in zip(faces.images, targets, found, strict=False):
        pixels = torch.from_numpy(image).float()[None, None].requires_grad_()
        (gradient,) = torch.autograd.grad((cnn(pixels) / temperature).softmax(1)[0, target], pixels)
        assert_same_maps(map_, gradient[0, 0].abs())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"samples": 0}, "samples: expected 1 to 10,000, found 0"),
        ({"max_samples": 15}, "max_samples: expected 16 to 10,000, found 15"),
        ({"samples": 8, "max_samples": 64}, "max_samples: has no effect on a fixed number of samples"),
        ({"tolerance": -0.1}, "tolerance: expected 0 to 1, found -0.1"),
        ({"standard_error": 11}, "standard_error: expected 0 to 10, found 11"),
        ({"baseline": 256.0}, "baseline: expected 0 to 255, found 256.0"),
        ({"window": 49}, "window: expected 1 to 48, found 49"),
        ({"stride": 9}, "stride: expected at most the window, 8, found 9"),
        ({"noise": -0.1}, "noise: expected 0 to 10, found -0.1"),
        ({"of": "ranks"}, "of: expected one of logits, probabilities, found 'ranks'"),
    ],
)
def test_a_setting_outside_its_range_is_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        AttributionConfig(**settings)


def test_a_setting_that_is_nothing_to_the_method_is_refused(cnn: nn.Module, faces: Faces) -> None:
    with pytest.raises(ConfigError, match=r"samples: not a setting of saliency, which uses `of`$"):
        attributions_of(
            cnn, METHODS["saliency"], faces.images, faces.require_labels(), config=AttributionConfig(samples=3)
        )


def test_the_batch_grows_with_the_memory_and_shrinks_with_what_a_method_keeps(cnn: nn.Module) -> None:
    small, large = (batch_size_for(cnn, METHODS["saliency"], memory_mb) for memory_mb in (4, 8))
    assert 1 <= small < large <= 2 * small + 1
    assert batch_size_for(cnn, METHODS["deeplift"], 8) < large
    for memory_mb in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ConfigError, match=r"^memory_mb: expected a positive number of MiB, found "):
            batch_size_for(cnn, METHODS["saliency"], memory_mb=memory_mb)
    with pytest.raises(ConfigError, match=r"memory_mb: saliency needs 0\.\d MiB for one pass, found 0\.01"):
        batch_size_for(cnn, METHODS["saliency"], 0.01)


def test_the_documentation_shows_the_registry() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "attribution-methods.md"
    assert methods_table() in page.read_text(encoding="utf-8")

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import nn

from fer_core import ConfigError, DataError, Faces, ModelError
from fer_explain.attribution import METHODS, attribute, attributions_of, find_method, resolve_targets, saliency


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
    np.testing.assert_allclose(found, plain_saliency(cnn, faces, targets), atol=1e-6)


def test_saliency_of_a_dense_network_is_the_plain_gradient(dnn: nn.Module, faces: Faces) -> None:
    assert faces.labels is not None
    found = saliency(dnn, faces.images, faces.labels)
    np.testing.assert_allclose(found, plain_saliency(dnn, faces, faces.labels), atol=1e-6)


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


def test_nothing_stays_on_the_network_after_an_error(cnn: nn.Module, faces: Faces) -> None:
    def fail(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        Saliency(model).attribute(images, target=targets)
        raise RuntimeError("half way")

    cnn.train()
    with pytest.raises(RuntimeError, match="half way"):
        attributions_of(cnn, replace(METHODS["saliency"], function=fail), faces.images, faces.require_labels())
    assert cnn.training
    assert count_hooks(cnn) == 0
    assert all(parameter.grad is None for parameter in cnn.parameters())


@pytest.mark.parametrize("gray", [0, 127, 255])
def test_constant_faces_and_zero_weights_give_finite_maps(cnn: nn.Module, gray: int) -> None:
    images = np.full((3, 48, 48), gray, np.uint8)
    targets = np.zeros(3, np.int64)
    assert np.isfinite(saliency(cnn, images, targets)).all()
    for parameter in cnn.parameters():
        parameter.data.zero_()
    np.testing.assert_array_equal(saliency(cnn, images, targets), 0)


def test_weights_that_are_not_finite_are_refused(cnn: nn.Module, faces: Faces) -> None:
    next(cnn.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="saliency: found values that are not finite"):
        saliency(cnn, faces.images, faces.require_labels())


def test_no_faces_give_no_maps(cnn: nn.Module) -> None:
    found = saliency(cnn, np.empty((0, 48, 48), np.uint8), np.empty(0, np.int64))
    assert found.shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("targets", "match"),
    [
        (np.zeros(3, np.int64), r"expected int64 \(21,\), one class a face, found int64 \(3,\)"),
        (np.zeros(21, np.int32), r"expected int64 \(21,\), one class a face, found int32"),
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


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="method: expected one of saliency, found 'lime'"):
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


def test_attribute_writes_maps_of_the_rows_asked_for(
    exports: Path, data: Path, faces: Faces, cnn: nn.Module, tmp_path: Path
) -> None:
    written = attribute(data, exports, "saliency", tmp_path / "maps.npz", target="true", rows=(5, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]
    found = np.load(written)
    assert found["rows"].tolist() == [5, 2]
    chosen = faces.take([3, 0])
    np.testing.assert_array_equal(found["targets"], chosen.require_labels())
    np.testing.assert_allclose(found["attributions"], plain_saliency(cnn, chosen, found["targets"]), atol=1e-6)
    assert found["attributions"].dtype == np.float32
    assert found["logits"].shape == (2, 7)
    assert str(found["method"]) == "saliency"
    assert len(str(found["weights_sha256"])) == 64


def test_attribute_leaves_nothing_after_an_error(exports: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a row number in 2\.\.22, where 21 faces are, found 23"):
        attribute(data, exports, "saliency", tmp_path / "maps.npz", rows=(2, 23))
    assert not list(tmp_path.iterdir())

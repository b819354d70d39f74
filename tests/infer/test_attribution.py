"""Attribution methods on the gradient graph, compared with known answers and slow references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_core import ConfigError, Faces
from fer_infer import SaliencyModel, attributions_of
from fer_infer.attribution.path_integral import gauss_legendre
from fer_infer.attribution.sampling import relative_errors
from fer_infer.config import MAP_METHODS, MapConfig

EXPORTS = Path(__file__).resolve().parents[2] / "exports"


@pytest.fixture(scope="module")
def model() -> SaliencyModel:
    return SaliencyModel(EXPORTS / "compact", device="cpu")


@pytest.fixture(scope="module")
def images(drawn_faces: Faces) -> NDArray[np.uint8]:
    return drawn_faces.images[:4]


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_the_nodes_integrate_polynomials_exactly(nodes: int) -> None:
    places, weights = gauss_legendre(nodes)
    for degree in range(2 * nodes):
        assert (weights * places**degree).sum() == pytest.approx(1 / (degree + 1))
    assert (weights * places ** (2 * nodes)).sum() != pytest.approx(1 / (2 * nodes + 1))


def test_integrated_gradients_equal_a_loop_over_single_faces_and_nodes(
    model: SaliencyModel, images: NDArray[np.uint8]
) -> None:
    found = attributions_of(model, images, 3, config=MapConfig(method="integrated-gradients", samples=5))
    mean = model.card.standardization["mean"]
    places, weights = np.polynomial.legendre.leggauss(5)
    for number, image in enumerate(images):
        gradient = np.zeros((48, 48))
        for place, weight in zip((1 + places) / 2, weights / 2, strict=True):
            point = mean + place * (image - mean)
            offsets = (point - image).astype(np.float32)[None]
            gradient += weight * model.explain(image[None], 3, offsets=offsets).saliency[0]
        expected = gradient * (image - mean)
        np.testing.assert_allclose(found.attributions[number], expected, atol=1e-5 * np.abs(expected).max())
    assert found.samples is not None
    assert found.samples.tolist() == [5] * 4


def test_integrated_gradients_stop_when_they_are_complete(model: SaliencyModel, images: NDArray[np.uint8]) -> None:
    found = attributions_of(model, images, config=MapConfig(method="integrated-gradients", baseline=0, tolerance=0.05))
    assert found.errors is not None
    assert found.deltas is not None
    assert found.samples is not None
    black = model.explain(np.zeros((1, 48, 48), np.uint8)).logits[0]
    differences = found.logits.max(axis=1) - black[found.targets]
    sums = found.attributions.sum(axis=(1, 2))
    np.testing.assert_allclose(sums - differences, found.deltas, atol=1e-4)
    np.testing.assert_allclose(np.abs(found.deltas / differences), found.errors, rtol=1e-2, atol=1e-5)
    assert set(found.samples.tolist()) <= {8, 16, 32, 64, 128, 256, 512}
    assert (found.errors[found.samples < 512] <= 0.05).all()
    alone = attributions_of(
        model, images[1:2], config=MapConfig(method="integrated-gradients", baseline=0, tolerance=0.05)
    )
    assert alone.samples is not None
    assert alone.samples[0] == found.samples[1]


def test_smoothgrad_equals_a_loop_over_noisy_copies(model: SaliencyModel, images: NDArray[np.uint8]) -> None:
    rows = np.array([7, 3, 9, 2])
    config = MapConfig(method="smoothgrad", samples=6, noise=0.2, seed=5)
    found = attributions_of(model, images, 1, rows=rows, config=config)
    for number, (image, row) in enumerate(zip(images, rows.tolist(), strict=True)):
        generator = np.random.default_rng((5, row))
        spread = np.float32(0.2) * np.float32(int(image.max()) - int(image.min()))
        maps = [
            model.explain(
                image[None], 1, offsets=np.float32(spread) * generator.standard_normal((1, 48, 48), np.float32)
            )
            for _ in range(6)
        ]
        expected = np.abs(np.mean([one.saliency[0] for one in maps], axis=0))
        np.testing.assert_allclose(found.attributions[number], expected, atol=1e-5 * expected.max())


def test_smoothgrad_stops_at_the_standard_error(model: SaliencyModel, images: NDArray[np.uint8]) -> None:
    found = attributions_of(model, images, config=MapConfig(method="smoothgrad", standard_error=0.6, max_samples=40))
    assert found.errors is not None
    assert found.samples is not None
    assert ((found.errors <= 0.6) | (found.samples == 40)).all()
    assert (found.samples % 8 == 0).all()


def test_relative_errors_are_those_of_a_direct_computation() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(1, 2, (9, 2, 48, 48)).astype(np.float32)
    found = relative_errors(samples.sum(0), np.square(samples, dtype=float).sum((0, 2, 3)), np.array([9, 9]))
    for face in range(2):
        of_face = samples[:, face].astype(np.float64)
        variance = of_face.var(axis=0, ddof=1).sum() / 9
        expected = np.sqrt(variance / (np.square(of_face.mean(axis=0)).sum() - variance))
        assert found[face] == pytest.approx(expected, rel=1e-5)
    one = relative_errors(samples[0], np.square(samples[0], dtype=float).sum((1, 2)), np.array([1, 1]))
    assert np.isinf(one).all()


def test_equal_samples_have_no_error() -> None:
    equal = np.ones((1, 48, 48), np.float32)
    assert relative_errors(4 * equal, np.array([4 * 2304.0]), np.array([4])).tolist() == [0]


def test_input_x_gradient_multiplies_and_saliency_takes_the_absolute_value(
    model: SaliencyModel, images: NDArray[np.uint8]
) -> None:
    signed = model.explain(images).saliency
    np.testing.assert_array_equal(attributions_of(model, images).attributions, np.abs(signed))
    product = attributions_of(model, images, config=MapConfig(method="input-x-gradient")).attributions
    np.testing.assert_array_equal(product, signed * images)


@pytest.mark.parametrize("method", MAP_METHODS)
def test_no_faces_give_no_maps(model: SaliencyModel, method: str) -> None:
    found = attributions_of(model, np.empty((0, 48, 48), np.uint8), config=MapConfig(method=method))
    assert (found.attributions.shape, found.logits.shape, found.rows.shape) == ((0, 48, 48), (0, 7), (0,))


def test_grad_cam_of_a_network_without_convolutions_is_refused(images: NDArray[np.uint8]) -> None:
    dense = SaliencyModel(EXPORTS / "course-dnn", device="cpu")
    with pytest.raises(ConfigError, match=r"^method: Grad-CAM needs a convolution; the network has none$"):
        attributions_of(dense, images, config=MapConfig(method="grad-cam"))


def test_wrong_row_numbers_are_refused(model: SaliencyModel, images: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match=r"^rows: expected \(4,\), one row number per face, found \(3,\)$"):
        attributions_of(model, images, rows=np.arange(3))

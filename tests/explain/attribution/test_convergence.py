"""Methods that average gradients stop when their maps are within the stated error, and say so when they are not."""

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Occlusion
from tiny_models import CNN, DNN, assert_same_maps, enliven, make_network
from torch import nn

from fer_core import ConfigError, Faces
from fer_explain.attribution import METHODS, AttributionConfig, attributions_of, missed_shares, unfinished_maps
from fer_explain.attribution.convergence import error_text
from fer_infer.attribution.path_integral import NODES, PANELS, gauss_legendre
from fer_train.models.layers import Standardize
from fer_train.prediction import predict_logits

MEAN, STD = 128.0, 64.0
AVERAGES = ("integrated-gradients", "smoothgrad", "gradient-shap")


@pytest.fixture
def cnn() -> nn.Module:
    return enliven(make_network("course-cnn", CNN))


@pytest.fixture
def dnn() -> nn.Module:
    return enliven(make_network("course-dnn", DNN))


class Power(nn.Module):
    """Two classes: the mean standardized gray level to a power, and zero."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.standardize = Standardize(MEAN, STD)
        self.degree = degree

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = self.standardize(images).mean((1, 2, 3)) ** self.degree
        return torch.stack([mean, torch.zeros_like(mean)], dim=1)


class Steps(nn.Module):
    """One class: a staircase in the mean gray level, whose gradient is zero almost everywhere, plus a gentle slope."""

    def __init__(self) -> None:
        super().__init__()
        self.standardize = Standardize(MEAN, STD)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = self.standardize(images).mean((1, 2, 3))
        return (torch.floor(1000 * mean) / 10 + 1e-3 * mean)[:, None]


def explain(
    model: nn.Module, method: str, images: np.ndarray, targets: Any = None, **options: Any
) -> dict[str, np.ndarray]:
    names = ("rows", "batch_size", "logits", "advance")
    given = {name: options.pop(name) for name in names if name in options}
    chosen = np.zeros(len(images), np.int64) if targets is None else np.asarray(targets, np.int64)
    return attributions_of(model, METHODS[method], images, chosen, config=AttributionConfig(**options), **given)


@pytest.mark.parametrize("nodes", [1, 2, 5, 32])
def test_gauss_legendre_nodes_integrate_polynomials_of_twice_their_number_exactly(nodes: int) -> None:
    places, weights = gauss_legendre(nodes)
    for degree in range(2 * nodes):
        assert weights @ places**degree == pytest.approx(1 / (degree + 1), rel=1e-12)
    assert abs(weights @ places ** (2 * nodes) - 1 / (2 * nodes + 1)) > 1e-25


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_power_needs_half_as_many_nodes_as_its_degree(nodes: int) -> None:
    images = np.stack([np.full((48, 48), level, np.uint8) for level in (250, 40)])
    exact = explain(Power(2 * nodes), "integrated-gradients", images, samples=nodes)
    np.testing.assert_allclose(exact["errors"], 0, atol=1e-5)
    short = explain(Power(2 * nodes + 2), "integrated-gradients", images, samples=nodes)
    assert short["errors"].min() > 0.01
    assert exact["samples"].tolist() == [nodes] * 2


@pytest.mark.parametrize("nodes", [8, 33])
def test_a_fixed_number_of_nodes_gives_the_map_of_captum(cnn: nn.Module, faces: Faces, nodes: int) -> None:
    images = torch.from_numpy(faces.images[:4]).float()[:, None]
    targets = torch.tensor([3, 0, 5, 1])
    captum = IntegratedGradients(cnn).attribute(images, MEAN, target=targets, n_steps=nodes, method="gausslegendre")
    found = explain(cnn, "integrated-gradients", faces.images[:4], targets, samples=nodes, batch_size=5)
    scale = captum.detach().abs().amax((1, 2, 3)).numpy()
    assert (np.abs(found["attributions"] - captum[:, 0].detach().numpy()).max((1, 2)) < 1e-5 * scale).all()


def test_integrated_gradients_of_linear_and_cubic_models_finish_at_the_first_look(faces: Faces) -> None:
    torch.manual_seed(1)
    linear = enliven(nn.Sequential(Standardize(MEAN, STD), nn.Flatten(), nn.Linear(2304, 3))).eval()
    for model in (linear, Power(1), Power(2 * NODES)):
        found = explain(model, "integrated-gradients", faces.images[:3])
        assert found["samples"].tolist() == [PANELS * NODES] * 3
        np.testing.assert_allclose(found["errors"], 0, atol=1e-4)


def test_integrated_gradients_go_on_until_the_sum_is_within_the_tolerance(cnn: nn.Module, faces: Faces) -> None:
    def found(**settings: Any) -> dict[str, np.ndarray]:
        return explain(cnn, "integrated-gradients", faces.images[:4], np.arange(4), **settings)

    loose, strict, fine = found(tolerance=0.2), found(tolerance=0.005, max_samples=2000), found(samples=600)
    assert loose["errors"].max() <= 0.2
    assert strict["errors"].max() <= 0.005
    assert (strict["samples"] > loose["samples"]).all()
    assert len(set(strict["samples"].tolist())) > 1  # each face has its own number
    for each in (loose, strict):
        np.testing.assert_allclose(missed_shares(each["attributions"], each["deltas"]), each["errors"], rtol=1e-3)
    of_loose, of_strict = (
        np.linalg.norm(each["attributions"] - fine["attributions"], axis=(1, 2)) for each in (loose, strict)
    )
    assert (of_strict < 0.7 * of_loose).all()
    assert (of_strict < 0.1 * np.linalg.norm(fine["attributions"], axis=(1, 2))).all()


def test_a_face_that_cannot_become_complete_uses_its_samples_and_is_unfinished(faces: Faces) -> None:
    settings = AttributionConfig(max_samples=48)
    found = explain(Steps(), "integrated-gradients", faces.images[:3], max_samples=48)
    assert found["samples"].max() <= 48
    assert found["samples"].min() > 48 - 2 * NODES
    assert (found["errors"] > 0.9).all()
    assert unfinished_maps(METHODS["integrated-gradients"], settings, found).tolist() == [True] * 3
    assert error_text(METHODS["integrated-gradients"], float(found["errors"][0])) == "sum off by 100%"


def test_a_face_without_any_difference_has_no_error(cnn: nn.Module) -> None:
    found = explain(cnn, "integrated-gradients", np.full((1, 48, 48), 128, np.uint8), baseline=128.0)
    np.testing.assert_array_equal(found["attributions"], 0)
    assert found["errors"].tolist() == [0.0]


class Noisy(nn.Module):
    """A linear class plus half the squared standardized pixels, whose gradient at a noisy copy is known."""

    def __init__(self, curvature: float) -> None:
        super().__init__()
        self.standardize = Standardize(0.0, 1.0)
        self.weights = nn.Parameter(torch.linspace(-1, 1, 2304).reshape(1, 1, 48, 48))
        self.curvature = curvature

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.standardize(images)
        return (self.weights * values + self.curvature / 2 * values**2).sum((1, 2, 3))[:, None]


@pytest.mark.parametrize("curvature", [0.003, 0.01])
def test_the_standard_error_is_that_of_noise_with_known_variance(curvature: float) -> None:
    image = np.zeros((1, 48, 48), np.uint8)
    image[0, 0, 0] = 200  # range 200, so the noise has a standard deviation of 30
    found = explain(Noisy(curvature), "smoothgrad", image, samples=40)
    expected = np.linspace(-1, 1, 2304)
    expected[0] += 200 * curvature
    relative = np.sqrt(2304 / 40) * 30 * curvature / np.linalg.norm(expected)
    assert found["errors"][0] == pytest.approx(relative, rel=0.05)


def test_samples_are_added_until_the_standard_error_is_small_enough() -> None:
    image = np.zeros((1, 48, 48), np.uint8)
    image[0, 0, 0] = 200
    for bound in (0.1, 0.05):
        found = explain(Noisy(0.01), "smoothgrad", image, standard_error=bound)
        number = int(found["samples"][0])
        assert found["errors"][0] <= bound
        assert number % 8 == 0
        before = explain(Noisy(0.01), "smoothgrad", image, samples=number - 8)
        assert before["errors"][0] > bound
        same = explain(Noisy(0.01), "smoothgrad", image, samples=number)
        np.testing.assert_array_equal(same["attributions"], found["attributions"])
        assert same["errors"] == found["errors"]


@pytest.mark.parametrize("method", ["smoothgrad", "gradient-shap"])
def test_the_standard_error_is_the_papers_formula_over_the_samples(cnn: nn.Module, faces: Faces, method: str) -> None:
    """From the means of 1, 2, ... samples follow the samples, since each draws the same first ones."""
    means = [explain(cnn, method, faces.images[:1], [2], samples=n) for n in range(1, 7)]
    assert means[0]["errors"].tolist() == [np.inf]
    if method == "smoothgrad":  # whose absolute value hides the mean
        return
    sums = [n * found["attributions"][0].astype(np.float64) for n, found in enumerate(means, 1)]
    drawn = np.diff(np.stack([np.zeros((48, 48)), *sums]), axis=0)
    mean = drawn.mean(axis=0)
    squared = ((drawn - mean) ** 2).sum() / (6 * 5)
    norm = (mean**2).sum() - squared
    expected = np.sqrt(squared / norm) if norm > 0 else np.inf
    assert means[-1]["errors"][0] == pytest.approx(expected, rel=1e-3)


def test_averages_without_noise_stop_at_the_first_look(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "smoothgrad", faces.images[:2], noise=0.0)
    assert found["samples"].tolist() == [8, 8]
    np.testing.assert_allclose(found["errors"], 0, atol=1e-3)


@pytest.mark.parametrize("method", AVERAGES)
def test_a_face_stops_at_the_same_number_in_every_batch(dnn: nn.Module, faces: Faces, method: str) -> None:
    targets, rows = np.arange(9) % 7, np.arange(100, 109)
    settings = {"max_samples": 128, **({"tolerance": 1e-3} if method == AVERAGES[0] else {"standard_error": 0.15})}
    together = explain(dnn, method, faces.images[:9], targets, rows=rows, **settings)
    split = explain(dnn, method, faces.images[:9], targets, rows=rows, batch_size=5, **settings)
    assert len(set(together["samples"].tolist())) > 1
    np.testing.assert_array_equal(together["samples"], split["samples"])
    for face in (8, 0, 4):
        own = slice(face, face + 1)
        alone = explain(dnn, method, faces.images[own], targets[own], rows=rows[own], **settings)
        assert alone["samples"] == together["samples"][own]
        assert_same_maps(alone["attributions"], together["attributions"][own], share=1e-3)
    again = explain(dnn, method, faces.images[:9], targets, rows=rows, **settings)
    for name, values in together.items():
        np.testing.assert_array_equal(again[name], values)


@pytest.mark.parametrize("method", [*AVERAGES, "occlusion"])
def test_faces_share_full_batches(cnn: nn.Module, faces: Faces, method: str) -> None:
    sizes = list[int]()
    with cnn.get_submodule("classifier").register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        settings = {"window": 16, "stride": 16} if method == "occlusion" else {"samples": 5}
        explain(cnn, method, faces.images[:7], batch_size=9, **settings)
    assert max(sizes) == 9
    full = {"integrated-gradients": 3, "smoothgrad": 3, "gradient-shap": 6, "occlusion": 7}
    assert sizes.count(9) == full[method]


@pytest.mark.parametrize("method", [*AVERAGES, "occlusion"])
def test_progress_counts_each_face_once(cnn: nn.Module, faces: Faces, method: str) -> None:
    counted = list[int]()
    explain(
        cnn,
        method,
        faces.images[:7],
        batch_size=9,
        advance=lambda n, note="": counted.append(n),
        **({} if method == "occlusion" else {"max_samples": 20}),
    )
    assert sum(counted) == 7
    assert min(counted) > 0


@pytest.mark.parametrize("method", ["integrated-gradients", "gradient-shap", "occlusion"])
@pytest.mark.parametrize("of", ["logits", "probabilities"])
def test_known_logits_give_the_same_maps_with_a_pass_less(cnn: nn.Module, faces: Faces, method: str, of: str) -> None:
    passed = list[int]()
    logits = predict_logits(cnn, faces.images[:3])
    settings: dict[str, Any] = {"of": of, "temperature": 0.7}
    if method != "occlusion":
        settings["samples"] = 4
    with cnn.get_submodule("classifier").register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0]))):
        expected = explain(cnn, method, faces.images[:3], [1, 2, 3], **settings)
        without = sum(passed)
        found = explain(cnn, method, faces.images[:3], [1, 2, 3], logits=logits, **settings)
    assert sum(passed) - without == without - 3
    assert_same_maps(found["attributions"], expected["attributions"])


def test_logits_of_other_faces_are_refused(cnn: nn.Module, faces: Faces) -> None:
    with pytest.raises(ConfigError, match=r"logits: expected \(3, classes\), one row per face, found \(2, 7\)"):
        explain(cnn, "occlusion", faces.images[:3], logits=np.zeros((2, 7), np.float32))


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (12, 6), (20, 16), (7, 5), (48, 1)])
def test_occlusion_is_that_of_captum(dnn: nn.Module, faces: Faces, window: int, stride: int) -> None:
    images = torch.from_numpy(faces.images[:3]).float()[:, None]
    targets = torch.tensor([6, 0, 2])
    expected = Occlusion(dnn).attribute(images, (1, window, window), (1, stride, stride), MEAN, targets)
    found = explain(dnn, "occlusion", faces.images[:3], targets, window=window, stride=stride, batch_size=10)
    assert_same_maps(found["attributions"], expected[:, 0].detach().numpy())


@pytest.mark.parametrize("method", METHODS)
def test_several_classes_of_a_face_have_the_maps_of_each_class(cnn: nn.Module, faces: Faces, method: str) -> None:
    settings = {"samples": 3} if METHODS[method].sample_passes != (0, 0) else {}
    classes = np.array([[3, 1], [0, 5], [2, 2]])
    both = explain(cnn, method, faces.images[:3], classes, **settings)
    assert both["attributions"].shape == (3, 2, 48, 48)
    for k in range(2):
        for name, values in explain(cnn, method, faces.images[:3], classes[:, k], **settings).items():
            np.testing.assert_allclose(both[name][:, k], values, rtol=1e-5, atol=1e-6)


def test_classes_of_a_face_share_its_occlusions(cnn: nn.Module, faces: Faces) -> None:
    passed = list[int]()
    with cnn.get_submodule("classifier").register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0]))):
        explain(cnn, "occlusion", faces.images[:2], np.array([[0, 1], [2, 3]]), window=16, stride=16)
    assert sum(passed) == 1 + 2 * (1 + 9)  # one image to count the classes


def test_methods_without_samples_are_always_finished(cnn: nn.Module, faces: Faces) -> None:
    found = explain(cnn, "deeplift", faces.images[:2])
    assert "errors" not in found
    assert unfinished_maps(METHODS["deeplift"], AttributionConfig(), found).tolist() == [False, False]


@pytest.mark.parametrize(
    ("method", "error", "text"),
    [
        ("integrated-gradients", 0.234, "sum off by 23%"),
        ("integrated-gradients", 0.0099, "sum off by 1.0%"),
        ("smoothgrad", 0.5, "standard error 50%"),
        ("gradient-shap", np.inf, "only noise"),
    ],
)
def test_the_error_of_a_map_in_words(method: str, error: float, text: str) -> None:
    assert error_text(METHODS[method], error) == text

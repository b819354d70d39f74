import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import quantus
import torch
from captum import metrics
from click.testing import CliRunner
from scipy import ndimage, stats
from torch import nn

from fer_core import ConfigError, DataError, Faces, ModelError
from fer_explain.cli import main
from fer_explain.config import FaithfulnessConfig, SampleConfig
from fer_explain.evaluation.compared_maps import center_map, maps_of
from fer_explain.evaluation.comparison import Gain, compare_methods
from fer_explain.evaluation.faithfulness import measure_faithfulness
from fer_explain.evaluation.intervals import LEAST_FACES, Estimate, estimate, rank_intervals
from fer_explain.evaluation.method_names import parse_methods, with_controls
from fer_explain.evaluation.metrics.deletion_insertion import (
    Curves,
    CurveSettings,
    CurveTracer,
    blur,
    even_shares,
    pixel_ranks,
)
from fer_explain.evaluation.metrics.faithfulness import RANKED_BY, SCORES, measure_maps
from fer_explain.evaluation.metrics.infidelity import draw_squares, infidelity, logit_drops
from fer_explain.evaluation.metrics.sensitivity import max_sensitivity
from fer_explain.evaluation.metrics.sparsity import gini

QUICK = FaithfulnessConfig(steps=4, squares=5, controls=3, sensitivity_faces=2, sensitivity_samples=1)


class Linear(nn.Module):
    """Two classes, whose logits are a weighted sum of the pixels and zero."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights.astype(np.float32)).reshape(-1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images.flatten(1) @ self.weights
        return torch.cat([logits, torch.zeros_like(logits)], dim=1)


@pytest.fixture
def few(faces: Faces) -> Faces:
    return faces.take(slice(0, 5))


@pytest.fixture
def maps(few: Faces) -> np.ndarray:
    return np.random.default_rng(1).normal(size=few.images.shape).astype(np.float32)


@pytest.fixture
def linear() -> Linear:
    return Linear(np.random.default_rng(2).normal(scale=2e-4, size=2304))


def probability(model: nn.Module, pixels: np.ndarray, target: int, temperature: float) -> float:
    with torch.no_grad():
        logits = model(torch.from_numpy(pixels.astype(np.float32))[None, None])
    return float((logits / temperature).softmax(1)[0, target])


def trace(
    model: nn.Module, images: np.ndarray, targets: np.ndarray, ranks: np.ndarray, settings: CurveSettings
) -> Curves:
    return CurveTracer(model, images, targets, settings).trace(np.arange(len(images)), ranks)


@pytest.mark.parametrize(("batch_size", "temperature"), [(1, 1.0), (7, 0.3), (64, 2.0)])
def test_curves_are_those_of_a_loop_over_faces_and_steps(
    cnn: nn.Module, few: Faces, maps: np.ndarray, batch_size: int, temperature: float
) -> None:
    targets = few.require_labels()
    ranks = pixel_ranks(maps, few.rows)
    settings = {"shares": even_shares(6), "blur_sigma": 3.0, "batch_size": batch_size, "temperature": temperature}
    found = trace(cnn, few.images, targets, ranks, CurveSettings(**settings))
    for face, image in enumerate(few.images.astype(np.float64)):
        order = np.argsort(-maps[face].ravel())
        smooth = ndimage.gaussian_filter(image, 3.0, mode="constant", truncate=30)
        smooth /= ndimage.gaussian_filter(np.ones((48, 48)), 3.0, mode="constant", truncate=30)
        for step in range(7):
            some = order[: step * 384]
            deleted, inserted = image.ravel().copy(), smooth.ravel().copy()
            deleted[some] = image.mean()
            inserted[some] = image.ravel()[some]
            at = (face, step)
            target = int(targets[face])
            for curve, altered in ((found.deletion, deleted), (found.insertion, inserted)):
                expected = probability(cnn, altered.reshape(48, 48), target, temperature)
                assert curve[at] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(found.deletion_auc, np.trapezoid(found.deletion, found.shares, axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.insertion_auc, np.trapezoid(found.insertion, found.shares, axis=1), rtol=1e-6)


def test_curves_of_several_maps_of_a_face_fill_whole_batches(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    sizes = list[int]()
    targets, settings = few.require_labels(), CurveSettings(even_shares(4), 6.0, batch_size=8)
    alone = trace(cnn, few.images, targets, pixel_ranks(maps, few.rows), settings)
    with cnn.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0]))):
        tracer = CurveTracer(cnn, few.images, targets, settings)
        faces = np.array([3, 0, 3, 4])
        found = tracer.trace(faces, pixel_ranks(maps[[3, 0, 1, 4]], few.rows[[3, 0, 3, 4]]))
    assert sizes == [8, 7, 8, 8, 8]  # 3 images per face, and then 2 x 3 per curve
    for name in ("deletion", "insertion"):
        same = getattr(found, name)[[0, 1, 3]], getattr(alone, name)[[3, 0, 4]]
        np.testing.assert_allclose(*same, atol=1e-6)
    endpoints = found.deletion[2, [0, -1]], found.insertion[2, [0, -1]]
    np.testing.assert_array_equal(endpoints, (found.deletion[0, [0, -1]], found.insertion[0, [0, -1]]))


def test_curves_of_a_single_step_are_their_endpoints(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    found = trace(
        cnn, few.images, few.require_labels(), pixel_ranks(maps, few.rows), CurveSettings(even_shares(1), 6.0, 4)
    )
    assert found.deletion.shape == (5, 2)
    np.testing.assert_array_equal(found.deletion[:, 0], found.insertion[:, 1])


def test_deletion_is_the_pixel_flipping_of_quantus(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    targets = few.require_labels()
    ranks = pixel_ranks(maps, few.rows)
    found = trace(cnn, few.images, targets, ranks, CurveSettings(even_shares(8), 6.0, 64))
    for face in range(len(few)):  # one by one: its mean is that of all faces given
        flipping = quantus.PixelFlipping(
            features_in_step=288, perturb_baseline="mean", abs=False, normalise=False, disable_warnings=True
        )
        image = few.images[face][None, None].astype(np.float32)
        curve = flipping(cnn, image, targets[face : face + 1], maps[face][None, None], softmax=True)
        # Quantus takes the mean anew of the face as it is after each step.
        np.testing.assert_allclose(found.deletion[face, 1:], curve[0], atol=1e-4)


def test_the_best_order_of_a_linear_network_is_that_of_its_contributions(linear: Linear, few: Faces) -> None:
    images = few.images.astype(np.float64).reshape(len(few), -1)
    weights = linear.weights.detach().numpy().astype(np.float64).ravel()
    contributions = weights * (images - images.mean(axis=1, keepdims=True))
    targets = np.zeros(len(few), np.int64)

    def deletion(values: np.ndarray) -> np.ndarray:
        ranks = pixel_ranks(values.reshape(-1, 48, 48).astype(np.float32), few.rows)
        found = trace(linear, few.images, targets, ranks, CurveSettings(even_shares(64), 6.0, 64))
        return found.deletion

    best = deletion(contributions)
    removed = np.cumsum(-np.sort(-contributions, axis=1), axis=1)[:, 35::36]
    logits = (images @ weights)[:, None] - np.concatenate([np.zeros((len(few), 1)), removed], axis=1)
    np.testing.assert_allclose(best, 1 / (1 + np.exp(-logits)), atol=1e-4)
    worst = deletion(-contributions)
    for seed in range(5):
        other = deletion(np.random.default_rng(seed).random(contributions.shape))
        assert (best <= other + 1e-6).all()
        assert (other <= worst + 1e-6).all()


def test_equal_pixels_are_taken_in_an_order_drawn_from_seed_and_row_alone(few: Faces) -> None:
    flat = np.ones(few.images.shape, np.float32)
    ranks = pixel_ranks(flat, few.rows)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(2304), (len(few), 1)))
    np.testing.assert_array_equal(pixel_ranks(flat[3:], few.rows[3:]), ranks[3:])
    assert not np.array_equal(ranks[0], ranks[1])
    assert not np.array_equal(pixel_ranks(flat, few.rows, seed=1), ranks)
    in_reading_order = np.corrcoef(ranks.ravel(), np.tile(np.arange(2304), len(few)))[0, 1]
    assert abs(in_reading_order) < 0.05
    stepped = flat.copy()
    stepped[:, 20:24] = 2.0
    stepped[:, 30] = -1.0
    ranks = pixel_ranks(stepped, few.rows).reshape(-1, 48, 48)
    assert ranks[:, 20:24].max() == 4 * 48 - 1
    assert ranks[:, 30].min() == 2304 - 48


def test_blurring_keeps_an_even_face_and_spreads_a_point() -> None:
    even = np.full((1, 48, 48), 77, np.uint8)
    np.testing.assert_allclose(blur(even, 6.0), 77, rtol=1e-5)
    point = np.zeros((1, 48, 48), np.uint8)
    point[0, 24, 24] = 200
    assert blur(point, 6.0).max() == pytest.approx(200 / (2 * np.pi * 36), rel=1e-3)


def test_infidelity_is_that_of_captum_at_the_best_scale(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    targets = few.require_labels()
    removed = draw_squares(few.rows, squares=9, side=12)
    drops = logit_drops(cnn, few.images, targets, removed, batch_size=4)
    # Captum also scales by a negative number, which serves a map that is upside down.
    worth = np.einsum("nij,nsij,ns->n", maps, removed, drops)
    maps *= np.sign(worth)[:, None, None].astype(np.float32)

    def remove(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        square = torch.from_numpy(removed).reshape(-1, 1, 48, 48)
        return square.float(), torch.where(square, images.mean((1, 2, 3), keepdim=True), images)

    images = torch.from_numpy(few.images).float()[:, None]
    expected = metrics.infidelity(
        cnn,
        remove,
        images,
        torch.from_numpy(maps)[:, None],
        target=torch.from_numpy(targets),
        n_perturb_samples=9,
        normalize=True,
    )
    found = infidelity(maps, removed, drops)
    np.testing.assert_allclose(found * np.square(drops).mean(axis=1), expected.numpy(), rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(infidelity(maps * 40, removed, drops), found, rtol=1e-6)


def test_infidelity_of_a_linear_network_is_0_for_its_contributions_and_1_for_nothing(
    linear: Linear, few: Faces
) -> None:
    weights = linear.weights.detach().numpy().reshape(48, 48)
    contributions = weights * (few.images - few.images.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    removed = draw_squares(few.rows, squares=20, side=7, seed=3)
    drops = logit_drops(linear, few.images, np.zeros(len(few), np.int64), removed, batch_size=64)
    np.testing.assert_allclose(infidelity(contributions.astype(np.float32), removed, drops), 0, atol=1e-6)
    np.testing.assert_array_equal(infidelity(np.zeros_like(contributions, np.float32), removed, drops), 1)
    np.testing.assert_array_equal(infidelity(-contributions.astype(np.float32), removed, drops), 1)
    np.testing.assert_array_equal(infidelity(contributions.astype(np.float32), removed, np.zeros_like(drops)), 0)


def test_patches_lie_within_the_image_wherever_they_may() -> None:
    removed = draw_squares(np.arange(40), squares=50, side=11)
    assert (removed.sum(axis=(2, 3)) == 121).all()
    corners = np.stack([removed.any(axis=3).argmax(axis=2).ravel(), removed.any(axis=2).argmax(axis=2).ravel()], axis=1)
    assert corners.min() == 0
    assert corners.max() == 37
    np.testing.assert_array_equal(draw_squares(np.array([7]), squares=50, side=11)[0], removed[7])


def test_max_sensitivity_is_that_of_captum(cnn: nn.Module, few: Faces) -> None:
    targets = few.require_labels()
    given: list[np.ndarray] = []

    def explain(model: nn.Module, images: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
        given.append(images)
        return maps_of("saliency", model, images, targets, rows)

    config = FaithfulnessConfig(sensitivity_samples=3, sensitivity_radius=9)
    found = max_sensitivity(explain, cnn, few.images, targets, few.rows, config)
    changed = np.stack(given[1:], axis=1).reshape(-1, 1, 48, 48)
    difference = changed[:, 0].astype(int) - np.repeat(few.images, 3, axis=0)
    assert set(np.unique(difference)) == set(range(-9, 10))

    def saliency(images: torch.Tensor | tuple[torch.Tensor], target: torch.Tensor) -> tuple[torch.Tensor]:
        pixels = (images if isinstance(images, torch.Tensor) else images[0]).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(cnn(pixels).gather(1, target[:, None]).sum(), pixels)
        return (gradient.abs(),)

    expected = metrics.sensitivity_max(
        saliency,
        torch.from_numpy(few.images).float()[:, None],
        perturb_func=lambda _: torch.from_numpy(changed).float(),
        n_perturb_samples=3,
        target=torch.from_numpy(targets),
    )
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize("control", with_controls(()))
def test_the_controls_know_neither_network_nor_pixels(cnn: nn.Module, few: Faces, control: str) -> None:
    explain = partial(maps_of, control)
    config = FaithfulnessConfig(sensitivity_samples=2)
    found = max_sensitivity(explain, cnn, few.images, few.require_labels(), few.rows, config)
    np.testing.assert_array_equal(found, 0)


def test_the_center_is_highest_in_the_middle_and_the_same_all_round() -> None:
    bell = center_map()
    assert bell[23:25, 23:25].min() == bell.max()
    for turned in (bell.T, bell[::-1], bell[:, ::-1]):
        np.testing.assert_array_equal(turned, bell)


def test_gini_is_the_mean_difference_of_the_definition_and_the_sparseness_of_quantus(maps: np.ndarray) -> None:
    found = gini(maps)
    values = np.abs(maps.astype(np.float64)).reshape(len(maps), -1)
    differences = [np.abs(v[:, None] - v).sum() / (2 * v.size * v.sum()) for v in values]
    np.testing.assert_allclose(found, differences, rtol=1e-9)
    sparseness = quantus.Sparseness(normalise=False, disable_warnings=True)
    expected = sparseness.evaluate_batch(maps[:, None], np.abs(maps)[:, None].astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gini_is_0_for_an_even_map_and_next_to_1_for_one_pixel() -> None:
    cases = np.stack([np.zeros((48, 48)), np.full((48, 48), -3.0), np.eye(1, 2304, 5).reshape(48, 48)])
    np.testing.assert_allclose(gini(cases.astype(np.float32)), [0, 0, 1 - 1 / 2304], atol=1e-12)


def test_an_estimate_is_the_percentile_bootstrap_of_scipy() -> None:
    values = np.random.default_rng(4).gamma(2.0, size=150)
    found = estimate(values)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=1).confidence_interval
    assert (found.mean, found.n) == (pytest.approx(values.mean()), 150)
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert estimate(values) == found


@pytest.mark.parametrize(("limit", "answer"), [(0.5, "yes"), (1.0, "undecided"), (2.0, "no")])
def test_an_estimate_exceeds_a_limit_only_with_its_whole_interval(limit: float, answer: str) -> None:
    assert Estimate(1.2, 0.8, 1.6, 10).exceeds(limit) == answer
    assert Estimate(1.2, 0.8, 1.6, LEAST_FACES - 1).exceeds(limit) == "undecided"


def test_the_least_faces_are_those_from_which_intervals_hold_nearly_what_they_say() -> None:
    rng = np.random.default_rng(0)
    held = {}
    for n in (3, LEAST_FACES):
        found = [estimate(rng.standard_normal(n), seed=i) for i in range(400)]
        held[n] = np.mean([each.low <= 0 <= each.high for each in found])
    assert held[3] < 0.8
    assert 0.86 <= held[LEAST_FACES] < 0.97


def test_each_kind_of_chance_is_drawn_by_itself(few: Faces) -> None:
    """Random maps, patches, noise and the order of equal pixels follow from seed and row, and not from each other."""
    drawn = [np.random.default_rng([7, row]).random(200) for row in few.rows.tolist()]
    patches = draw_squares(few.rows, squares=100, side=12, seed=7)
    corners = [squares.any(axis=1).argmax(axis=1) for squares in patches]
    for uniform, columns in zip(drawn, corners, strict=True):
        assert not np.array_equal((37 * uniform[100:]).astype(int), columns)
        assert abs(np.corrcoef(uniform[100:], columns)[0, 1]) < 0.4


@pytest.mark.parametrize("method", ["random", "smoothgrad"])
def test_the_seed_reaches_the_maps(cnn: nn.Module, few: Faces, method: str) -> None:
    targets = np.zeros(len(few), np.int64)
    one, again, other = (maps_of(method, cnn, few.images, targets, few.rows, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_ranks_are_as_sure_as_the_values_are_apart() -> None:
    noise = np.random.default_rng(5).normal(size=(4, 200))
    shifted = noise + np.array([[0.0], [5.0], [0.0], [-5.0]])
    ranks = rank_intervals(shifted)
    assert ranks[1] == (1, 1, 1)
    assert ranks[3] == (4, 4, 4)
    assert {ranks[0][0], ranks[2][0]} == {2, 3}
    assert ranks[0][1:] == ranks[2][1:] == (2, 3)


def test_a_gain_is_above_0_where_a_method_is_better_whichever_way_the_score_runs() -> None:
    noise = np.random.default_rng(6).normal(scale=0.1, size=(3, 50))
    scores = {"up": noise + np.array([[1.0], [0], [0]]), "down": noise - np.array([[1.0], [0], [2.0]])}
    scores["down"][:, 7] = np.nan
    other = np.random.default_rng(7).normal(scale=0.1, size=(3, 50))
    controls = {"up": other, "down": other - np.array([[0.0], [0], [1.9]])}
    better = {"up": "higher", "down": "lower"}
    lines = compare_methods(["good", "random", "center"], scores, controls, better, "up")  # type: ignore[arg-type]
    found = {(line.method, line.score): line for line in lines}
    assert lines[0].method == "good"
    up, down = found["good", "up"], found["good", "down"]
    assert up.gains["controls"].value.mean == pytest.approx((scores["up"][0] - other[0]).mean())
    assert up.controls is not None
    assert up.controls.mean == pytest.approx(other[0].mean())
    assert (up.gains["controls"].state, up.gains["center"].state) == ("better", "better")
    assert (down.gains["controls"].state, down.gains["center"].state) == ("better", "worse")
    assert (up.value.n, down.value.n) == (50, 49)
    assert (up.rank, down.rank) == ((1, 1, 1), None)
    assert found["random", "up"].gains.keys() == {"controls"}
    assert found["random", "up"].gains["controls"].state == "no different"
    assert str(found["random", "up"]).endswith("(control, expected to be no different)")
    assert "controls -0.0" in str(up)
    assert ": better, by +1." in str(up)


def test_of_few_faces_a_gain_has_no_state() -> None:
    assert Gain.of(np.full(LEAST_FACES - 1, 0.5)).state == "too few faces"
    assert Gain.of(np.full(LEAST_FACES, 0.5)).state == "better"
    assert Gain.of(np.append(np.full(LEAST_FACES - 1, 0.5), np.nan)).state == "too few faces"


def test_methods_are_not_compared_without_the_controls() -> None:
    one = {"up": np.zeros((1, 4))}
    with pytest.raises(ConfigError, match="expected the controls random, center among them, found no center"):
        compare_methods(["random"], one, one, {"up": "higher"}, "up")


def test_contributions_of_a_linear_network_are_told_from_noise(linear: Linear, faces: Faces) -> None:
    weights = linear.weights.detach().numpy().reshape(48, 48)
    contributions = weights * (faces.images - faces.images.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    targets = np.zeros(len(faces), np.int64)
    controls = {name: maps_of(name, linear, faces.images, targets, faces.rows) for name in with_controls(())}
    every = {"true": contributions.astype(np.float32), "false": -contributions.astype(np.float32), **controls}
    measured = measure_maps(linear, every, faces.images, targets, faces.rows, QUICK)
    compared = compare_methods(measured.methods, measured.scores, measured.controls, SCORES, RANKED_BY)
    found = {(line.method, line.score): line for line in compared}
    for score in ("deletion_auc", "insertion_auc", RANKED_BY, "infidelity"):
        assert found["true", score].gains["controls"].state == "better"
        assert found["false", score].gains["controls"].state == "worse"
    assert found["random", RANKED_BY].gains["controls"].state == "no different"
    assert not found["center", RANKED_BY].gains
    assert found["true", RANKED_BY].rank == (1, 1, 1)
    assert found["false", RANKED_BY].rank == (4, 4, 4)
    np.testing.assert_allclose(measured.of("true")["infidelity"], 0, atol=1e-6)


def test_the_scores_of_a_face_do_not_depend_on_the_others_or_on_the_batch(
    cnn: nn.Module, few: Faces, maps: np.ndarray
) -> None:
    def measured(some: slice, batch_size: int) -> dict[str, np.ndarray]:
        config = FaithfulnessConfig(steps=5, squares=6, batch_size=batch_size)
        faces = few.take(some)
        return measure_maps(cnn, {"mine": maps[some]}, faces.images, faces.require_labels(), faces.rows, config).of(
            "mine"
        )

    every, one = measured(slice(0, 5), 64), measured(slice(2, 3), 3)
    for score, values in one.items():
        np.testing.assert_allclose(values, every[score][2:3], atol=1e-5, err_msg=score)


def test_progress_counts_every_pass(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    passed: list[int] = []
    every = {"mine": maps, "yours": -maps}
    measure_maps(
        cnn, every, few.images, few.require_labels(), few.rows, QUICK, advance=lambda n, note="": passed.append(n)
    )
    assert sum(passed) == QUICK.count_passes(2, len(few))


@pytest.mark.parametrize("measure", [partial(pixel_ranks, rows=np.arange(5)), gini])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_one_clear_error(
    maps: np.ndarray, measure: Callable[[np.ndarray], np.ndarray], value: float
) -> None:
    maps[2, 7, 7] = value
    with pytest.raises(ConfigError, match="attributions: expected finite values, found NaN or Inf in map 2"):
        measure(maps)


def test_the_method_of_a_map_that_is_not_finite_is_named(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    maps[1] = np.nan
    with pytest.raises(ConfigError, match="mine: attributions: expected finite values, found NaN or Inf in map 1"):
        measure_maps(cnn, {"mine": maps}, few.images, few.require_labels(), few.rows, QUICK)


def test_weights_that_are_not_finite_are_one_clear_error(cnn: nn.Module, few: Faces, maps: np.ndarray) -> None:
    next(cnn.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="probabilities contain NaN or Inf"):
        measure_maps(cnn, {"mine": maps}, few.images, few.require_labels(), few.rows, QUICK)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"steps": 0}, "steps: expected 1 to 2,304, found 0"),
        ({"sensitivity_faces": -1}, "sensitivity_faces: expected at least 0, found -1"),
        ({"sensitivity_faces": 1}, "sensitivity_faces: expected 0, or at least 2 for an interval, found 1"),
        ({"blur_sigma": float("nan")}, "blur_sigma: expected above 0 and finite, found nan"),
        ({"blur_sigma": float("inf")}, "blur_sigma: expected above 0 and finite, found inf"),
        ({"steps": 5000}, "steps: expected 1 to 2,304, found 5000"),
        ({"controls": 0}, "controls: expected at least 1, found 0"),
        ({"square_side": 49}, "square_side: expected 1 to 48, found 49"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        FaithfulnessConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("faces", "controls"), [(2, 39), (8, 38), (24, 13), (150, 2), (300, 1), (5000, 1)])
def test_so_many_controls_are_drawn_as_make_300_per_method(faces: int, controls: int) -> None:
    assert FaithfulnessConfig().count_controls(faces) == controls
    assert FaithfulnessConfig(controls=5).count_controls(faces) == 5


@pytest.mark.parametrize("shares", [[0.0, 1.0, 1.0], [0.0, 0.5], [0.1, 1.0], [1.0], [0.0, 0.6, 0.4, 1.0]])
def test_shares_that_do_not_rise_from_0_to_1_are_refused(shares: list[float]) -> None:
    with pytest.raises(ConfigError, match="shares: expected increasing values from 0 to 1, found"):
        CurveSettings(np.array(shares), blur_sigma=6.0, batch_size=8)


@pytest.mark.parametrize("steps", [0, 2305])
def test_steps_are_at_least_one_and_at_most_a_pixel_each(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"steps: expected 1 to 2,304, found {steps}"):
        even_shares(steps)


def test_methods_are_named_once_and_known() -> None:
    assert parse_methods("saliency, center") == ("saliency", "center")
    with pytest.raises(ConfigError, match=r"methods: expected one of saliency, .*, center, found 'lime'"):
        parse_methods("saliency,lime")
    with pytest.raises(ConfigError, match="methods: expected each method once, found saliency,saliency"):
        parse_methods("saliency,saliency")


def test_the_folder_holds_all_figures_of_all_faces(exports: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "truth"
    compared = measure_faithfulness(
        data, exports, ["saliency"], output, sample=SampleConfig(sample_size=6), config=QUICK
    )
    written = json.loads((output / "faithfulness.json").read_text())
    arrays = np.load(output / "scores.npz")
    assert written["n"] == len(arrays["rows"]) == 6
    assert written["weights_sha256"] == str(arrays["weights_sha256"])
    assert written["settings"]["seed"] == 0
    assert written["settings"]["controls"] == 3
    assert written["skill"]["shown"] is False
    assert arrays["methods"].tolist() == ["saliency", "random", "center"]
    for line in written["scores"]:
        values = arrays[line["score"]][arrays["methods"].tolist().index(line["method"])]
        assert line["value"]["mean"] == pytest.approx(np.nanmean(values))
        assert line["value"]["n"] == (2 if line["score"] == "max_sensitivity" else 6)
    np.testing.assert_array_equal(arrays[RANKED_BY], arrays["insertion_auc"] - arrays["deletion_auc"])
    for line in compared:
        if line.controls is not None:
            place = arrays["methods"].tolist().index(line.method)
            assert line.controls.mean == pytest.approx(arrays[f"controls_{line.score}"][place].mean())
    assert len((output / "faithfulness.csv").read_text().splitlines()) == 1 + len(compared) == 1 + 3 * len(SCORES)


def test_the_same_input_gives_the_same_bytes(exports: Path, data: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        measure_faithfulness(data, exports, ["saliency"], folder, sample=SampleConfig(rows=(4, 9, 2)), config=QUICK)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert sorted(first) == ["curves.png", "faithfulness.csv", "faithfulness.json", "ranking.png", "scores.npz"]
    assert {name for name in first if first[name] != second[name]} == set()
    assert np.load(folders[0] / "scores.npz")["rows"].tolist() == [4, 9, 2]


def test_a_method_that_does_not_suit_the_network_is_refused_before_any_work(
    run: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"grad-cam: .* needs a convolution"):
        measure_faithfulness(
            data, run, ["saliency", "grad-cam"], tmp_path / "truth", sample=SampleConfig(sample_size=4), config=QUICK
        )
    assert not list(tmp_path.iterdir())


def test_one_face_is_too_few_to_estimate_from(exports: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 2 faces for an interval, found 1"):
        measure_faithfulness(data, exports, ["saliency"], tmp_path / "truth", sample=SampleConfig(rows=(3,)))
    with pytest.raises(ConfigError, match="sample_size: expected at least 2, found 1"):
        SampleConfig(sample_size=1)


def test_the_command_ranks_the_methods(exports: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "truth"
    options = ("--methods", "saliency", "--steps", "3", "--sensitivity-faces", "0", "--rows", "2-5", "--seed", "7")
    options += ("--controls", "2")
    result = CliRunner().invoke(
        main, ["faithfulness", str(data), "--model", str(exports), "--output", str(output), *options]
    )
    assert result.exit_code == 0, result.output
    *ranking, written = result.stdout.splitlines()
    assert written == f"{output}: faithfulness.json, faithfulness.csv, scores.npz, curves.png, ranking.png"
    assert sorted(line.split()[0] for line in ranking) == ["center", "random", "saliency"]
    ranked = json.loads((output / "faithfulness.json").read_text())
    assert ranked["settings"]["steps"] == 3
    assert ranked["settings"]["seed"] == 7
    assert ranked["settings"]["controls"] == 2
    assert "tiny: not shown to be better than chance." in result.stderr
    means = [line["value"]["mean"] for line in ranked["scores"] if line["score"] == RANKED_BY]
    assert means == sorted(means, reverse=True)
    assert not any(line["score"] == "max_sensitivity" for line in ranked["scores"])

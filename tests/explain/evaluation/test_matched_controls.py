"""Control maps share values, roughness and centering with their map, and a map that is one of them seldom wins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import nn

from fer_core import ConfigError, Faces
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.config import CONTROLS_PER_MAP
from fer_explain.evaluation.compared_maps import center_map
from fer_explain.evaluation.controls.control_maps import control_maps
from fer_explain.evaluation.controls.ranks import (
    LEVEL,
    MOST_FIRST,
    ROUND,
    ControlRank,
    compare_with_controls,
    first_controls,
)
from fer_explain.evaluation.metrics.deletion_insertion import CurveSettings, CurveTracer, pixel_ranks
from fer_explain.evaluation.metrics.similarity import spearman

SETTINGS = CurveSettings(np.array([0, 0.125, 0.25, 0.5, 1.0]), blur_sigma=6.0, batch_size=256)
DISTANCE = np.hypot(*(np.mgrid[:48, :48] - 23.5))


class Projection(nn.Module):
    """Two classes by one smooth pattern, so that a whole face takes a single product."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        pattern = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((48, 48)), 3)
        self.weights = nn.Parameter(torch.from_numpy(pattern / np.abs(pattern).sum() / 40).float().reshape(-1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images.flatten(1) @ self.weights
        return torch.cat([logits, -logits], dim=1)


def smooth_map(sigma: float, seed: int, *, centered: bool = False) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((48, 48)), sigma, mode="wrap")
    field /= field.std()
    return (field + 3 * center_map() if centered else field).astype(np.float32)


def correlation_of_neighbours(values: np.ndarray) -> float:
    ranks = stats.rankdata(values).reshape(48, 48)
    return float(np.corrcoef(ranks[:, :-1].ravel(), ranks[:, 1:].ravel())[0, 1])


def test_controls_have_exactly_the_values_of_the_map_ties_included() -> None:
    tied = np.maximum(smooth_map(2.0, 1), 0)
    assert (tied == 0).mean() > 0.3
    for control in control_maps(tied, 5, np.random.default_rng(0)):
        np.testing.assert_array_equal(np.sort(control, axis=None), np.sort(tied, axis=None))


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5, 4.0])
@pytest.mark.parametrize("centered", [False, True])
def test_controls_are_as_rough_as_the_map(sigma: float, centered: bool) -> None:
    own = smooth_map(sigma, 2, centered=centered)
    controls = control_maps(own, 30, np.random.default_rng(0))
    found = [correlation_of_neighbours(control) for control in controls]
    assert np.mean(found) == pytest.approx(correlation_of_neighbours(own), abs=0.06)


def test_controls_are_as_centered_as_the_map() -> None:
    own = smooth_map(1.5, 3, centered=True)
    controls = control_maps(own, 30, np.random.default_rng(0))
    for low, high in ((0, 8), (8, 16), (16, 24), (24, 34)):
        ring = (low <= DISTANCE) & (high > DISTANCE)
        assert controls[:, ring].mean() == pytest.approx(own[ring].mean(), abs=0.15)


def test_controls_put_features_elsewhere_and_differ_from_each_other() -> None:
    own = np.repeat(smooth_map(1.5, 4)[None], 30, axis=0)
    controls = control_maps(own[0], 30, np.random.default_rng(0))
    assert abs(spearman(own, controls).mean()) < 0.12
    assert abs(spearman(controls[:-1], controls[1:]).mean()) < 0.12


def test_controls_follow_from_the_generator_alone() -> None:
    own = smooth_map(1.5, 5)
    one, again, other = (control_maps(own, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_controls_of_a_bell_and_of_a_flat_map_are_that_map() -> None:
    bells = control_maps(center_map(), 4, np.random.default_rng(0))
    assert spearman(np.repeat(center_map()[None], 4, axis=0), bells).min() > 0.99
    np.testing.assert_array_equal(control_maps(np.full((48, 48), 3, np.float32), 2, np.random.default_rng(0)), 3)


def test_a_map_that_is_not_finite_has_no_controls() -> None:
    with pytest.raises(ConfigError, match="attributions: expected finite values, found NaN or Inf in map 0"):
        control_maps(np.full((48, 48), np.nan, np.float32), 2, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("beaten", "beaten_by", "n", "state"),
    [
        (39, 0, 39, "better"),
        (38, 1, 39, "no different"),
        (38, 0, 39, "no different"),  # a tie is no win
        (0, 0, 39, "no different"),
        (0, 39, 39, "worse"),
        (1, 38, 39, "no different"),
        (13, 0, 13, "no different"),  # 1 of 14 is no rare event
        (0, 13, 13, "no different"),
        (99, 0, 99, "better"),
    ],
)
def test_only_a_map_that_beats_all_of_enough_controls_is_better(
    beaten: int, beaten_by: int, n: int, state: str
) -> None:
    assert ControlRank(beaten, beaten_by, n).state == state


def test_the_first_controls_decide_only_what_the_others_could_not_change() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        signs = rng.choice([-1, 0, 1], CONTROLS_PER_MAP, p=rng.dirichlet([1, 0.1, 1]))
        first, full = (ControlRank(int((s > 0).sum()), int((s < 0).sum()), len(s)) for s in (signs[:ROUND], signs))
        if first.is_decided:
            assert full.state == "no different"


def test_the_first_controls_of_all_faces_are_enough_for_a_mean() -> None:
    assert [first_controls(n) for n in (1, 15, 16, 30, 60, 61, 10_000)] == [20, 20, 19, 10, 5, 5, 5]


def test_fewer_first_controls_give_every_map_the_state_that_all_controls_give_it() -> None:
    n = 70
    model, drawn = Projection(seed=3), draw_faces(n, seed=4)
    weights = model.weights.detach().numpy().reshape(48, 48)
    contributions = weights * (drawn.images - drawn.images.mean(axis=(1, 2), keepdims=True))
    noise = np.stack([smooth_map(2.0, seed) for seed in range(n)])
    maps = {"mixed": (contributions / np.abs(contributions).mean() + 8 * noise).astype(np.float32)}
    rows, targets = np.arange(n), np.zeros(n, np.int64)
    compared = compare_with_controls(model, maps, Faces(drawn.images, rows), targets, SETTINGS)
    assert compared.first == ROUND
    for face, found in enumerate(compared.ranks["mixed"]):
        own = maps["mixed"][face]
        controls = control_maps(own, CONTROLS_PER_MAP, np.random.default_rng([0, face, 4]))
        ranks = pixel_ranks(np.concatenate([own[None], controls]), np.full(40, face))
        tracer = CurveTracer(model, drawn.images[face : face + 1], targets[:1], SETTINGS)
        gaps = tracer.trace(np.zeros(40, np.intp), ranks).gap
        full = ControlRank(int((gaps[0] > gaps[1:] + 1e-6).sum()), int((gaps[0] < gaps[1:] - 1e-6).sum()), 39)
        assert found.state == full.state
    assert {rank.state for rank in compared.ranks["mixed"]} >= {"better", "no different"}
    assert len({rank.n for rank in compared.ranks["mixed"]}) > 2


def test_a_map_like_its_controls_is_better_or_worse_about_as_often_as_stated() -> None:
    """Maps drawn as controls of smooth maps of faces: exchangeable with controls of their own."""
    n = 300
    model, drawn = Projection(), draw_faces(n, seed=1)
    maps = {"null": np.empty((n, 48, 48), np.float32)}
    for i in range(n):
        seen = smooth_map(2.0, 1000 + i, centered=True)
        maps["null"][i] = control_maps(seen, 1, np.random.default_rng(5000 + i))[0]
    targets = np.zeros(n, np.int64)
    compared = compare_with_controls(model, maps, Faces(drawn.images, np.arange(n)), targets, SETTINGS)
    states = [rank.state for rank in compared.ranks["null"]]
    # 7.5 of 300 expected each way, with a standard deviation of 2.7.
    assert LEVEL == 1 / 40
    assert 1 <= states.count("better") <= 16
    assert 1 <= states.count("worse") <= 16
    gains = compared.gains
    assert abs(gains.mean()) < 3 * gains.std() / np.sqrt(n)


def test_the_true_contributions_are_better_and_their_opposite_is_worse() -> None:
    model, drawn = Projection(seed=3), draw_faces(12, seed=2)
    weights = model.weights.detach().numpy().reshape(48, 48)
    contributions = weights * (drawn.images - drawn.images.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    maps = {"true": contributions.astype(np.float32), "false": -contributions.astype(np.float32)}
    compared = compare_with_controls(model, maps, Faces(drawn.images, np.arange(12)), np.zeros(12, np.int64), SETTINGS)
    assert {rank.state for rank in compared.ranks["true"]} == {"better"}
    assert {rank.state for rank in compared.ranks["false"]} == {"worse"}


def test_a_map_of_one_value_is_no_different() -> None:
    model, drawn = Projection(), draw_faces(3, seed=2)
    maps = {"flat": np.zeros(drawn.images.shape, np.float32)}
    compared = compare_with_controls(model, maps, Faces(drawn.images, np.arange(3)), np.zeros(3, np.int64), SETTINGS)
    assert compared.ranks["flat"] == (ControlRank(0, 0, MOST_FIRST),) * 3


def test_standings_are_those_of_a_loop_over_controls_one_by_one() -> None:
    model, drawn = Projection(), draw_faces(4, seed=7)
    maps = {"mine": np.stack([smooth_map(1.0, seed) for seed in range(4)])}
    rows, targets = np.array([5, 9, 2, 30]), np.array([0, 1, 0, 1])
    settings = replace(SETTINGS, temperature=0.7)
    compared = compare_with_controls(model, maps, Faces(drawn.images, rows), targets, settings, seed=3)

    def score(face: int, values: np.ndarray) -> float:
        some = slice(face, face + 1)
        ranks = pixel_ranks(values[None], rows[some], seed=3)
        curve = CurveTracer(model, drawn.images[some], targets[some], settings).trace(np.array([0]), ranks)
        return float(curve.insertion_auc[0] - curve.deletion_auc[0])

    for face, row in enumerate(rows.tolist()):
        controls = control_maps(maps["mine"][face], CONTROLS_PER_MAP, np.random.default_rng([3, row, 4]))
        scores = np.array([score(face, control) for control in controls])
        own = score(face, maps["mine"][face])
        assert compared.insertion[0, face] - compared.deletion[0, face] == pytest.approx(own, abs=1e-5)
        matched = compared.control_insertion[0, face] - compared.control_deletion[0, face]
        assert matched == pytest.approx(scores[:MOST_FIRST].mean(), abs=1e-5)
        found = compared.ranks["mine"][face]
        assert (found.beaten, found.n - found.beaten_by) == ((scores[: found.n] < own).sum(),) * 2
    assert compared.first == MOST_FIRST
    assert {rank.n for rank in compared.ranks["mine"]} <= {
        *range(MOST_FIRST, CONTROLS_PER_MAP, ROUND),
        CONTROLS_PER_MAP,
    }


def test_the_result_of_a_face_does_not_depend_on_the_others_and_progress_counts_maps() -> None:
    model, drawn = Projection(), draw_faces(4, seed=7)
    maps = {
        name: np.stack([smooth_map(1.0, seed + shift) for seed in range(4)]) for shift, name in ((0, "a"), (9, "b"))
    }
    rows, targets, counted = np.arange(4), np.zeros(4, np.int64), list[int]()
    every = compare_with_controls(
        model, maps, Faces(drawn.images, rows), targets, SETTINGS, advance=lambda n, note="": counted.append(n)
    )
    some = {name: values[2:3] for name, values in maps.items()}
    one = compare_with_controls(model, some, Faces(drawn.images[2:3], rows[2:3]), targets[2:3], SETTINGS)
    assert sum(counted) == 8
    assert one.ranks == {name: ranks[2:3] for name, ranks in every.ranks.items()}
    np.testing.assert_allclose(one.control_insertion, every.control_insertion[:, 2:3], atol=1e-6)


def test_briefly_means_by_the_first_controls_only() -> None:
    model, drawn = Projection(seed=3), draw_faces(2, seed=2)
    weights = model.weights.detach().numpy().reshape(48, 48)
    maps = {"true": (weights * (drawn.images - drawn.images.mean(axis=(1, 2), keepdims=True))).astype(np.float32)}
    compared = compare_with_controls(
        model, maps, Faces(drawn.images, np.arange(2)), np.zeros(2, np.int64), SETTINGS, briefly=("true",)
    )
    assert compared.ranks["true"] == (replace(compared.ranks["true"][0], beaten=MOST_FIRST, n=MOST_FIRST),) * 2

"""Smoothing is the weighted mean of its formula."""

from __future__ import annotations

import numpy as np
import pytest

from fer_infer.photos.smoothing import Smoother


def test_smoothed_probabilities_are_the_weighted_mean_of_all_before() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.4, 60))
    values = rng.dirichlet(np.ones(7), (60, 2)).astype(np.float32)
    smoother = Smoother(0.5)
    for place, time_s in enumerate(times):
        for face in (0, 1):
            weights = np.exp(-(time_s - times[: place + 1]) / 0.5)
            expected = weights @ values[: place + 1, face] / weights.sum()
            smoothed = smoother.add(face + 1, time_s, values[place, face])
            np.testing.assert_allclose(smoothed, expected, atol=1e-7)
            assert smoothed.sum() == pytest.approx(1, abs=1e-6)


def test_no_smoothing_returns_the_probabilities() -> None:
    smoother = Smoother(0)
    for time_s, shares in ((0.0, [1, 0]), (0.1, [0, 1])):
        assert smoother.add(1, time_s, np.array(shares)).tolist() == shares


def test_a_face_that_was_away_for_long_starts_anew_and_is_forgotten() -> None:
    smoother = Smoother(0.1)
    smoother.add(1, 0.0, np.array([1.0, 0.0]))
    assert smoother.add(2, 100.0, np.array([0.0, 1.0])).tolist() == [0, 1]
    assert list(smoother._sums) == [2]
    assert smoother.add(1, 100.0, np.array([0.0, 1.0])).tolist() == [0, 1]


def test_the_window_does_not_depend_on_the_frame_rate() -> None:
    def last(rate: int) -> float:
        smoother, value = Smoother(0.5), np.zeros(2)
        for number in range(3 * rate):
            share = float(number >= 2 * rate)
            value = smoother.add(1, number / rate, np.array([share, 1 - share]))
        return float(value[0])

    assert last(10) == pytest.approx(last(100), abs=0.01)
    assert last(100) == pytest.approx(1 - np.exp(-2), abs=0.01)

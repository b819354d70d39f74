"""Bins and calibration error are those of loops that follow Guo et al. 2017, and of known answers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_infer.evaluation.plots import save_reliability
from fer_infer.evaluation.reliability import Bin, expected_calibration_error, reliability


def draw(seed: int, n: int = 400, classes: int = 7) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    powers = np.exp(rng.normal(0, 2, (n, classes)))
    return rng.integers(0, classes, n), powers / powers.sum(axis=1, keepdims=True)


def slow_ece(labels: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int) -> float:
    """Equations 2 and 3: bin m holds the confidences in ((m - 1) / M, m / M]."""
    error = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, row in enumerate(probabilities) if (m - 1) / bins < row.max() <= m / bins]
        if inside:
            accuracy = sum(probabilities[i].argmax() == labels[i] for i in inside) / len(inside)
            confidence = sum(probabilities[i].max() for i in inside) / len(inside)
            error += len(inside) / len(labels) * abs(accuracy - confidence)
    return error


def torchmetrics_ece(labels: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int) -> float:
    """torchmetrics' `calibration_error` with norm l1: bucketize to the right, then sums over bins."""
    edges = np.linspace(0, 1, bins + 1)
    correct, confidence, count = (np.zeros(bins + 1) for _ in range(3))
    for label, row in zip(labels, probabilities, strict=True):
        k = np.searchsorted(edges, row.max(), side="right") - 1
        correct[k] += row.argmax() == label
        confidence[k] += row.max()
        count[k] += 1
    filled = count > 0
    gaps = np.abs(correct[filled] / count[filled] - confidence[filled] / count[filled])
    return float((gaps * count[filled] / count.sum()).sum())


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
@pytest.mark.parametrize("seed", range(4))
def test_calibration_error_is_that_of_the_paper_and_of_torchmetrics(seed: int, bins: int) -> None:
    labels, probabilities = draw(seed)
    found = expected_calibration_error(reliability(labels, probabilities, bins))
    assert found == pytest.approx(slow_ece(labels, probabilities, bins), abs=1e-12)
    assert found == pytest.approx(torchmetrics_ece(labels, probabilities, bins), abs=1e-12)


def test_every_face_is_in_one_bin() -> None:
    labels, probabilities = draw(9)
    bins = reliability(labels, probabilities)
    assert len(bins) == 15
    assert sum(each.n for each in bins) == 400
    for each in bins:
        if each.confidence is not None:
            assert each.low <= each.confidence <= each.high
    assert bins[0] == Bin(0.0, pytest.approx(1 / 15), 0, None, None)  # the largest of seven is at least 1/7
    assert bins[0].gap == 0


@pytest.mark.parametrize(("confidence", "number"), [(0.5, 4), (0.6, 5), (1.0, 9), (0.5000001, 5)])
def test_a_bin_holds_its_upper_end(confidence: float, number: int) -> None:
    bins = reliability([0], [[confidence, 1 - confidence]], 10)
    assert [each.n for each in bins].index(1) == number


def test_calibration_error_of_a_known_answer() -> None:
    # four faces as sure as 0.8, of which two are right; six as sure as 0.55, all right
    probabilities = [[0.8, 0.2]] * 4 + [[0.55, 0.45]] * 6
    bins = reliability([0, 0, 1, 1] + [0] * 6, probabilities, 10)
    assert expected_calibration_error(bins) == pytest.approx(0.4 * 0.3 + 0.6 * 0.45)


def test_a_calibrated_network_has_hardly_an_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 100_000)
    labels = (rng.uniform(size=p.size) > p).astype(int)
    error = expected_calibration_error(reliability(labels, np.stack([p, 1 - p], axis=1)))
    assert error < 15 * math.sqrt(0.25 / p.size)


def test_the_diagram_is_the_same_for_the_same_numbers_and_not_blank(tmp_path: Path) -> None:
    bins = reliability(*draw(2))
    for name in ("one.png", "two.png"):
        save_reliability(bins, expected_calibration_error(bins), tmp_path / name, "same")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))
    assert min(picture.shape[:2]) > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50

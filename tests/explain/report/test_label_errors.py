"""Confident learning, held to its definition written out slowly, and to labels that were made wrong."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_explain.report.label_errors import likely_label_errors


def slow_label_errors(labels: list[int], probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Northcutt, Jiang and Chuang 2021, equations 1 and 2, as they stand."""
    classes = range(probabilities.shape[1])
    usual = {}
    for c in classes:
        own = [float(p[c]) for label, p in zip(labels, probabilities, strict=True) if label == c]
        if own:
            usual[c] = sum(own) / len(own)
    found = []
    for place, (label, p) in enumerate(zip(labels, probabilities, strict=True)):
        reached = [c for c in classes if c in usual and float(p[c]) >= usual[c]]
        counted_as = max(reached, key=lambda c: p[c], default=label)
        if counted_as != label:
            found.append((place, counted_as))
    return sorted(found, key=lambda pair: probabilities[pair[0]][labels[pair[0]]])


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(5, 0.4), 200).astype(np.float32)
    labels = rng.integers(0, 4, 200)  # no face of the last class
    places, classes = likely_label_errors(labels, probabilities)
    found = list(zip(places.tolist(), classes.tolist(), strict=True))
    assert found == slow_label_errors(labels.tolist(), probabilities)
    assert not np.any(classes == labels[places])
    assert np.any(classes != probabilities[places].argmax(axis=1))  # its first choice may be no confident one


def test_labels_made_wrong_are_found_and_right_ones_left_alone() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 7, 300)
    probabilities = np.full((300, 7), 0.02, np.float32)
    probabilities[np.arange(300), true] = 0.88
    labels = true.copy()
    wrong = rng.choice(300, 20, replace=False)
    labels[wrong] = (true[wrong] + 1) % 7
    assert sorted(likely_label_errors(labels, probabilities)[0]) == sorted(wrong)


def test_a_tie_contradicts_nothing() -> None:
    assert likely_label_errors(np.array([0, 1, 0, 1]), np.full((4, 2), 0.5, np.float32))[0].tolist() == []
    assert not len(likely_label_errors(np.zeros(3, np.int64), np.tile(np.float32([0.9, 0.1]), (3, 1)))[0])

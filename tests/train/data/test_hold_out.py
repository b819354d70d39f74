from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fer_core import ConfigError, DataError, Faces
from fer_train.data.hold_out import hold_out


def faces_of(labels: Any, repeats_of: Any = None) -> Any:
    """Return different faces with these labels; `repeats_of` gives positions whose pixels a face repeats."""
    labels = np.array(labels)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 48, 48), dtype=np.uint8)
    if repeats_of is not None:
        images = images[np.array(repeats_of)]
    return Faces(images, np.arange(2, len(labels) + 2), labels=labels, source="faces.csv")


@pytest.mark.parametrize("fraction", [0.05, 0.1, 1 / 3, 0.5, 0.9])
def test_each_class_gives_its_rounded_share(fraction: float) -> None:
    sizes = [3, 10, 25, 40, 7, 100, 1]
    labels = np.repeat(np.arange(7), sizes)
    chosen = hold_out(faces_of(labels), fraction, 0)
    assert np.bincount(labels[chosen], minlength=7).tolist() == [round(fraction * size) for size in sizes]


def test_the_same_seed_draws_the_same_faces_and_another_one_others() -> None:
    faces = faces_of(np.arange(210) % 7)
    first = hold_out(faces, 0.2, 3)
    np.testing.assert_array_equal(first, hold_out(faces, 0.2, 3))
    assert (first != hold_out(faces, 0.2, 4)).any()


def test_the_draw_of_a_class_does_not_depend_on_the_other_classes() -> None:
    labels = np.arange(210) % 7
    faces = faces_of(labels)
    happy = np.flatnonzero(labels == 3)
    np.testing.assert_array_equal(hold_out(faces.take(happy), 0.2, 3), hold_out(faces, 0.2, 3)[happy])


@pytest.mark.parametrize("seed", range(5))
def test_equal_faces_stay_on_one_side_also_where_their_labels_differ(seed: int) -> None:
    repeats_of = np.arange(140) // 4 * 4
    labels = np.random.default_rng(1).integers(0, 7, 140)
    faces = faces_of(labels, repeats_of)
    chosen = hold_out(faces, 0.3, seed)
    np.testing.assert_array_equal(chosen, chosen[repeats_of])
    share = chosen.mean()
    assert 0.15 < share <= 0.3


def test_groups_that_are_too_large_are_passed_over_for_smaller_ones() -> None:
    faces = faces_of([2] * 10, [0, 0, 0, 0, 0, 0, 0, 0, 8, 9])
    for seed in range(9):
        assert np.flatnonzero(hold_out(faces, 0.2, seed)).tolist() == [8, 9]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"^hold_out: expected above 0 and below 1, found "):
        hold_out(faces_of([1] * 10), fraction, 0)


def test_a_split_without_a_face_on_one_side_is_refused() -> None:
    with pytest.raises(DataError, match=r"^faces\.csv: holding out 0\.1 of 7 faces leaves none to validate on$"):
        hold_out(faces_of(range(7)), 0.1, 0)
    with pytest.raises(DataError, match=r"^faces\.csv: holding out 0\.9 of 7 faces leaves none to train on$"):
        hold_out(faces_of(range(7)), 0.9, 0)


def test_faces_without_labels_are_refused() -> None:
    images = np.zeros((3, 48, 48), np.uint8)
    with pytest.raises(DataError, match="has no labels"):
        hold_out(Faces(images, np.arange(3)), 0.5, 0)

"""Drawn faces are repeatable, show their labels, and change exactly where their region masks say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_core.errors import ConfigError
from fer_core.fer2013 import EXPRESSIONS, IMAGE_SIZE
from fer_core.synthetic.drawn_faces import (
    ACTION_REGIONS,
    ACTION_UNITS,
    REGIONS,
    UNIT_REGIONS,
    DrawnFaces,
    draw_action_units,
    draw_faces,
)
from fer_core.synthetic.painting import Canvas, ellipse, stroke

NEUTRAL = EXPRESSIONS.index("neutral")
UNITS = list(UNIT_REGIONS)


@pytest.fixture(scope="module")
def drawn() -> DrawnFaces:
    return draw_faces(700, seed=3)


def grown(masks: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Masks (..., 48, 48) grown by `reach` pixels in all eight directions."""
    padding = [(0, 0)] * (masks.ndim - 2) + [(reach, reach)] * 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(masks, padding), (2 * reach + 1,) * 2, axis=(-2, -1))
    return np.asarray(windows.any(axis=(-2, -1)))


def union(regions: NDArray[np.bool_], chosen: list[int]) -> NDArray[np.bool_]:
    return np.asarray(regions[:, chosen].any(axis=1))


def only(unit: int, n: int) -> NDArray[np.float64]:
    """Intensities (n, 13) of one action unit at its maximum, the others absent."""
    intensities = np.zeros((n, len(UNITS)))
    intensities[:, UNITS.index(unit)] = 1
    return intensities


def change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.abs(after.astype(float) - before)


def test_shapes_and_dtypes_are_those_of_the_contract(drawn: DrawnFaces) -> None:
    assert drawn.images.shape == (700, IMAGE_SIZE, IMAGE_SIZE)
    assert drawn.images.dtype == np.uint8
    assert drawn.labels.shape == (700,)
    assert drawn.labels.dtype == np.int64
    assert drawn.regions.shape == (700, len(REGIONS), IMAGE_SIZE, IMAGE_SIZE)
    assert drawn.regions.dtype == np.bool_


def test_same_seed_gives_the_same_bytes() -> None:
    first, second = draw_faces(70, seed=11), draw_faces(70, seed=11)
    assert first.images.tobytes() == second.images.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.regions.tobytes() == second.regions.tobytes()


def test_another_seed_gives_other_people_and_another_order() -> None:
    first, second = draw_faces(70, seed=11), draw_faces(70, seed=12)
    assert (first.labels != second.labels).any()
    assert (change(first.images, second.images).mean(axis=(1, 2)) > 3).all()


@pytest.mark.parametrize("n", [1, 6, 7, 50])
def test_labels_are_balanced_to_within_one(n: int) -> None:
    counts = np.bincount(draw_faces(n, seed=0).labels, minlength=len(EXPRESSIONS))
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_labels_that_were_given_are_kept() -> None:
    labels = np.array([6, 0, 3, 3], dtype=np.uint8)
    drawn = draw_faces(4, seed=0, labels=labels)
    assert drawn.labels.dtype == np.int64
    np.testing.assert_array_equal(drawn.labels, labels)


def test_first_faces_do_not_depend_on_how_many_follow_when_labels_are_given() -> None:
    labels = np.arange(150) % len(EXPRESSIONS)
    few, many = draw_faces(70, seed=5, labels=labels[:70]), draw_faces(150, seed=5, labels=labels)
    np.testing.assert_array_equal(few.images, many.images[:70])
    np.testing.assert_array_equal(few.regions, many.regions[:70])


def test_faces_fill_the_range_of_gray_without_being_blank(drawn: DrawnFaces) -> None:
    assert drawn.images.min() == 0
    assert drawn.images.max() == 255
    assert drawn.images.std(axis=(1, 2)).min() > 8


def test_every_face_has_every_region(drawn: DrawnFaces) -> None:
    assert drawn.regions.any(axis=(2, 3)).all()


def test_regions_are_small_parts_of_the_image(drawn: DrawnFaces) -> None:
    shares = drawn.regions.mean(axis=(2, 3))
    assert shares.max() < 0.25
    assert drawn.regions.any(axis=1).mean() < 0.45


def test_regions_stand_in_the_order_of_a_face(drawn: DrawnFaces) -> None:
    rows = np.arange(IMAGE_SIZE)
    heights = (drawn.regions.sum(axis=3) * rows).sum(axis=2) / drawn.regions.sum(axis=(2, 3))
    brows, eyes, lids, nose, mouth = heights.T
    for upper, lower in ((brows, eyes), (eyes, nose), (lids, nose), (nose, mouth)):
        assert (lower - upper > 1.5).all()


def test_eyes_stand_on_both_sides_of_the_nose(drawn: DrawnFaces) -> None:
    columns = np.arange(IMAGE_SIZE)
    eyes, nose = drawn.regions[:, REGIONS.index("eyes")], drawn.regions[:, REGIONS.index("nose")]
    middle = np.rint((nose.sum(axis=1) * columns).sum(axis=1) / nose.sum(axis=(1, 2)))
    left = (eyes & (columns < middle[:, None, None])).sum(axis=(1, 2))
    share = left / eyes.sum(axis=(1, 2))
    assert ((share > 0.25) & (share < 0.75)).all()


@pytest.mark.parametrize("unit", UNITS)
def test_an_action_unit_changes_its_regions_and_nothing_else(unit: int) -> None:
    n = 40
    before, regions_before = draw_action_units(np.zeros((n, len(UNITS))), seed=7)
    after, regions_after = draw_action_units(only(unit, n), seed=7)
    regions = regions_before | regions_after
    changed = change(before, after)
    own = [REGIONS.index(region) for region in UNIT_REGIONS[unit]]
    near = grown(union(regions, own), 1)
    assert changed[near].sum() > 0.97 * changed.sum()
    assert changed[~near].max() < 30
    for region in own:
        assert changed[regions[:, region]].mean() > 2


@pytest.mark.parametrize("label", [label for label in EXPRESSIONS if label != "neutral"])
def test_another_label_changes_the_same_face_in_its_action_regions(label: str) -> None:
    n = 60
    calm = draw_faces(n, seed=9, labels=np.full(n, NEUTRAL))
    moved = draw_faces(n, seed=9, labels=np.full(n, EXPRESSIONS.index(label)))
    changed = change(calm.images, moved.images)
    own = [REGIONS.index(region) for region in ACTION_REGIONS[label]]
    inside = grown(union(calm.regions | moved.regions, own), 1)
    assert changed[inside].mean() > 20 * changed[~inside].mean()


def test_action_regions_are_those_of_the_prototype() -> None:
    assert set(ACTION_UNITS) == set(ACTION_REGIONS) == set(EXPRESSIONS)
    assert ACTION_REGIONS["neutral"] == ()
    assert ACTION_REGIONS["surprise"] == ("brows", "eyes", "lids", "mouth")
    assert ACTION_REGIONS["disgust"] == ("nose", "mouth")


@pytest.mark.parametrize(("unit", "direction"), [(1, -1), (2, -1), (4, 1)])
def test_brows_move_the_way_of_their_muscle(unit: int, direction: int) -> None:
    """What turns darker lies above (-1) or below (1) what turns lighter."""
    before, _ = draw_action_units(np.zeros((40, len(UNITS))), seed=2)
    after, _ = draw_action_units(only(unit, 40), seed=2)
    moved = after.astype(float) - before
    rows = np.arange(IMAGE_SIZE)[:, None]
    darker, lighter = np.maximum(-moved, 0), np.maximum(moved, 0)
    shift = (darker * rows).sum() / darker.sum() - (lighter * rows).sum() / lighter.sum()
    assert shift * direction > 0.5


@pytest.mark.parametrize(("unit", "direction"), [(12, -1), (15, 1)])
def test_mouth_corners_move_the_way_of_their_muscle(unit: int, direction: int) -> None:
    def corner_row(intensities: NDArray[np.float64]) -> float:
        _, regions = draw_action_units(intensities, seed=2)
        face, rows, columns = np.nonzero(regions[:, REGIONS.index("mouth")])
        leftmost, rightmost = np.full(40, IMAGE_SIZE), np.zeros(40, np.int64)
        np.minimum.at(leftmost, face, columns)
        np.maximum.at(rightmost, face, columns)
        return float(rows[(columns == leftmost[face]) | (columns == rightmost[face])].mean())

    assert (corner_row(only(unit, 40)) - corner_row(np.zeros((40, len(UNITS))))) * direction > 1


def test_jaw_drop_enlarges_the_mouth_and_lid_tightener_narrows_the_eyes() -> None:
    _, rest = draw_action_units(np.zeros((40, len(UNITS))), seed=4)
    for unit, region, ratio in ((26, "mouth", 1.2), (5, "eyes", 1.3)):
        _, acted = draw_action_units(only(unit, 40), seed=4)
        own = REGIONS.index(region)
        assert acted[:, own].sum() > ratio * rest[:, own].sum()
    _, tightened = draw_action_units(only(7, 40), seed=4)
    assert tightened[:, 1].sum() < 0.8 * rest[:, 1].sum()


def test_a_linear_classifier_learns_the_labels_but_not_all_of_them(drawn: DrawnFaces) -> None:
    held_out = draw_faces(350, seed=4)
    training, test = (
        faces.images[:, ::2, ::2].reshape(len(faces.images), -1) / 255 - 0.5 for faces in (drawn, held_out)
    )
    kernel = training @ training.T + 1 + 10 * np.eye(len(training))
    weights = np.linalg.solve(kernel, np.eye(len(EXPRESSIONS))[drawn.labels])
    predicted = ((test @ training.T + 1) @ weights).argmax(axis=1)
    assert 0.3 < (predicted == held_out.labels).mean() < 0.85


def test_painting_only_the_rows_of_each_part_loses_nothing(drawn: DrawnFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Canvas, "rows", lambda canvas, top, bottom: canvas)
    whole = draw_faces(len(drawn.labels), seed=3)
    np.testing.assert_array_equal(whole.regions, drawn.regions)
    np.testing.assert_array_equal(whole.images, drawn.images)


def test_coverage_of_a_shape_adds_up_to_its_area() -> None:
    y, x = np.mgrid[-20:21, -20:21] + np.array([0.3, -0.2])[:, None, None]
    assert ellipse(x, y, 9.0, 9.0).sum() == pytest.approx(np.pi * 81, rel=0.01)
    assert ellipse(x, y, 12.0, 8.0).sum() == pytest.approx(np.pi * 96, rel=0.02)
    assert stroke(x, y, (-6.0, -4.0), (6.0, 5.0), 2.0).sum() == pytest.approx(15 * 2 + np.pi, rel=0.02)


@pytest.mark.parametrize("n", [0, -3])
def test_fewer_than_one_face_is_refused(n: int) -> None:
    with pytest.raises(ConfigError, match=rf"^n: expected at least 1, found {n}$"):
        draw_faces(n, seed=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^seed: expected at least 0, found -1$"):
        draw_faces(1, seed=-1)


@pytest.mark.parametrize("labels", [np.zeros(2, np.int64), np.zeros((3, 1), np.int64), np.zeros(3)])
def test_labels_of_the_wrong_shape_or_kind_are_refused(labels: NDArray[np.int64]) -> None:
    with pytest.raises(ConfigError, match=r"^labels: expected integers of shape \(3,\), found (int|float)64 of shape"):
        draw_faces(3, seed=0, labels=labels)


@pytest.mark.parametrize(("label", "found"), [(7, r"0\.\.7"), (-1, r"-1\.\.0")])
def test_labels_outside_the_seven_are_refused(label: int, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"^labels: expected 0\.\.6, found {found}$"):
        draw_faces(2, seed=0, labels=np.array([0, label]))


def test_intensities_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^intensities: expected shape \(N, 13\), found \(2, 5\)$"):
        draw_action_units(np.zeros((2, 5)), seed=0)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_intensities_outside_their_range_are_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"^intensities: expected values in 0\.\.1$"):
        draw_action_units(np.full((2, len(UNITS)), value), seed=0)

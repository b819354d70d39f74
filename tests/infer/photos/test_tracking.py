"""Face ids follow faces along known paths, whatever the frame rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.tracking import Tracker, lost_s

SHAPE = np.array([[-0.2, -0.15], [0.2, -0.15], [0.0, 0.05], [-0.15, 0.2], [0.15, 0.2]])


def face_at(x: float, y: float, size: float = 80.0) -> FoundFace:
    landmarks = np.array([x, y]) + SHAPE * size
    box = Box(x - size / 2, y - size / 2, size, size)
    return FoundFace(box, 0.9, landmarks, np.eye(2, 3), np.zeros((48, 48), np.uint8))


Path = Callable[[float], tuple[float, float] | None]


def ids_of(paths: Sequence[Path], times: Sequence[float], jitter: float = 0.0) -> list[list[int | None]]:
    """Return the ids of each path at each time; None where its face is hidden. Faces come from left to right."""
    tracker, rng = Tracker(), np.random.default_rng(0)
    found: list[list[int | None]] = []
    for time_s in times:
        places = [path(time_s) for path in paths]
        shown = [number for number, place in enumerate(places) if place is not None]
        shown.sort(key=lambda number: places[number][0])  # type: ignore[index]
        faces = [face_at(*(np.array(places[number]) + rng.normal(0, jitter, 2))) for number in shown]
        ids = dict(zip(shown, tracker.assign(faces, time_s), strict=True))
        found.append([ids.get(number) for number in range(len(paths))])
    return found


def every(rate: float, seconds: float) -> list[float]:
    return [number / rate for number in range(int(rate * seconds) + 1)]


@pytest.mark.parametrize("rate", [5, 25, 60])
def test_faces_that_pass_each_other_keep_their_ids(rate: float) -> None:
    paths: list[Path] = [lambda t: (100 + 200 * t, 100.0), lambda t: (500 - 200 * t, 210.0)]
    found = ids_of(paths, every(rate, 2), jitter=2)
    assert found[0] == [1, 2]
    assert all(ids == [1, 2] for ids in found)


@pytest.mark.parametrize(("hidden_s", "expected"), [(0.9, [1]), (1.5, [2])])
def test_a_face_keeps_its_id_through_a_second_of_occlusion(hidden_s: float, expected: list[int]) -> None:
    path: Path = lambda t: None if 1 < t < 1 + hidden_s else (200.0, 150.0)  # noqa: E731 - a path
    found = ids_of([path], every(25, 3.5), jitter=1)
    assert found[0] == [1]
    assert found[40] == [None]
    assert found[-1] == expected


@pytest.mark.parametrize("rate", [2, 5, 7, 12, 25, 60])
@pytest.mark.parametrize(("hidden_s", "expected"), [(1.0, [1]), (2.1, [2])])
def test_an_occlusion_of_a_second_is_survived_at_every_frame_rate(
    rate: float, hidden_s: float, expected: list[int]
) -> None:
    for start in (1.0, 1.13, 1.3, 1.49):
        path: Path = lambda t, start=start: None if start <= t <= start + hidden_s else (200.0, 150.0)  # type: ignore[misc]  # noqa: E731
        found = ids_of([path], every(rate, 4.5))
        assert [None] in found
        assert found[-1] == expected


def test_no_face_is_followed_through_a_hole_in_the_film() -> None:
    tracker = Tracker()
    assert tracker.assign([face_at(100, 100)], 0) == [1]
    assert tracker.assign([face_at(100, 100)], 1.0) == [1]
    assert tracker.assign([face_at(100, 100)], 2.1) == [2]


def test_a_moving_face_is_found_again_after_a_short_occlusion() -> None:
    path: Path = lambda t: None if 1 < t < 1.3 else (100 + 120 * t, 150.0)  # noqa: E731
    assert ids_of([path], every(25, 2))[-1] == [1]


def test_a_fast_face_keeps_its_id_when_frames_are_dropped() -> None:
    times = [time_s for number, time_s in enumerate(every(25, 2)) if number % 7 not in (2, 3, 4)]
    assert all(ids == [1] for ids in ids_of([lambda t: (50 + 300 * t, 150.0)], times, jitter=2))


def test_a_face_elsewhere_gets_a_new_id_and_none_is_used_again() -> None:
    tracker = Tracker()
    assert tracker.assign([face_at(100, 100), face_at(300, 100)], 0) == [1, 2]
    assert tracker.assign([face_at(500, 300)], 0.04) == [3]
    assert tracker.assign([face_at(100, 100), face_at(300, 100), face_at(700, 50)], 0.08) == [1, 2, 4]
    assert tracker.assign([], 5) == []
    assert tracker.assign([face_at(100, 100)], 5.04) == [5]
    assert tracker.count == 5


def test_a_face_of_another_size_at_the_same_place_is_another_face() -> None:
    tracker = Tracker()
    assert tracker.assign([face_at(200, 200, 60)], 0) == [1]
    assert tracker.assign([face_at(200, 200, 700)], 0.04) == [2]


def test_all_faces_are_assigned_together() -> None:
    tracker = Tracker()
    tracker.assign([face_at(100, 100), face_at(150, 100)], 0)
    # the nearest pair, 2 with the left face, would leave face 1 a distance of 90
    assert tracker.assign([face_at(130, 100), face_at(190, 100)], 0.04) == [1, 2]


def test_after_a_cut_faces_elsewhere_are_new() -> None:
    tracker = Tracker()
    assert tracker.assign([face_at(100, 100), face_at(300, 100)], 0) == [1, 2]
    assert tracker.assign([face_at(200, 300, 200), face_at(300, 100)], 0.04) == [3, 2]


@pytest.mark.parametrize("every_s", [1, 2, 60])
def test_faces_are_followed_through_films_of_which_few_frames_are_taken(every_s: float) -> None:
    tracker = Tracker(lost_s(every_s))
    assert [tracker.assign([face_at(100, 100)], number * every_s * 1.01) for number in range(4)] == [[1]] * 4
    assert tracker.assign([face_at(100, 100)], 9 * every_s) == [2]

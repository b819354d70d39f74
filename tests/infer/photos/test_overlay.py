"""Labels are drawn at the faces, and anonymized faces cannot be recognized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError
from fer_core.outputs.figures import SERIES
from fer_infer.photos.detector import FaceDetector
from fer_infer.photos.found_face import Box
from fer_infer.photos.overlay import HeldBoxes, Label, anonymize, draw_labels
from fer_infer.photos.timeline import MOST_FACES, Timeline

data = pytest.importorskip("skimage.data")
SHARES = [0.02, 0.02, 0.02, 0.88, 0.02, 0.02, 0.02]


def color(name: str) -> tuple[int, ...]:
    return tuple(int(name[place : place + 2], 16) for place in (1, 3, 5))


def test_box_panel_and_bars_are_drawn_beside_the_face() -> None:
    blank = np.full((300, 400, 3), 128, np.uint8)
    drawn = draw_labels(blank, [Label(Box(50, 60, 80, 100), "1 happy 88%", SHARES, EXPRESSIONS)])
    changed = np.argwhere((drawn != blank).any(axis=2))
    assert changed.min(axis=0).tolist() >= [50, 40]
    assert (drawn[62:158, 54:128] == 128).all()  # the face itself stays visible
    widths = {
        name: int((drawn == color(SERIES[place])).all(axis=2).any(axis=0).sum())
        for place, name in enumerate(EXPRESSIONS)
    }
    assert widths["happy"] > 4 * max(width for name, width in widths.items() if name not in ("happy", "neutral"))


@pytest.mark.parametrize("size", [(60, 80), (4000, 6000)])
@pytest.mark.parametrize("corner", [(0, 0), (1, 1)])
def test_labels_of_faces_at_the_edge_stay_in_the_picture(size: tuple[int, int], corner: tuple[int, int]) -> None:
    side = min(size) / 3
    box = Box(corner[0] * (size[1] - side), corner[1] * (size[0] - side), side, side)
    blank = np.full((*size, 3), 128, np.uint8)
    drawn = draw_labels(blank, [Label(box, "1 happy 88%", SHARES, EXPRESSIONS)])
    assert drawn.shape == blank.shape
    assert (drawn != blank).any()


@pytest.mark.parametrize("size", [(400, 120), (120, 400), (130, 130)])
def test_the_face_stays_visible_in_any_picture(size: tuple[int, int]) -> None:
    blank = np.full((*size, 3), 128, np.uint8)
    box = Box(20, 30, 80, 80)
    drawn = draw_labels(blank, [Label(box, "1 happy 88%", SHARES, EXPRESSIONS)])
    assert (drawn[34:106, 24:96] == 128).all()
    assert (drawn == 0).all(axis=2).any()  # a text in black


def test_each_class_of_a_model_with_eight_has_its_own_color() -> None:
    assert len(set(SERIES)) >= 8


def test_boxes_are_held_where_faces_are_missed() -> None:
    held = HeldBoxes(hold_s=1.0)
    one, moved, small = Box(0, 0, 40, 40), Box(9, 0, 40, 40), Box(70, 70, 8, 8)
    assert held.at(0.0, [(1, one), (None, small)]) == [small, one]
    assert held.at(0.5, [(1, moved)]) == [moved]
    assert held.at(1.5, []) == [moved]
    assert held.at(2.5, []) == [moved]  # as long as the tracker keeps the id
    assert held.at(2.6, []) == []
    assert held.at(3.0, [(1, one)]) == [one]
    assert held.at(3.1, []) == [one]


@pytest.mark.parametrize("how", ["blur", "mask"])
def test_an_anonymized_face_is_neither_found_nor_similar(how: str) -> None:
    pixels = data.astronaut()
    (face,) = FaceDetector().detect(pixels)
    covered = anonymize(pixels, [face.box], how)
    assert FaceDetector().detect(covered) == []
    left, top, width, height = (int(value) for value in face.box)
    before, after = (one[top : top + height, left : left + width].mean(axis=2) for one in (pixels, covered))
    detail = before - np.asarray(Image.fromarray(before).resize((4, 4)).resize(before.shape[::-1]))
    assert after.std() == 0 or abs(np.corrcoef(detail.ravel(), after.ravel())[0, 1]) < 0.35
    outside = np.ones(pixels.shape[:2], bool)
    outside[top - height // 3 : top + height + height // 3, left - width // 3 : left + width + width // 3] = False
    np.testing.assert_array_equal(covered[outside], pixels[outside])


def test_faces_at_the_edge_and_tiny_ones_are_covered() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    for box in (Box(-20, -20, 40, 40), Box(55, 45, 30, 30), Box(10, 10, 1, 1), Box(200, 200, 9, 9)):
        covered = anonymize(pixels, [box], "mask")
        assert covered.shape == pixels.shape
        assert (covered != pixels).any() == (box.left < 60)
    assert anonymize(pixels, [Box(0, 0, 9, 9)], "none") is pixels
    with pytest.raises(ConfigError, match="anonymize: expected one of none, blur, mask, found 'pixelate'"):
        anonymize(pixels, [], "pixelate")


def test_a_timeline_is_drawn_in_bounded_memory_with_gaps(tmp_path: Path) -> None:
    timeline = Timeline(EXPRESSIONS, gap_s=0.5, lost_s=1)
    for number in range(9000):
        time_s = number / 25
        if not 100 < time_s < 200:
            timeline.add(1, time_s, np.array(SHARES))
        if number % 900 == 0:
            timeline.add(2 + number // 900, time_s, np.array(SHARES))
    points = timeline._faces[1].points(8)
    assert 2000 <= len(points) <= 4000
    assert points[:, 0].tolist() == [time_s for time_s in points[:, 0] if not 100 < time_s < 200]
    np.testing.assert_allclose(points[:, 1:], np.tile(SHARES, (len(points), 1)))
    timeline.save(tmp_path / "t.png", "film.mp4")
    image = np.asarray(Image.open(tmp_path / "t.png").convert("RGB"))
    assert (image == color(SERIES[3])).all(axis=2).any()
    timeline.save(tmp_path / "again.png", "film.mp4")
    assert (tmp_path / "t.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_a_timeline_of_many_short_faces_keeps_those_seen_most_often(tmp_path: Path) -> None:
    timeline = Timeline(EXPRESSIONS, gap_s=0.5, lost_s=1)
    counts = np.random.default_rng(0).permutation(np.arange(1, 201))
    time_s = 0.0
    for face, count in enumerate(counts.tolist(), start=1):
        for _ in range(count):
            timeline.add(face, time_s, np.array(SHARES))
            time_s += 0.04
        time_s += 2
        assert len(timeline._faces) <= MOST_FACES + 1
    assert timeline._by_count()[:MOST_FACES] == (np.argsort(-counts)[:MOST_FACES] + 1).tolist()
    assert len(timeline._faces) + timeline._dropped == 200


def test_a_film_without_faces_has_an_empty_timeline(tmp_path: Path) -> None:
    Timeline(EXPRESSIONS, gap_s=0.5, lost_s=1).save(tmp_path / "t.png", "film.mp4")
    assert Image.open(tmp_path / "t.png").width > 100

"""The detector finds what OpenCV's FaceDetectorYN finds, and faces of all sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import FerError, ModelError
from fer_infer.photos import yunet
from fer_infer.photos.detector import (
    OVERLAP_THRESHOLD,
    SCORE_THRESHOLD,
    WINDOW_SIDE,
    Detection,
    FaceDetector,
    overlap_of,
    windows,
    without_repeats,
)
from fer_infer.photos.found_face import Box

cv2 = pytest.importorskip("cv2")
data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return data.astronaut()


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def opencv_faces(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    reference = cv2.FaceDetectorYN_create(
        str(yunet.find_file()), "", (width, height), SCORE_THRESHOLD, OVERLAP_THRESHOLD, 5000
    )
    found = reference.detect(np.ascontiguousarray(pixels[..., ::-1]))[1]
    return np.empty((0, 15), np.float32) if found is None else found[np.argsort(found[:, 0])]


def pasted(face: NDArray[np.uint8], canvas: tuple[int, int], left: int, top: int, side: int) -> NDArray[np.uint8]:
    picture = Image.new("RGB", (canvas[1], canvas[0]), (120, 130, 125))
    picture.paste(Image.fromarray(face).resize((side, side)), (left, top))
    return np.asarray(picture)


PICTURES = {
    "as it is": lambda face: face,
    "mirrored": lambda face: face[:, ::-1],
    "sides not divisible by 32": lambda face: face[:401, 30:487],
    "small": lambda face: np.asarray(Image.fromarray(face).resize((100, 100))),
    "two faces": lambda face: np.hstack([face[:, :320], face[:, 30:350][:, ::-1]]),
    "dim": lambda face: face // 3,
}


@pytest.mark.parametrize("name", PICTURES)
def test_boxes_landmarks_and_scores_equal_those_of_opencv(
    name: str, astronaut: NDArray[np.uint8], detector: FaceDetector
) -> None:
    pixels = np.ascontiguousarray(PICTURES[name](astronaut))
    expected = opencv_faces(pixels)
    found = detector.detect(pixels)
    assert len(found) == len(expected) >= 1
    for face, row in zip(found, expected, strict=True):
        np.testing.assert_allclose(face.box, row[:4], atol=0.05)
        np.testing.assert_allclose(face.landmarks.ravel(), row[4:14], atol=0.05)
        assert face.score == pytest.approx(row[14], abs=1e-4)


def test_free_input_sizes_change_no_output(astronaut: NDArray[np.uint8]) -> None:
    fixed = yunet.open_session(yunet.find_file().read_bytes(), "cpu")[0]
    free = yunet.open_network()
    blob = np.random.default_rng(0).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    for one, other in zip(fixed.run(None, {"input": blob}), free.run(None, {"input": blob}), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("side", [60, 200, 900])
def test_a_face_is_found_at_its_place_in_a_large_picture(
    side: int, astronaut: NDArray[np.uint8], detector: FaceDetector
) -> None:
    face = astronaut[40:200, 140:300]
    (found,) = detector.detect(pasted(face, (2200, 3000), 1900, 1100, side))
    (expected,) = detector.detect(pasted(face, (640, 640), 200, 200, 240))
    places = np.array([1900, 1100]) + (expected.landmarks - 200) * side / 240
    np.testing.assert_allclose(found.landmarks, places, atol=0.08 * side)


def test_a_smaller_min_face_finds_smaller_faces(astronaut: NDArray[np.uint8]) -> None:
    crowd = pasted(astronaut[40:200, 140:300], (1500, 2000), 1500, 900, 32)
    assert FaceDetector(min_face=48).detect(crowd) == []
    (found,) = FaceDetector(min_face=12).detect(crowd)
    assert 1500 < found.box.left < 1532


def test_each_face_of_a_crowd_is_found_once_and_from_left_to_right(
    astronaut: NDArray[np.uint8], detector: FaceDetector
) -> None:
    tile = np.asarray(Image.fromarray(astronaut[:256, 100:356]).resize((384, 384)))
    crowd = np.tile(tile, (3, 5, 1))  # faces lie on the edges of windows
    found = detector.detect(crowd)
    assert len(found) == 15
    assert [face.box.left for face in found] == sorted(face.box.left for face in found)
    places = {(round(face.box.left / 384 - 0.3), round(face.box.top / 384 - 0.2)) for face in found}
    assert places == {(column, row) for column in range(5) for row in range(3)}


@pytest.mark.parametrize("roll", [-45, 45])
def test_a_rotated_face_is_found_at_the_second_look(
    roll: float, astronaut: NDArray[np.uint8], detector: FaceDetector
) -> None:
    picture = Image.fromarray(astronaut).rotate(roll, Image.Resampling.BILINEAR)
    (found,) = detector.detect(np.asarray(picture))
    (upright,) = detector.detect(astronaut)
    angle = np.radians(roll)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    place = rotation @ (upright.landmarks.mean(axis=0) - 256) + 256
    np.testing.assert_allclose(found.landmarks.mean(axis=0), place, atol=0.1 * upright.box.width)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (31, 33), (640, 640)])
def test_pictures_without_faces_of_any_shape_have_none(shape: tuple[int, int], detector: FaceDetector) -> None:
    assert detector.detect(np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("shape", [(700, 2900), (3000, 4000), (1500, 100)])
def test_windows_cover_every_small_face_whole(shape: tuple[int, int]) -> None:
    height, width = shape
    whole, *tiles = windows(np.zeros((*shape, 3), np.uint8), min_face=24)
    smallest_in_whole = 12 / whole.scale
    rng = np.random.default_rng(1)
    for _ in range(300):
        side = rng.uniform(24, smallest_in_whole)
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        boxes = [(window, (np.array([x, y]) - window.to_picture[:, 2]) * window.scale) for window in tiles]
        assert any(
            side * window.scale <= window.largest
            and (corner >= 0).all()
            and (corner + side * window.scale <= np.array(window.pixels.shape[1::-1]) + 1).all()
            for window, corner in boxes
        )
    assert all(max(window.pixels.shape[:2]) <= WINDOW_SIDE for window in (whole, *tiles))


def test_ties_are_broken_by_position() -> None:
    boxes = [Box(float(left), 0.0, 10.0, 10.0) for left in (4, 2, 0)]
    faces = [Detection(box, 0.9, np.zeros((5, 2))) for box in boxes]
    assert [face.box.left for face in without_repeats(faces)] == [0.0]
    assert [face.box.left for face in without_repeats(faces[::-1])] == [0.0]


def test_overlap_is_intersection_over_union() -> None:
    assert overlap_of(Box(0, 0, 2, 2), Box(1, 1, 2, 2)) == pytest.approx(1 / 7)
    assert overlap_of(Box(0, 0, 2, 2), Box(2, 0, 2, 2)) == 0
    assert overlap_of(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yunet, "PACKAGE", "no-such-package")
    with pytest.raises(FerError, match=r"no-such-package is not installed; pip install 'fer-toolkit\[photos\]'"):
        FaceDetector()


def test_another_file_of_the_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "yunet.onnx"
    other.write_bytes(b"another network")
    monkeypatch.setattr(yunet, "find_file", lambda: other)
    with pytest.raises(ModelError, match=r"yunet.onnx: expected SHA-256 8f2383e4dd3c\.\.\., found [0-9a-f]{12}"):
        FaceDetector()

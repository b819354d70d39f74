"""Alignment: the transform against closed forms and SciPy's Procrustes, and area sampling against slow averages."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core.synthetic.drawn_faces import REGIONS, draw_faces
from fer_infer.photos import alignment
from fer_infer.photos.alignment import inverse, load_template, similarity, warp
from fer_infer.photos.detector import FaceDetector
from fer_infer.photos.find import align, find_faces, find_landmarks, whole_face
from fer_infer.photos.found_face import roll_of

transforms = pytest.importorskip("skimage.transform")
data = pytest.importorskip("skimage.data")


def matrix_of(scale: float, roll: float, x: float, y: float) -> NDArray[np.float64]:
    angle = math.radians(roll)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


def applied(transform: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([points, np.ones((len(points), 1))]) @ transform.T


@pytest.mark.parametrize(("scale", "roll", "x", "y"), [(1, 0, 0, 0), (0.2, 30, -7, 90), (5, -170, 1000, 3)])
def test_a_known_similarity_is_recovered(scale: float, roll: float, x: float, y: float) -> None:
    points = load_template().landmarks
    known = matrix_of(scale, roll, x, y)
    np.testing.assert_allclose(similarity(points, applied(known, points)), known, atol=1e-9)


def test_the_least_squares_fit_equals_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points, template = rng.normal(size=(5, 2)) * 40, load_template().landmarks + rng.normal(size=(5, 2))
        reference = transforms.SimilarityTransform.from_estimate(points, template)
        if np.linalg.det(reference.params[:2, :2]) > 0:  # where the reference does not reflect
            np.testing.assert_allclose(similarity(points, template), reference.params[:2], atol=1e-8)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_landmarks_that_coincide_are_an_error(points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="the landmarks coincide or are not finite"):
        similarity(points, load_template().landmarks)


def test_the_inverse_undoes_a_transform() -> None:
    known = matrix_of(0.3, 25, 4, -9)
    points = np.array([[0.0, 0.0], [13.0, 5.0], [-2.0, 40.0]])
    np.testing.assert_allclose(applied(inverse(known), applied(known, points)), points, atol=1e-9)


def test_a_48x48_picture_is_sampled_unchanged() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    np.testing.assert_array_equal(warp(np.repeat(gray[..., None], 3, 2), matrix_of(1, 0, 0, 0)), gray)


@pytest.mark.parametrize("factor", [2, 3, 5, 8, 13])
def test_each_pixel_is_the_mean_of_its_area(factor: int) -> None:
    rng = np.random.default_rng(factor)
    gray = np.asarray(Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).resize((48 * factor,) * 2))
    expected = gray.reshape(48, factor, 48, factor).mean(axis=(1, 3))
    sampled = warp(np.repeat(gray[..., None], 3, 2), matrix_of(1 / factor, 0, 0, 0))
    assert np.abs(sampled.astype(float) - expected).mean() < 1.0
    assert np.abs(sampled.astype(float) - expected).max() < 6  # bilinear samples reach beyond the area by half a pixel


@pytest.mark.parametrize("scale", [0.05, 0.21, 0.5, 1.7])
@pytest.mark.parametrize("roll", [0, 20, -75])
def test_sampling_equals_a_slow_average_of_a_smooth_picture(scale: float, roll: float) -> None:
    def level(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return 120 + 60 * np.sin(x * scale / 9) + 50 * np.cos(y * scale / 7)  # as smooth in every scale of the face

    size = math.ceil(100 / scale)
    down, right = np.mgrid[:size, :size] + 0.5
    gray = np.rint(level(right, down)).astype(np.uint8)
    transform = matrix_of(scale, roll, 24, 24) @ np.array([[1, 0, -size / 2], [0, 1, -size / 2], [0, 0, 1]])
    steps = (np.arange(48 * 8) + 0.5) / 8
    columns, rows = np.meshgrid(steps, steps)
    points = applied(inverse(transform), np.column_stack([columns.ravel(), rows.ravel()]))
    expected = level(points[:, 0], points[:, 1]).reshape(48, 8, 48, 8).mean(axis=(1, 3))
    sampled = warp(np.repeat(gray[..., None], 3, 2), transform)
    assert np.abs(sampled - expected).max() <= 1.5


def test_borders_are_repeated_outside_the_picture() -> None:
    gray = np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1))
    sampled = warp(np.repeat(gray[..., None], 3, 2), matrix_of(1, 0, 20, 0))
    np.testing.assert_array_equal(sampled[:, :20], np.zeros((48, 20)))
    np.testing.assert_array_equal(sampled[:, 20:], gray[:, :28])


def test_colors_become_luma() -> None:
    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 200, 100, 50
    assert set(np.unique(warp(pixels, matrix_of(1, 0, 0, 0)))) == {124}  # 0.299 r + 0.587 g + 0.114 b = 124.2


def test_the_template_says_what_it_was_fitted_to() -> None:
    template = load_template()
    stored = json.loads(Path(alignment.__file__).with_name(alignment.TEMPLATE_FILE).read_text())
    assert template.n == stored["n"] >= 28_000
    assert len(template.sha256) == 64
    eyes, mouth = template.landmarks[:2].mean(axis=0), template.landmarks[3:].mean(axis=0)
    assert abs(eyes[0] - 23.7) < 1
    assert 17 < eyes[1] < 19 < 35 < mouth[1] < 37
    assert template.spread.shape == (5, 2)


def test_landmarks_of_a_found_face_lie_on_the_template() -> None:
    (face,) = find_faces(data.astronaut())
    aligned = applied(face.transform, face.landmarks)
    np.testing.assert_allclose(aligned, load_template().landmarks, atol=3)
    assert face.image.shape == (48, 48)
    assert abs(face.roll) < 8  # she tilts her head a little
    assert face.size == min(face.box.width, face.box.height)


@pytest.mark.parametrize("roll", [-20, 15])
def test_the_roll_of_a_face_is_that_of_its_picture(roll: float) -> None:
    picture = Image.fromarray(data.astronaut())
    (upright,) = find_faces(picture)
    (rolled,) = find_faces(picture.rotate(-roll, Image.Resampling.BICUBIC))  # Pillow rotates counterclockwise
    assert rolled.roll - upright.roll == pytest.approx(roll, abs=3)
    assert np.corrcoef(rolled.image.ravel(), upright.image.ravel())[0, 1] > 0.94


def test_faces_smaller_than_min_face_are_left_out() -> None:
    (face,) = find_faces(data.astronaut())
    assert find_faces(data.astronaut(), min_face=math.ceil(face.size) + 1) == []


def test_a_blurred_face_has_less_variance() -> None:
    pixels = data.astronaut()
    blurred = np.asarray(Image.fromarray(pixels).resize((100, 100)).resize((512, 512), Image.Resampling.BICUBIC))
    (sharp,), (soft,) = find_faces(pixels), find_faces(blurred)
    assert soft.blur < 0.6 * sharp.blur


def test_a_whole_48x48_gray_picture_is_unchanged() -> None:
    gray = np.random.default_rng(3).integers(0, 256, (48, 48), np.uint8)
    face = whole_face(gray)
    np.testing.assert_array_equal(face.image, gray)
    np.testing.assert_array_equal(face.transform, [[1, 0, 0], [0, 1, 0]])
    assert math.isnan(face.detection)
    assert face.box == (0, 0, 48, 48)


def test_a_whole_picture_is_averaged_over_areas() -> None:
    gray = np.random.default_rng(4).integers(0, 256, (144, 144), np.uint8)
    expected = gray.reshape(48, 3, 48, 3).mean(axis=(1, 3))
    assert np.abs(whole_face(gray).image - expected).max() < 1  # Pillow rounds after each of the two axes


@pytest.mark.parametrize("shape", [(96, 64), (64, 96)])
def test_a_picture_that_is_not_square_keeps_its_proportions(shape: tuple[int, int]) -> None:
    gray = np.zeros(shape, np.uint8)
    gray[:, shape[1] // 2 :] = 200
    face = whole_face(gray).image
    assert (face[:, :23] == 0).all()
    assert (face[:, 25:] == 200).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1), (7, 5)])
def test_whole_pictures_of_any_shape_are_faces(shape: tuple[int, int]) -> None:
    assert (whole_face(np.full(shape, 9, np.uint8)).image == 9).all()


def test_aligning_is_repeatable() -> None:
    pixels = data.astronaut()
    (first,), (second,) = find_faces(pixels), find_faces(pixels)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.box == second.box


@pytest.mark.parametrize("roll", [-25, 25])
def test_aligning_again_removes_the_roll_that_the_network_underestimates(roll: float) -> None:
    picture = Image.fromarray(data.astronaut()).rotate(-roll, Image.Resampling.BICUBIC)
    pixels, detector = np.asarray(picture), FaceDetector()
    (detection,) = detector.detect(pixels)
    (upright,) = find_faces(data.astronaut())
    first = roll_of(similarity(detection.landmarks, load_template().landmarks)) - upright.roll
    final = align(pixels, detection, detector).roll - upright.roll
    assert abs(final - roll) < 3 < abs(first - roll)


def test_the_landmarks_of_drawn_faces_lie_at_their_eyes_and_mouths() -> None:
    drawn = draw_faces(30, seed=4)
    found = [find_landmarks(image) for image in drawn.images]
    located = [i for i, landmarks in enumerate(found) if landmarks is not None]
    assert len(located) >= 27
    eyes, mouths = [], []
    for i in located:
        landmarks = found[i]
        assert landmarks is not None
        down, right = np.nonzero(drawn.regions[i, REGIONS.index("eyes")])
        for eye, side in ((landmarks[0], right < 24), (landmarks[1], right >= 24)):
            eyes.append(math.dist(eye, (right[side].mean() + 0.5, down[side].mean() + 0.5)))
        across = np.nonzero(drawn.regions[i, REGIONS.index("mouth")])[1]
        mouths.append(abs(landmarks[3:, 0].mean() - across.mean() - 0.5))
    assert np.median(eyes) < 1.2
    assert np.median(mouths) < 1.2


@pytest.mark.parametrize("roll", [-15.0, 15.0])
def test_the_landmarks_of_a_face_follow_its_roll(roll: float) -> None:
    found = []
    for image in draw_faces(20, seed=6).images:
        turned = np.asarray(Image.fromarray(image).rotate(roll, Image.Resampling.BICUBIC))
        upright, rolled = find_landmarks(image), find_landmarks(turned)
        if upright is not None and rolled is not None:
            one, other = upright[1] - upright[0], rolled[1] - rolled[0]
            found.append(math.degrees(math.atan2(one[1], one[0]) - math.atan2(other[1], other[0])))
    assert len(found) >= 15
    assert np.median(found) == pytest.approx(roll, abs=3)  # PIL rotates counterclockwise


def test_a_picture_without_a_face_has_no_landmarks() -> None:
    assert find_landmarks(np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)) is None
    assert find_landmarks(np.full((48, 48), 200, np.uint8)) is None

"""Maps over photos: each pixel of a map lands where the pixel of the face came from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from fer_core import ConfigError, DataError, Faces
from fer_core.outputs.map_colors import overlay
from fer_infer import overlay_map
from fer_infer.photos.alignment import inverse, load_template, warp
from fer_infer.photos.find import find_faces, whole_face
from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.map_overlay import bounds_of, corners_of

SIDE = 600


def placed(
    face: NDArray[np.uint8], size: float, roll: float, center: tuple[float, float]
) -> tuple[Image.Image, FoundFace]:
    """Draw a face of `size` pixels, rolled by `roll` degrees, around a point of a colored picture."""
    scale, angle = 48 / size, math.radians(roll)
    linear = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    transform = np.column_stack([linear, 24 - linear @ center])
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (SIDE, SIDE + 80, 3)).astype(np.uint8))
    matrix = tuple(transform.ravel().tolist())  # Pillow maps centers of pixels as this transform does
    drawn = Image.fromarray(face).transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    mask = Image.new("L", (48, 48), 255).transform(picture.size, Image.Transform.AFFINE, matrix)
    picture.paste(drawn.convert("RGB"), mask=mask)
    found = FoundFace(Box(0, 0, size, size), 0.9, np.zeros((5, 2)), transform, warp(np.asarray(picture), transform))
    return picture, found


def hottest(photo: Image.Image, face: FoundFace, attributions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the center of what a map changes in its overlay, in pixels of the photo."""
    empty = overlay_map(photo, face, np.zeros((48, 48), np.float32), outline=False)
    change = np.abs(overlay_map(photo, face, attributions, outline=False).astype(float) - empty).sum(axis=2)
    weights = change**4
    y, x = np.indices(change.shape) + 0.5
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@pytest.mark.parametrize(
    ("size", "roll", "center"),
    [(48, 0, (100, 100)), (300, 25, (280.3, 310.8)), (130, -70, (500, 90)), (30, 8, (60, 550))],
)
def test_the_hottest_pixel_of_a_map_lands_where_it_came_from(
    faces: Faces, size: float, roll: float, center: tuple[float, float]
) -> None:
    photo, face = placed(faces.images[0], size, roll, center)
    assert np.abs(face.image[4:-4, 4:-4].astype(float) - faces.images[0][4:-4, 4:-4]).mean() < 12  # it is that place
    for x, y in [(10, 12), (30, 20), (24, 40)]:
        attributions = np.zeros((48, 48), np.float32)
        attributions[y, x] = 1
        expected = inverse(face.transform) @ (x + 0.5, y + 0.5, 1)
        one_pixel = size / 48
        assert np.linalg.norm(hottest(photo, face, attributions) - expected) < one_pixel


def test_a_map_lies_on_the_nose_of_a_rolled_photo() -> None:
    photo = Image.fromarray(data.astronaut()).rotate(20, expand=True)
    (face,) = find_faces(photo)
    nose = load_template().landmarks[2]
    attributions = np.zeros((48, 48), np.float32)
    attributions[int(nose[1]), int(nose[0])] = 1
    assert np.linalg.norm(hottest(photo, face, attributions) - face.landmarks[2]) < 3 * 48 / 48 / np.linalg.norm(
        face.transform[0, :2]
    )


@pytest.mark.parametrize("signed", [False, True])
def test_on_a_photo_of_48_pixels_it_is_the_map_of_a_report(faces: Faces, signed: bool) -> None:
    image = faces.images[1]
    attributions = np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32)
    drawn = overlay_map(image, whole_face(image), attributions, signed=signed, outline=False)
    assert np.array_equal(drawn, overlay(image, attributions, signed=signed))


def test_outside_of_the_square_nothing_changes_but_the_outline(faces: Faces) -> None:
    photo, face = placed(faces.images[0], 200, 30, (300, 300))
    original = np.asarray(photo)
    drawn = overlay_map(photo, face, np.ones((48, 48), np.float32), outline=False)
    y, x = np.indices(original.shape[:2]) + 0.5
    u, v = (row[0] * x + row[1] * y + row[2] for row in face.transform)
    outside = (np.minimum(u, v) < -0.1) | (np.maximum(u, v) > 48.1)
    assert np.array_equal(drawn[outside], original[outside])
    outlined = overlay_map(photo, face, np.ones((48, 48), np.float32))
    changed = (outlined != drawn).any(axis=2)
    edge = np.minimum(np.minimum(np.abs(u), np.abs(u - 48)), np.minimum(np.abs(v), np.abs(v - 48))) * 200 / 48
    assert changed[edge < 0.5].mean() > 0.2  # most of the line is changed, all of it near the edge
    assert edge[changed].max() < 4
    corners = corners_of(face)
    assert np.allclose(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1), 200)


def test_a_square_that_leaves_the_photo_is_cut(faces: Faces) -> None:
    photo, face = placed(faces.images[0], 200, 10, (20, 590))
    reach = 100 * (math.cos(math.radians(10)) + math.sin(math.radians(10)))
    expected = (0, math.floor(590 - reach), math.ceil(20 + reach), SIDE)
    assert bounds_of(face, (SIDE, SIDE + 80, 3)) == expected
    assert overlay_map(photo, face, np.eye(48, dtype=np.float32)).shape == (SIDE, SIDE + 80, 3)
    far = FoundFace(face.box, 0.9, face.landmarks, face.transform + np.array([[0, 0, 9999], [0, 0, 0]]), face.image)
    assert np.array_equal(overlay_map(photo, far, np.eye(48, dtype=np.float32)), np.asarray(photo))


def test_what_is_no_map_or_no_photo_is_named(faces: Faces) -> None:
    face = whole_face(faces.images[0])
    with pytest.raises(ConfigError, match=r"attributions: expected a map of shape \(48, 48\), found \(1, 48, 48\)"):
        overlay_map(faces.images[0], face, np.zeros((1, 48, 48), np.float32))
    with pytest.raises(DataError, match=r"^nowhere\.jpg: unreadable: "):
        overlay_map("nowhere.jpg", face, np.zeros((48, 48), np.float32))

"""Faces are put where the benchmarks say, and the crops of other packages are those of their boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.photos import FACES_PER_PHOTO, PHOTO_SIZES, write_photos
from benchmarks.harness.pictures import BACKGROUNDS, Condition, drawn_condition, put_into_picture
from benchmarks.peers.box_crops import box_crops, boxed
from fer_core.synthetic.data_set import synthesize
from fer_infer.photos.alignment import warp
from fer_infer.photos.found_face import Box


def blocks() -> np.ndarray:
    """Return a face of four gray levels, one per quarter, which no rotation or reflection leaves as it is."""
    return np.kron(np.array([[20, 90], [160, 230]], np.uint8), np.ones((24, 24), np.uint8))


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("roll", [0.0, 30.0, -75.0])
@pytest.mark.parametrize("side", [96.0, 250.0])
def test_the_transform_leads_back_to_the_face(background: str, roll: float, side: float) -> None:
    face = blocks()
    placed = put_into_picture(face, Condition(side, roll, background=background), np.random.default_rng(0))
    inner = (slice(4, 44), slice(4, 44))
    difference = np.abs(warp(placed.pixels, placed.transform).astype(int) - face)[inner]
    assert difference.mean() < 4
    assert np.allclose(placed.transform @ [*placed.center, 1], [24, 24])


def test_a_dimmed_face_has_a_fraction_of_its_levels() -> None:
    placed = put_into_picture(np.full((48, 48), 200, np.uint8), Condition(brightness=0.5), np.random.default_rng(0))
    assert warp(placed.pixels, placed.transform)[8:40, 8:40] == pytest.approx(100, abs=1)


def test_blur_noise_and_jpeg_change_the_face_and_the_seed_decides() -> None:
    [face] = synthesize(10, 0).images[:1]
    plain = put_into_picture(face, Condition(), np.random.default_rng(1)).pixels
    assert (put_into_picture(face, Condition(), np.random.default_rng(1)).pixels == plain).all()
    for how in (Condition(blur=0.05), Condition(noise=20), Condition(jpeg=10)):
        changed = put_into_picture(face, how, np.random.default_rng(1)).pixels
        assert changed.shape == plain.shape
        assert np.abs(changed.astype(int) - plain).mean() > 1


def test_drawn_conditions_stay_within_what_the_table_says() -> None:
    drawn = [drawn_condition(np.random.default_rng(seed), "cut out") for seed in range(200)]
    assert all(96 <= how.side <= 384 and abs(how.roll) <= 30 and 0.4 <= how.brightness <= 1 for how in drawn)
    assert {how.background for how in drawn} == {"cut out"}


def test_a_box_is_enlarged_by_pixels_by_a_factor_and_to_a_square() -> None:
    columns = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 100, axis=0)
    pixels = np.repeat(columns, 3, axis=2)  # the gray level is the column
    box = Box(80, 30, 20, 40)
    ends = {name: (int(crop[24, 0]), int(crop[24, -1])) for name, crop in box_crops(pixels, box).items()}
    assert ends == {
        "box, stretched": (80, 99),
        "box + 10 pixels": (70, 109),
        "box x 1.1": (79, 100),
        "box x 1.2, square": (66, 113),
    }


def test_a_crop_ends_at_the_border_of_the_picture() -> None:
    pixels = np.full((60, 60, 3), 7, np.uint8)
    crop = boxed(pixels, Box(-20, -20, 40, 40), margin=10)
    assert crop.shape == (48, 48)
    assert (crop == 7).all()


def test_photos_have_a_megapixel_and_the_number_of_faces_that_is_returned(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    assert write_photos(tmp_path, 10) == sum(FACES_PER_PHOTO) == 13
    files = sorted(tmp_path.iterdir())
    assert len(files) == 10
    assert {Image.open(file).size for file in files} <= set(PHOTO_SIZES)

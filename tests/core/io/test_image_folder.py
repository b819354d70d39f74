"""An image tree reads as the pixels that were saved; whatever lies in it is read or named, never passed over."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from csv_samples import assert_faces_equal
from numpy.typing import NDArray
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataError, DataWarning, iter_faces, read_faces
from fer_core.faces import concatenate
from fer_core.io.image_folder import LABELS_EXPECTED, label_of_folder
from fer_core.io.images import read_image


def gray(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (48, 48)).astype(np.uint8)


def save(path: Path, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Seven images: two of each of three labels in train, one in test."""
    for i, label in enumerate(["angry", "happy", "sad"]):
        save(tmp_path / "train" / label / "b.png", gray(2 * i))
        save(tmp_path / "train" / label / "a.png", gray(2 * i + 1))
    save(tmp_path / "test" / "fear" / "a.PNG", gray(6))
    return tmp_path


def test_a_tree_with_split_folders_reads_in_the_order_of_its_names(tree: Path) -> None:
    faces = read_faces(tree)
    assert faces.ids is not None
    assert faces.ids.tolist() == [
        "test/fear/a.PNG",
        *(f"train/{label}/{name}.png" for label in ("angry", "happy", "sad") for name in "ab"),
    ]
    assert np.array_equal(faces.images, [gray(seed) for seed in (6, 1, 0, 3, 2, 5, 4)])
    assert [EXPRESSIONS[label] for label in faces.require_labels()] == [Path(i).parent.name for i in faces.ids]
    assert faces.splits is not None
    assert faces.splits.tolist() == ["test"] + ["Training"] * 6
    assert faces.rows.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert faces.source == str(tree)


def test_a_tree_without_split_folders_has_no_usage(tree: Path) -> None:
    faces = read_faces(tree / "train")
    assert faces.splits is None
    assert faces.require_labels().tolist() == [0, 0, 3, 3, 4, 4]
    with pytest.raises(DataError, match=r"has no split folders; cannot select Training images$"):
        read_faces(tree / "train", "Training")


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "Training"),
        ("Training", "Training"),
        ("publictest", "PublicTest"),
        ("PrivateTest", "PrivateTest"),
        ("test", "test"),
        ("validation", "validation"),
        ("val", "validation"),
        ("Fold 1", "Fold 1"),
    ],
)
def test_split_folders_go_by_the_names_of_fer2013_or_by_their_own(tmp_path: Path, folder: str, split: str) -> None:
    save(tmp_path / folder / "Happy" / "a.png", gray())
    faces = read_faces(tmp_path)
    assert faces.splits is not None
    assert faces.splits.tolist() == [split]
    assert faces.require_labels().tolist() == [3]


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 100])
def test_the_size_of_a_batch_changes_nothing(tree: Path, batch_rows: int) -> None:
    batches = list(iter_faces(tree, batch_rows=batch_rows))
    assert [len(batch) for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    assert_faces_equal(concatenate(batches), read_faces(tree))


def test_a_split_is_read_alone_and_other_images_stay_unopened(tree: Path) -> None:
    (tree / "test" / "fear" / "a.PNG").write_bytes(b"damaged")
    faces = read_faces(tree, "Training")
    assert faces.rows.tolist() == [2, 3, 4, 5, 6, 7]
    with pytest.raises(DataError, match=r"has no row of split 'PublicTest'; found Training, test$"):
        read_faces(tree, "PublicTest")


def test_images_are_opened_batch_by_batch(tree: Path) -> None:
    (tree / "train" / "sad" / "b.png").write_bytes(b"damaged")
    batches = iter_faces(tree, batch_rows=3)
    assert [next(batches).rows.tolist(), next(batches).rows.tolist()] == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(DataError, match=r"train/sad/b\.png: expected a PNG or JPEG image"):
        next(batches)


SAVINGS: dict[str, Callable[[Image.Image, Path], None]] = {
    "gray PNG": lambda image, path: image.save(path, "PNG"),
    "RGB PNG": lambda image, path: image.convert("RGB").save(path, "PNG"),
    "RGBA PNG": lambda image, path: image.convert("RGBA").save(path, "PNG"),
    "gray and alpha PNG": lambda image, path: image.convert("LA").save(path, "PNG"),
    "palette PNG": lambda image, path: image.convert("P").save(path, "PNG"),
    "PNG named JPEG": lambda image, path: image.save(path.with_suffix(".jpg"), "PNG"),
}


@pytest.mark.parametrize("write", SAVINGS.values(), ids=SAVINGS)
def test_a_gray_image_is_read_exactly_however_it_is_stored(
    tmp_path: Path, write: Callable[[Image.Image, Path], None]
) -> None:
    (tmp_path / "sad").mkdir()
    write(Image.fromarray(gray()), tmp_path / "sad" / "a.png")
    assert np.array_equal(read_faces(tmp_path).images, gray()[None])


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path, name: str, mode: str) -> None:
    path = tmp_path / "sad" / name
    path.parent.mkdir()
    Image.fromarray(gray()).convert(mode).save(path, "JPEG", quality=80)
    pixels = read_faces(tmp_path).images[0]
    assert np.array_equal(pixels, np.asarray(Image.open(path).convert("L")))
    assert np.abs(pixels.astype(int) - gray()).mean() < 25


def test_a_one_bit_image_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(gray() > 127).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.where(gray() > 127, 255, 0))


def _colour() -> NDArray[np.uint8]:
    pixels = np.repeat(gray()[..., None], 3, axis=-1)
    pixels[5, 7, 2] ^= 1
    return pixels


def _transparent() -> NDArray[np.uint8]:
    pixels = np.repeat(gray()[..., None], 4, axis=-1)
    pixels[..., 3] = 255
    pixels[5, 7, 3] = 254
    return pixels


OTHER_FACES = "; `faces='whole'` resizes pictures, `faces='detect'` finds the faces in them"
"""Remedy that errors name."""

WRONG_IMAGES = {
    "another size": (np.zeros((48, 47), np.uint8), "expected a 48x48 image, found 47x48"),
    "colour in one pixel": (_colour(), "expected a gray image, found color"),
    "transparent in one pixel": (_transparent(), "expected an opaque image, found transparency"),
    "16 bits": (gray().astype(np.uint16) * 257, "expected a gray image of 8 bits, found mode I;16"),
}


@pytest.mark.parametrize(("pixels", "message"), WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_an_image_that_is_no_face_is_named(tree: Path, pixels: NDArray[np.generic], message: str) -> None:
    path = tree / "train" / "happy" / "a.png"
    save(path, pixels)
    with pytest.raises(DataError) as failure:
        read_faces(tree)
    assert str(failure.value) == f"{path}: {message}{OTHER_FACES}"
    assert [str(error) for error in read_faces(tree, on_error="skip").rejected] == [f"{path} row 4: {message}"]


def test_an_image_that_viewers_turn_is_refused(tree: Path) -> None:
    path = tree / "train" / "happy" / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gray()).save(path, exif=exif)
    with pytest.raises(
        DataError, match=r"turned\.jpg: expected an image stored upright, found an EXIF orientation that"
    ):
        read_faces(tree)
    exif[0x0112] = 1
    Image.fromarray(gray()).save(path, exif=exif)
    assert str(path.relative_to(tree)) in list(read_faces(tree).ids)


def test_an_animated_image_is_refused(tree: Path) -> None:
    path = tree / "train" / "happy" / "moving.png"
    Image.fromarray(gray()).save(path, save_all=True, append_images=[Image.fromarray(255 - gray())])
    with pytest.raises(DataError, match=r"moving\.png: expected one image, found 2 frames; .*faces='whole'"):
        read_faces(tree)


UNREADABLE = "expected a PNG or JPEG image, found none that can be read"
EMPTY_PROFILE = b"\0\0\0\0iCCP" + zlib.crc32(b"iCCP").to_bytes(4, "big")
DAMAGES: dict[str, Callable[[Path, bytes], object]] = {
    "an empty chunk": lambda path, content: path.write_bytes(content[:-12] + EMPTY_PROFILE + content[-12:]),
    "cut short": lambda path, content: path.write_bytes(content[:-500]),
    "empty": lambda path, content: path.write_bytes(b""),
    "text": lambda path, content: path.write_text("face"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_image_is_named(tree: Path, damage: Callable[[Path, bytes], object]) -> None:
    path = tree / "train" / "happy" / "a.png"
    damage(path, path.read_bytes())
    with pytest.raises(DataError) as failure:
        read_faces(tree)
    assert str(failure.value) == f"{path}: {UNREADABLE} (damaged or of another format)"


def test_an_image_of_another_format_is_named(tree: Path) -> None:
    path = tree / "train" / "happy" / "a.png"
    Image.fromarray(gray()).save(path, "BMP")
    with pytest.raises(DataError) as failure:
        read_faces(tree)
    assert str(failure.value) == f"{path}: {UNREADABLE} (is a BMP image){OTHER_FACES}"


def test_an_image_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "happy" / "inner").mkdir(parents=True)
    with pytest.raises(DataError, match=r"happy/inner: expected .* that can be read \(Is a directory\)$"):
        read_faces(tmp_path)
    (tmp_path / "happy" / "a.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"happy/a\.png: expected .* that can be read \(No such file or directory\)$"):
        read_faces(tmp_path)


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_skipping_keeps_every_good_image_and_lists_every_other_one(tree: Path, batch_rows: int) -> None:
    (tree / "train" / "angry" / "b.png").write_bytes(b"damaged")
    save(tree / "train" / "sad" / "a.png", np.zeros((9, 9), np.uint8))
    (tree / "train" / "sad" / "notes.txt").write_text("no image")
    (tree / "train" / "sad" / ".DS_Store").write_bytes(b"left by a file manager")
    faces = concatenate(list(iter_faces(tree, batch_rows=batch_rows, on_error="skip")))
    assert faces.rows.tolist() == [1, 2, 4, 5, 7]
    assert np.array_equal(faces.images, [gray(seed) for seed in (6, 1, 3, 2, 4)])
    assert [(Path(error.source).name, error.row) for error in faces.rejected] == [
        ("b.png", 3),
        ("a.png", 6),
        ("notes.txt", 8),
    ]


@pytest.mark.parametrize(
    "names", [[], ["notes.txt"], ["train/happy/.hidden.png"]], ids=["empty", "no image", "hidden image"]
)
def test_a_folder_without_images_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError) as failure:
        read_faces(tmp_path)
    expected = "expected images as SPLIT/LABEL/*.png or *.jpg, or *.png without labels, found none"
    assert str(failure.value) == f"{tmp_path}: {expected}"


def test_images_without_folders_have_no_label(tmp_path: Path) -> None:
    for seed, name in enumerate(["b.png", "a.JPG", "c.jpeg"]):
        save(tmp_path / name, gray(seed))
    (tmp_path / ".hidden").touch()
    faces = read_faces(tmp_path)
    assert (faces.labels, faces.splits) == (None, None)
    assert faces.ids is not None
    assert faces.ids.tolist() == ["a.JPG", "b.png", "c.jpeg"]
    assert faces.rows.tolist() == [1, 2, 3]
    assert np.array_equal(faces.images[1], gray(0))
    with pytest.raises(DataError, match="has no labels; expected a column 'emotion' or 'label', or label folders"):
        faces.require_labels()
    with pytest.raises(DataError, match="has no split folders; cannot select Training images"):
        read_faces(tmp_path, "Training")


def test_what_lies_with_them_is_no_image(tmp_path: Path) -> None:
    save(tmp_path / "a.png", gray(0))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"notes\.txt: expected a PNG or JPEG image"):
        read_faces(tmp_path)
    assert [error.row for error in next(iter_faces(tmp_path, on_error="skip")).rejected] == [2]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.csv"])
def test_one_image_is_one_face_whatever_its_name(tmp_path: Path, name: str) -> None:
    Image.fromarray(gray(0)).save(tmp_path / name, format="JPEG" if name == "a.jpg" else "PNG")
    faces = read_faces(tmp_path / name)
    assert faces.ids is not None
    assert (faces.rows.tolist(), faces.ids.tolist(), faces.labels, faces.splits) == ([1], [name], None, None)
    assert np.array_equal(faces.images[0], np.asarray(Image.open(tmp_path / name)))


def test_one_image_of_another_size_has_no_split_and_no_columns(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.zeros((47, 48), np.uint8))
    with pytest.raises(DataError, match=r"a\.png: expected a 48x48 image, found 48x47"):
        read_faces(tmp_path / "a.png")
    save(tmp_path / "b.png", gray(0))
    with pytest.raises(DataError, match=r"b\.png: has no split folders; cannot select Training images$"):
        read_faces(tmp_path / "b.png", "Training")
    with pytest.raises(ConfigError, match=r"b\.png: contains images, which have no columns to choose$"):
        read_faces(tmp_path / "b.png", columns={"pixels": "face"})


OUTSIDE = f"expected images in folders named {', '.join(EXPRESSIONS)}; found one in "


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize(
    ("stray", "named", "message"),
    [
        ("a.png", "a.png", OUTSIDE),
        ("train/a.jpg", "train/a.jpg", OUTSIDE),
        ("train/joy/a.png", "train/joy", LABELS_EXPECTED),
        ("happy/a.png", "test", LABELS_EXPECTED),
    ],
)
def test_an_image_whose_label_cannot_be_told_is_refused(
    tree: Path, stray: str, named: str, message: str, on_error: str
) -> None:
    save(tree / stray, gray())
    with pytest.raises(DataError) as failure:
        list(iter_faces(tree, on_error=on_error))  # type: ignore[arg-type]
    where = repr((tree / named).parent.name) if message == OUTSIDE else ""
    assert str(failure.value) == f"{tree / named}: {message}{where}"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *((name, number) for number, name in enumerate(EXPRESSIONS)),
        ("anger", 0),
        ("Disgusted", 1),
        ("fearful", 2),
        ("Happiness", 3),
        ("SADNESS", 4),
        ("surprised", 5),
        *((str(number), number) for number in range(7)),
        ("0_angry", 0),
        ("3-Happiness", 3),
        ("4. sad", 4),
        ("6 neutral", 6),
    ],
)
def test_a_folder_is_named_by_a_class_its_number_or_both(name: str, label: int) -> None:
    assert label_of_folder(name) == label


@pytest.mark.parametrize("name", ["7", "-1", "00", "07", "1_angry", "0_", "0_joy", "joy", "contempt", "", "3x", "٣"])
def test_any_other_name_of_a_folder_is_no_label(name: str) -> None:
    assert label_of_folder(name) is None


def test_folders_that_count_classes_from_0_are_read(tmp_path: Path) -> None:
    for number in range(7):
        save(tmp_path / "train" / str(number) / "a.png", gray(number))
    assert read_faces(tmp_path).require_labels().tolist() == list(range(7))


@pytest.mark.parametrize("folder", ["", "train"])
def test_folders_that_count_classes_from_1_are_refused_since_data_sets_differ(tmp_path: Path, folder: str) -> None:
    for number in range(1, 8):
        save(tmp_path / folder / str(number) / "a.png", gray(number))
    with pytest.raises(DataError) as failure:
        read_faces(tmp_path)
    why = "data sets that count from 1 number the classes differently; rename the folders to class names"
    assert str(failure.value) == f"{tmp_path / folder}: expected numbers from 0, found 1, 2, 3, 4, 5, 6, 7: {why}"


@pytest.mark.parametrize("split", ["train", "."])
def test_a_number_and_a_name_that_disagree_are_refused(tmp_path: Path, split: str) -> None:
    for name in ("1_angry", "2_disgust"):
        save(tmp_path / split / name / "a.png", gray())
    with pytest.raises(DataError) as failure:
        read_faces(tmp_path)
    assert (
        str(failure.value) == f"{tmp_path / split / '1_angry'}: {LABELS_EXPECTED}, with a number and a name that agree"
    )


@pytest.mark.parametrize("folder", ["contempt", "1", "a/b/c", "0_happy", "train/alice"])
def test_folders_may_have_any_names_where_no_label_is_read(tree: Path, folder: str) -> None:
    before = next(iter_faces(tree, roles=("id",)))
    assert_faces_equal(before, replace(read_faces(tree), labels=None, splits=None))
    save(tree / folder / "a.png", gray(7))
    save(tree / "beside.png", gray(8))
    (tree / folder / "back").symlink_to(tree, target_is_directory=True)
    with pytest.raises(DataError):
        read_faces(tree)
    (faces,) = iter_faces(tree, roles=("id",))
    assert faces.ids is not None
    assert before.ids is not None
    assert sorted(faces.ids.tolist()) == sorted([*before.ids.tolist(), f"{folder}/a.png", "beside.png"])
    assert (faces.labels, faces.splits) == (None, None)


def test_a_file_that_is_no_image_is_refused_also_where_no_label_is_read(tree: Path) -> None:
    (tree / "notes.xyz").write_text("next to folders, as with labels")
    assert len(next(iter_faces(tree, roles=()))) == len(read_faces(tree))
    (tree / "test" / "fear" / "a.gif").write_text("next to an image")
    with pytest.raises(DataError, match=r"fear/a\.gif: expected a PNG or JPEG image"):
        list(iter_faces(tree, roles=()))


@pytest.mark.filterwarnings("error")
def test_what_systems_and_authors_leave_beside_images_is_passed_over(tree: Path) -> None:
    expected = read_faces(tree)
    for folder in (tree, tree / "train", tree / "train" / "happy"):
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "README.txt", "LICENSE", "info.json"):
            (folder / name).write_bytes(b"x")
    save(tree / "__MACOSX" / "train" / "happy" / "._a.png", gray())
    assert_faces_equal(read_faces(tree), expected)


def test_tables_beside_images_are_left_out_and_named_once(tree: Path) -> None:
    expected = read_faces(tree)
    (tree / "labels.csv").write_text("a.png,3\n")
    why = "the labels of images are the names of their folders"
    with pytest.warns(DataWarning) as caught:
        assert_faces_equal(read_faces(tree), expected)
    assert [str(one.message) for one in caught] == [f"{tree}: tables left out: 'labels.csv'; {why}"]
    (tree / "train" / "happy" / "labels.csv").write_text("a.png,3\n")
    with pytest.warns(DataWarning) as caught:
        read_faces(tree)
    names = "'labels.csv', 'train/happy/labels.csv'"
    assert [str(one.message) for one in caught] == [f"{tree}: tables left out: {names}; {why}"]


def test_roles_that_are_not_read_are_left_out(tree: Path) -> None:
    (faces,) = iter_faces(tree, roles=())
    assert (faces.labels, faces.ids, faces.splits) == (None, None, None)


def test_columns_of_an_image_tree_cannot_be_chosen(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r": contains images, which have no columns to choose$"):
        read_faces(tree, columns={"label": "x"})

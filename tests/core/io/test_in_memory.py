"""Faces from arrays, images and tables, held against the same faces read from a CSV."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import csv_samples
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fer_core
from fer_core import ConfigError, DataError, Faces, as_faces, read_faces
from fer_core.fer2013 import PIXELS

IMAGES = np.random.default_rng(5).integers(0, 256, (6, 48, 48), dtype=np.uint8)
PIXEL_NAMES = [f"pixel{i}" for i in range(PIXELS)]


def frame(pixels: list[Any] | None = None, **columns: Any) -> pd.DataFrame:
    """A table of `IMAGES` or of other cells."""
    cells = [text(image) for image in IMAGES] if pixels is None else pixels
    return pd.DataFrame({"pixels": pd.Series(cells, dtype=object), **columns})


def text(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def encoded(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def test_a_path_is_read_as_read_faces_reads_it(tmp_path: Path) -> None:
    path = csv_samples.written(tmp_path, csv_samples.make_csv("emotion,pixels,Usage", 7))
    csv_samples.assert_faces_equal(as_faces(path), read_faces(path))
    csv_samples.assert_faces_equal(as_faces(str(path), split="PublicTest"), read_faces(path, "PublicTest"))
    limited = as_faces(path, split="training", limit=2)
    csv_samples.assert_faces_equal(limited, read_faces(path, "Training").take([0, 1]))
    assert len(as_faces(path, limit=99)) == 7


def test_a_path_is_read_with_the_chosen_columns_and_roles(tmp_path: Path) -> None:
    data = csv_samples.make_csv("emotion,pixels,Usage", 3).replace(b"pixels", b"face")
    faces = as_faces(csv_samples.written(tmp_path, data), columns={"pixels": "face"}, roles=["label"])
    assert faces.labels is not None
    assert faces.splits is None


def test_faces_are_returned_unchanged_or_cut() -> None:
    faces = Faces(IMAGES, np.arange(6), splits=np.array(["Training", "PublicTest"] * 3))
    assert as_faces(faces) is faces
    assert as_faces(faces, split="PublicTest", limit=2).rows.tolist() == [1, 3]


@pytest.mark.parametrize("n", [0, 1, 6])
def test_an_array_keeps_its_images_and_counts_them_from_0(n: int) -> None:
    faces = as_faces(IMAGES[:n])
    assert np.array_equal(faces.images, IMAGES[:n])
    assert faces.row_positions().tolist() == faces.rows.tolist() == list(range(n))
    assert faces.labels is None
    assert faces.ids is None


def test_one_face_is_a_batch_of_one() -> None:
    assert np.array_equal(as_faces(IMAGES[2]).images, IMAGES[2:3])


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (IMAGES / 255, r"found float64 of shape \(6, 48, 48\)"),
        (IMAGES.astype(np.int64), r"found int64 of shape \(6, 48, 48\)"),
        (IMAGES.astype(object), r"found object of shape"),
        (IMAGES.reshape(6, PIXELS), r"found uint8 of shape \(6, 2304\)"),
        (IMAGES[:, None], r"found uint8 of shape \(6, 1, 48, 48\)"),
        (IMAGES[:, :47], r"found uint8 of shape \(6, 47, 48\)"),
        (np.uint8(3) + np.zeros((), np.uint8), r"found uint8 of shape \(\)"),
        (np.zeros(0, np.uint8), r"found uint8 of shape \(0,\)"),
    ],
)
def test_another_array_is_refused_with_its_type_and_shape(array: np.ndarray, found: str) -> None:
    with pytest.raises(DataError, match=r"^array: expected uint8 of shape \(48, 48\) or \(N, 48, 48\), " + found):
        as_faces(np.asarray(array))


def test_images_of_all_modes_that_hold_gray_give_the_same_levels() -> None:
    images = [Image.fromarray(image) for image in IMAGES[:4]]
    images[1], images[2], images[3] = images[1].convert("RGB"), images[2].convert("RGBA"), images[3].convert("LA")
    assert np.array_equal(as_faces(images).images, IMAGES[:4])
    assert np.array_equal(as_faces(tuple(images)).images, IMAGES[:4])
    assert np.array_equal(as_faces(images[1]).images, IMAGES[1:2])
    assert len(as_faces([])) == 0


def test_an_image_that_is_opened_from_a_file_is_decoded() -> None:
    assert np.array_equal(as_faces(Image.open(io.BytesIO(encoded(IMAGES[0], "PNG")))).images[0], IMAGES[0])


def test_a_sequence_may_mix_images_and_arrays() -> None:
    assert np.array_equal(as_faces([Image.fromarray(IMAGES[0]), IMAGES[1]]).images, IMAGES[:2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Image.new("L", (64, 48)), "expected a 48x48 image, found 64x48"),
        (Image.new("RGB", (48, 48), "red"), "expected a gray image, found color"),
        (Image.new("RGBA", (48, 48)), "expected an opaque image, found transparency"),
        (Image.new("F", (48, 48)), "expected a gray image of 8 bits, found mode F"),
        (IMAGES[0].astype(float), r"expected uint8 .*, found float64 of shape \(48, 48\)"),
        (IMAGES, r"expected uint8 of shape \(48, 48\), found uint8 of shape \(\d+, 48, 48\)"),
        (None, r"expected a PIL image or a uint8 array \(48, 48\), found NoneType"),
        ("a.png", r"expected a PIL image or a uint8 array \(48, 48\), found str"),
        (Image.open(io.BytesIO(encoded(IMAGES[0], "PNG")[:-900])), "expected an image that can be decoded"),
    ],
)
def test_a_wrong_image_of_a_sequence_is_named_by_its_position(wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^image 1: {message}"):
        as_faces([Image.fromarray(IMAGES[0]), wrong])


@pytest.mark.parametrize("data", [None, 3, b"abc", {"pixels": []}, {1}, pd.Series([1])])
def test_anything_else_is_refused(data: Any) -> None:
    with pytest.raises(DataError, match=r"^data: expected a path, Faces, .* DataFrame, found "):
        as_faces(data)


@pytest.mark.parametrize("header", csv_samples.LAYOUTS.values())
def test_a_data_frame_gives_what_its_csv_gives(header: str, tmp_path: Path) -> None:
    path = csv_samples.written(tmp_path, csv_samples.make_csv(header, 40))
    faces, expected = as_faces(pd.read_csv(path)), read_faces(path)
    assert faces.rows.tolist() == list(range(40))
    for name in ("images", "labels", "ids", "splits"):
        column, wanted = getattr(faces, name), getattr(expected, name)
        assert (column is None) == (wanted is None)
        assert column is None or np.array_equal(column, wanted)


@pytest.mark.parametrize(
    "form",
    [
        lambda image: image.ravel().tolist(),
        lambda image: tuple(image.ravel().tolist()),
        lambda image: image.ravel().astype(float).tolist(),
        lambda image: image,
        lambda image: image.ravel().astype(np.int64),
        lambda image: image.ravel().astype(object),
        lambda image: image.tobytes(),
        lambda image: encoded(image, "PNG"),
        lambda image: str(image.ravel().tolist()),
        lambda image: f"  {text(image)} ",
        lambda image: text(image).replace(" ", ".0 "),
    ],
)
def test_pixels_may_be_in_any_of_these_forms(form: Any) -> None:
    assert np.array_equal(as_faces(frame([form(image) for image in IMAGES])).images, IMAGES)


def test_forms_may_be_mixed_in_one_column() -> None:
    cells = [text(IMAGES[0]), IMAGES[1], IMAGES[2].tobytes(), str(IMAGES[3].ravel().tolist()), text(IMAGES[4])]
    assert np.array_equal(as_faces(frame(cells)).images, IMAGES[:5])


def test_raw_bytes_that_begin_like_a_jpeg_are_gray_levels() -> None:
    image = IMAGES[0].copy()
    image[0, :3] = 0xFF, 0xD8, 0xFF
    assert np.array_equal(as_faces(frame([image.tobytes()])).images[0], image)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "Int64", "object"])
def test_one_column_per_pixel(dtype: str) -> None:
    table = pd.DataFrame(IMAGES.reshape(6, PIXELS), columns=PIXEL_NAMES).astype(dtype)
    table.insert(0, "label", range(6))
    faces = as_faces(table)
    assert np.array_equal(faces.images, IMAGES)
    assert faces.require_labels().tolist() == list(range(6))


def test_columns_that_are_numbers_are_pixels() -> None:
    assert np.array_equal(as_faces(pd.DataFrame(IMAGES.reshape(6, PIXELS))).images, IMAGES)


def test_rows_are_positions_whatever_the_index() -> None:
    table = frame(id=list("abcdef"), Usage=["Training", "PublicTest"] * 3).set_index(pd.Index([7, 7, 1, 1, 0, 0]))
    faces = as_faces(table, split="PublicTest", limit=2)
    assert faces.rows.tolist() == [1, 3]
    assert np.array_equal(faces.images, IMAGES[[1, 3]])
    assert faces.ids is not None
    assert faces.ids.tolist() == ["b", "d"]
    assert faces.splits is not None
    assert faces.splits.tolist() == ["PublicTest", "PublicTest"]


def test_rows_that_are_not_asked_for_may_be_wrong() -> None:
    table = frame([text(IMAGES[0]), "wrong", text(IMAGES[2])], Usage=["Training", "PublicTest", "Training"])
    assert np.array_equal(as_faces(table, split="Training").images, IMAGES[[0, 2]])
    assert np.array_equal(as_faces(table, limit=1).images, IMAGES[:1])


def test_roles_that_are_not_asked_for_are_not_read() -> None:
    faces = as_faces(frame(label=[np.nan] * 6, Usage=["?"] * 6, id=range(6)), roles=["id"])
    assert faces.labels is None
    assert faces.splits is None
    assert faces.ids is not None
    assert faces.ids.tolist() == list("012345")


def test_labels_may_be_names_floats_or_categories() -> None:
    for labels in (["happy"] * 6, [3.0] * 6, pd.Categorical(["Happiness"] * 6), np.full(6, 3, np.int8)):
        assert as_faces(frame(emotion=labels)).require_labels().tolist() == [3] * 6


def test_other_columns_are_ignored_and_chosen_ones_read() -> None:
    table = frame(score=0.5, truth=range(6)).rename(columns={"pixels": "face"})
    faces = as_faces(table, columns={"pixels": "face", "label": "truth"})
    assert np.array_equal(faces.images, IMAGES)
    assert faces.require_labels().tolist() == list(range(6))


def test_an_empty_frame_with_columns_has_no_faces() -> None:
    for table in (frame([]), frame().iloc[:0], pd.DataFrame(columns=PIXEL_NAMES), frame(label=1).iloc[:0]):
        faces = as_faces(table)
        assert faces.images.shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame(), "^DataFrame: expected a column 'pixels' or 'feature', .* found none$"),
        (pd.DataFrame({"face": [1]}), "^DataFrame: expected a column 'pixels' or 'feature', .* found 'face'$"),
        (pd.DataFrame([["a", "b"]], columns=["pixels", "pixels"]), "expected one column of pixels, found"),
        (pd.DataFrame(IMAGES.reshape(6, PIXELS)[:, :2303]), "expected 2304 columns of pixels, found 2303"),
        (frame([None]), "^DataFrame row 0, column 'pixels': expected 2304 integers in 0..255, found None$"),
        (frame([text(IMAGES[0]), np.nan]), "row 1, column 'pixels': .* found nan$"),
        (frame([pd.NA]), "row 0, column 'pixels': .* found <NA>$"),
        (frame([3]), "row 0, column 'pixels': .* found 3$"),
        (frame([""]), "row 0, column 'pixels': .* found an empty cell$"),
        (frame(["1 2 3"]), "row 0, column 'pixels': expected 2304 integers in 0..255, found 3$"),
        (frame(["\ud800 1"]), "row 0, column 'pixels': .* found '\\?' as value 1$"),
        (frame([text(IMAGES[0])[:-3] + " -1"]), "row 0, column 'pixels': .* found '-1' as value"),
        (frame([[1, 2]]), "row 0, column 'pixels': .* found 2$"),
        (frame([[*[1] * 2303, 256]]), "row 0, column 'pixels': .* found 256 as value 2304$"),
        (frame([[0.5] * 2304]), "row 0, column 'pixels': .* found 0.5 as value 1$"),
        (frame([[1, float("nan"), *[1] * 2302]]), "row 0, column 'pixels': .* found nan as value 2$"),
        (frame([[1, None, *[1] * 2302]]), "row 0, column 'pixels': .* found None as value 2$"),
        (frame([[True] * 2304]), "row 0, column 'pixels': .* found True as value 1$"),
        (frame([["1"] * 2304]), "row 0, column 'pixels': .* found '1' as value 1$"),
        (frame([[[1, 2], [3]]]), "row 0, column 'pixels': .* found 2$"),
        (frame([IMAGES[0, :47]]), r"row 0, column 'pixels': .* found an array of shape \(47, 48\)$"),
        (frame([IMAGES[0].astype(complex)]), "row 0, column 'pixels': .* as value 1$"),
        (frame([np.full((48, 48), np.inf)]), "row 0, column 'pixels': .* found inf as value 1$"),
        (frame([b"abc"]), "row 0, column 'pixels': expected 2304 bytes, found 3$"),
        (frame([encoded(np.zeros((9, 9), np.uint8), "PNG")]), "row 0, .*: expected a 48x48 image, found 9x9$"),
        (frame([encoded(IMAGES[0], "JPEG")[:300]]), "row 0, .*: expected a PNG or JPEG image, found none that can"),
        (frame(label=[0, 1, 7, 2, 3, 4]), "row 2, column 'label': expected a label in 0..6 .*, found 7$"),
        (frame(label=[0, 1, 2.5, 2, 3, 4]), "row 2, column 'label': .* found 2.5$"),
        (frame(label=[0, np.nan, 2, 2, 3, 4]), "row 1, column 'label': .* found nan$"),
        (frame(label=[0, np.inf, 2, 2, 3, 4]), "row 1, column 'label': .* found inf$"),
        (frame(label=[0, 1, 2, True, 3, "x"]), "row 3, column 'label': .* found True$"),
        (frame(label=[None] * 6), "row 0, column 'label': .* found None$"),
        (frame(Usage=["Training", "?", *["Training"] * 4]), "row 1, column 'Usage': expected one of .* found '\\?'$"),
        (frame(Usage=[1] * 6), "row 0, column 'Usage': .* found 1$"),
        (frame(id=["a", "", *"cdef"]), "row 1, column 'id': expected an id of 1 to 256 .* found ''$"),
        (frame(id=[0.0, *range(5)]), "row 0, column 'id': .* found 0.0$"),
        (frame(id=["x" * 257, *"bcdef"]), "row 0, column 'id': .* found 'x{40}\\.\\.\\.'$"),
    ],
)
def test_a_wrong_cell_is_named_by_row_and_column(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_faces(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "dtype", "found"), [(256, int, "256"), (0.5, float, "0.5"), (None, "Int64", "<NA>"), ("1", object, "'1'")]
)
def test_a_wrong_pixel_of_a_wide_frame_is_named_by_its_column(value: Any, dtype: Any, found: str) -> None:
    table = pd.DataFrame(IMAGES.reshape(6, PIXELS), columns=PIXEL_NAMES)
    table["pixel17"] = table["pixel17"].astype(dtype)
    table.loc[4, "pixel17"] = value
    with pytest.raises(DataError, match=f"row 4, column 'pixel17': expected an integer in 0..255, found {found}$"):
        as_faces(table)


@pytest.mark.parametrize(("index", "name"), [(["a", "a", "b"], "'a'"), ([5, 5, 5], "5"), ([0, 0, 0], "0")])
def test_an_index_that_is_not_the_position_is_named_too(index: list[Any], name: str) -> None:
    table = frame([text(IMAGES[0]), "?", text(IMAGES[1])]).set_index(pd.Index(index))
    message = rf"^DataFrame row 1, column 'pixels': .* found '\?' as value 1 \(index {name}\)$"
    with pytest.raises(DataError, match=message):
        as_faces(table)


def test_a_split_that_the_data_do_not_state_is_refused() -> None:
    for data in (IMAGES, frame()):
        with pytest.raises(DataError, match="has no Usage column; cannot select PublicTest rows"):
            as_faces(data, split="PublicTest")
    with pytest.raises(DataError, match="DataFrame: has no row of split 'test'; found Training"):
        as_faces(frame(Usage="Training"), split="test")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_1_is_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match=f"^limit: expected at least 1, found {limit}$"):
        as_faces(IMAGES, limit=limit)


def test_columns_of_data_without_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^columns: expected none, as ndarray has no columns$"):
        as_faces(IMAGES, columns={"pixels": "face"})


def test_neither_pandas_nor_pillow_is_imported() -> None:
    code = (
        "import sys, numpy as np, fer_core; fer_core.as_faces(np.zeros((2, 48, 48), np.uint8));"
        "print([name for name in ('pandas', 'PIL', 'pyarrow', 'numba') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(fer_core.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "[]"

"""Images of any size are read through a crop: rows, ids, labels and reasons, the same for any number of threads."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import ConfigError, DataError, Faces, as_faces, iter_faces, read_faces
from fer_core.io.crop import Crop
from fer_core.io.kinds import crop_of_images
from fer_core.io.reader import check_layout, first_faces

SUFFIXES = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif", "avif")


def all_faces(image: Any) -> list[NDArray[np.uint8]]:
    """A stand-in for a detector: as many faces as the picture is multiples of 10 pixels wide, of its mean level."""
    try:
        opened = (
            image
            if isinstance(image, Image.Image)
            else Image.open(io.BytesIO(image) if type(image) is bytes else image)
        )
        level = int(np.asarray(opened.convert("L")).mean())
    except OSError:
        raise DataError(str(image), "unreadable: damaged") from None
    time.sleep(0.002 * (opened.width % 7))  # pictures take different times
    return [np.full((48, 48), level + number, np.uint8) for number in range(opened.width // 10)]


def main_face(image: Any) -> list[NDArray[np.uint8]]:
    return all_faces(image)[-1:]


DETECT = Crop("detect", all_faces, main_face)
WHOLE = Crop("whole", main_face, main_face)


def draw(path: Path, faces: int, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10 * faces + 1, 20), (level, level, level)).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Nine pictures of three classes, of different types; the second sad one has no face."""
    for i, suffix in enumerate(SUFFIXES):
        draw(tmp_path / "tree" / "train" / ("angry", "happy", "sad")[i // 3] / f"{i}.{suffix}", 1 + i % 3, 100 + 10 * i)
    draw(tmp_path / "tree" / "train" / "sad" / "7.gif", 0)
    return tmp_path / "tree"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos with 2, 0, 1 and 3 faces, and a damaged one."""
    for name, faces in (("a.jpg", 2), ("b.png", 0), ("d.webp", 1), ("in/e.bmp", 3)):
        draw(tmp_path / "photos" / name, faces)
    (tmp_path / "photos" / "c.jpg").write_bytes(b"")
    return tmp_path / "photos"


def test_a_picture_in_a_label_folder_has_one_face(tree: Path) -> None:
    faces = read_faces(tree, on_error="skip", crop=DETECT)
    assert faces.ids is not None
    assert faces.ids.tolist()[:2] == ["train/angry/0.png", "train/angry/1.jpg"]
    assert faces.rows.tolist() == [1, 2, 3, 4, 5, 6, 7, 9]
    assert faces.require_labels().tolist() == [0, 0, 0, 3, 3, 3, 4, 4]
    assert faces.images[:, 0, 0].tolist() == [100, 111, 122, 130, 141, 152, 160, 182]  # the main face, the last one
    assert [str(error) for error in faces.rejected] == [f"{tree}/train/sad/7.gif row 8: no face"]


def test_labels_make_a_tree_one_face_per_picture_even_if_they_are_not_read(tree: Path) -> None:
    for roles in [(), ("id",), ("split",), ("label", "id")]:
        assert read_faces(tree, on_error="skip", roles=roles, crop=DETECT).rows.tolist() == [1, 2, 3, 4, 5, 6, 7, 9]


def test_each_face_of_photos_is_a_row(photos: Path) -> None:
    faces = read_faces(photos, on_error="skip", roles=("id",), crop=DETECT)
    assert faces.ids is not None
    assert faces.ids.tolist() == ["a.jpg#1", "a.jpg#2", "d.webp#1", "in/e.bmp#1", "in/e.bmp#2", "in/e.bmp#3"]
    assert faces.rows.tolist() == [1, 2, 5, 6, 7, 8]
    assert [(error.row, error.message) for error in faces.rejected] == [(3, "no face"), (4, "unreadable: damaged")]
    assert faces.labels is None


def test_whole_pictures_keep_their_names(photos: Path) -> None:
    (photos / "c.jpg").unlink()
    (photos / "b.png").unlink()
    faces = read_faces(photos / "a.jpg", crop=WHOLE)
    assert faces.ids is not None
    assert (faces.ids.tolist(), faces.rows.tolist()) == (["a.jpg"], [1])


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_batches_hold_at_most_so_many_faces(photos: Path, batch_rows: int) -> None:
    batches = list(iter_faces(photos / "in", batch_rows=batch_rows, crop=DETECT))
    assert [row for batch in batches for row in batch.rows.tolist()] == [1, 2, 3]
    assert max(len(batch) for batch in batches) <= batch_rows


@pytest.mark.parametrize("crop", [DETECT, WHOLE])
@pytest.mark.parametrize("data", ["tree", "photos"])
def test_the_number_of_threads_does_not_change_the_faces(request: pytest.FixtureRequest, data: str, crop: Crop) -> None:
    folder = request.getfixturevalue(data)
    options: dict[str, Any] = {"on_error": "skip", "crop": crop, "roles": ("id",), "batch_rows": 3}
    expected = [parts(faces) for faces in iter_faces(folder, threads=1, **options)]
    for threads in (2, 5):
        assert [parts(faces) for faces in iter_faces(folder, threads=threads, **options)] == expected


def parts(faces: Faces) -> tuple[object, ...]:
    assert faces.ids is not None
    return faces.images.tolist(), faces.rows.tolist(), faces.ids.tolist(), [str(error) for error in faces.rejected]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_picture_without_a_face_stops_the_reading(tree: Path, threads: int) -> None:
    with pytest.raises(DataError) as failure:
        list(iter_faces(tree, threads=threads, crop=DETECT))
    assert str(failure.value) == f"{tree}/train/sad/7.gif: no face; `on_error='skip'` leaves such pictures out"
    (tree / "train" / "sad" / "7.gif").write_bytes(b"?")
    with pytest.raises(DataError, match=r"7\.gif: unreadable: damaged$"):
        list(iter_faces(tree, threads=threads, crop=DETECT))


def test_only_as_many_pictures_are_read_as_needed(tree: Path) -> None:
    seen: list[str] = []

    def counting(image: Any) -> list[NDArray[np.uint8]]:
        seen.append(str(image))
        return main_face(image)

    assert len(first_faces(tree, None, 1, crop=Crop("whole", counting, counting))) == 1
    assert len(seen) < 9


NOT_IMAGES: dict[str, Callable[[Path], object]] = {
    "csv": lambda path: path.write_text("pixels\n" + " ".join(["7"] * 2304) + "\n"),
    "text in parquet": lambda path: write_table(path, {"pixels": [" ".join(["7"] * 2304)]}),
    "lists in parquet": lambda path: write_table(path, {"pixels": [[7] * 2304]}),
}


def write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("write", NOT_IMAGES.values(), ids=NOT_IMAGES)
def test_data_without_images_refuse_a_crop(tmp_path: Path, write: Callable[[Path], object]) -> None:
    path = tmp_path / "faces"
    write(path)
    expected = rf"^faces: expected aligned, as {path} is not an image, .* a table of images; found whole$"
    for read in (read_faces, check_layout, lambda data, crop: first_faces(data, None, 1, crop=crop)):
        with pytest.raises(ConfigError, match=expected) as failure:
            read(path, crop=WHOLE)
        assert failure.value.parameter == "faces"
    assert crop_of_images(path, WHOLE) is None
    assert len(read_faces(path)) == 1


def test_standard_input_and_memory_refuse_a_crop() -> None:
    with pytest.raises(ConfigError, match=r"^faces: expected aligned, as standard input is not an image"):
        read_faces("-", crop=WHOLE)
    with pytest.raises(ConfigError, match=r"^faces: expected aligned, as Faces is not an image"):
        as_faces(Faces(np.zeros((1, 48, 48), np.uint8), np.arange(1)), crop=WHOLE)


def test_a_missing_file_is_missing_with_a_crop_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        read_faces(tmp_path / "none.csv", crop=WHOLE)


def test_encoded_images_in_a_table_are_cut(tmp_path: Path) -> None:
    def encoded(faces: int, level: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (10 * faces + 1, 9), (level, level, level)).save(file, "WEBP", lossless=True)
        return file.getvalue()

    cells = [encoded(2, 50), encoded(0, 60), None, b"?", encoded(1, 90)]
    for name, column in (("struct", [cell and {"bytes": cell, "path": "a.webp"} for cell in cells]), ("bytes", cells)):
        path = tmp_path / name
        write_table(path, {"image": column, "label": [0, 1, 2, 3, 4]})
        for threads in (1, 3):
            (faces,) = iter_faces(path, on_error="skip", threads=threads, crop=DETECT)
            assert faces.images[:, 0, 0].tolist() == [51, 90]
            assert (faces.require_labels().tolist(), faces.rows.tolist()) == ([0, 4], [1, 5])
            reasons = {error.row: error.message for error in faces.rejected}
            assert reasons[2] == "no face"
            assert reasons[3] == "expected an encoded image, found null"
            assert "unreadable: damaged" in reasons[4]
        assert crop_of_images(path, WHOLE) is (WHOLE if name == "struct" else None)


def test_images_in_memory_are_cut() -> None:
    picture = Image.new("RGB", (21, 9), (40, 40, 40))
    assert as_faces(picture, crop=DETECT).images[:, 0, 0].tolist() == [40, 41]
    assert as_faces([picture, picture], crop=WHOLE).rows.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"^image 1: no face$"):
        as_faces([picture, Image.new("L", (5, 5))], crop=DETECT)

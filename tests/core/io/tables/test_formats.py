"""Arrow files, shards, encoded images, names of classes and one column per pixel: read like the Parquet they are."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import EXPRESSIONS, DataError, DataWarning, iter_faces, read_faces
from fer_core.faces import concatenate
from fer_core.fer2013 import LABEL_EXPECTED, PIXELS

N = 23
IMAGES = np.random.default_rng(3).integers(0, 256, (N, 48, 48), dtype=np.uint8)
LABELS = [i % 7 for i in range(N)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faces"  # the name says nothing


def raw(images: NDArray[np.uint8] = IMAGES) -> list[bytes]:
    return [image.tobytes() for image in images]


def table(rows: slice = slice(None)) -> pa.Table:
    return pa.table({"pixels": raw()[rows], "label": LABELS[rows], "id": [f"face {i}" for i in range(N)][rows]})


def write_file(data: pa.Table, path: Path, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema, options=options) as writer:
        writer.write_table(data, max_chunksize=9)


def write_stream(data: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=9)


def encoded(image: NDArray[np.generic], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


ARROW: dict[str, Callable[[pa.Table, Path], None]] = {
    "file": write_file,
    "file, zstandard": lambda data, path: write_file(data, path, "zstd"),
    "stream": write_stream,
    "Feather 2": lambda data, path: pyarrow.feather.write_feather(data, str(path), chunksize=9),
    "Feather 2 without compression": lambda data, path: pyarrow.feather.write_feather(data, str(path), "uncompressed"),
}


@pytest.mark.parametrize("write", ARROW.values(), ids=ARROW)
@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_an_arrow_file_is_read_as_the_parquet_file_of_the_same_table(
    path: Path, write: Callable[[pa.Table, Path], None], batch_rows: int
) -> None:
    write(table(), path)
    parts = list(iter_faces(path, batch_rows=batch_rows))
    faces = concatenate(parts)
    assert max(map(len, parts)) <= batch_rows
    assert np.array_equal(faces.images, IMAGES)
    assert (faces.require_labels().tolist(), faces.rows.tolist()) == (LABELS, list(range(1, N + 1)))
    assert faces.ids is not None
    assert faces.ids.tolist() == [f"face {i}" for i in range(N)]
    assert faces.first_row == 1


@pytest.mark.parametrize("write", ARROW.values(), ids=ARROW)
def test_an_arrow_file_without_rows_gives_one_empty_batch(path: Path, write: Callable[..., None]) -> None:
    write(table().slice(0, 0), path)
    assert read_faces(path).images.shape == (0, 48, 48)


@pytest.mark.parametrize("write", ARROW.values(), ids=ARROW)
def test_an_arrow_file_cut_anywhere_is_one_line(path: Path, write: Callable[..., None]) -> None:
    write(table(), path)
    whole = path.read_bytes()
    for keep in range(100, len(whole), len(whole) // 9):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"faces: (cannot be read|the Arrow IPC stream is truncated)[^\n]*$"):
            read_faces(path)


def test_a_stream_cut_between_two_batches_is_noticed(path: Path) -> None:
    data = table()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data)
        size = sink.tell()
        writer.write_table(data)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=r"faces: the Arrow IPC stream is truncated: it has no end-of-stream marker$"):
        read_faces(path)


def test_offsets_of_a_damaged_arrow_file_are_not_trusted(path: Path) -> None:
    write_stream(pa.table({"pixels": raw()[:2]}), path)
    data = bytearray(path.read_bytes())
    offsets = np.array([0, PIXELS, 2 * PIXELS], "<i4").tobytes()
    at = data.index(offsets)
    data[at + 8 : at + 12] = (10**9).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"faces: cannot be read as Arrow: [^\n]+$"):
        read_faces(path)


@pytest.mark.parametrize("write", [write_file, write_stream])
def test_a_name_of_a_column_that_is_not_utf8_is_one_line(path: Path, write: Callable[..., None]) -> None:
    write(pa.table({"pixels": raw(), "other": LABELS}), path)
    path.write_bytes(path.read_bytes().replace(b"other", b"\xff\xfeher"))
    with pytest.raises(DataError, match=r"faces: cannot be read as Arrow: text is not UTF-8 \(invalid start byte\)$"):
        read_faces(path)


def test_a_long_arrow_file_is_read_batch_by_batch(path: Path) -> None:
    batch = pa.record_batch({"pixels": [bytes(PIXELS)] * 1000})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(60):
            writer.write_batch(batch)
    code = (
        "import resource, sys\n"
        "from fer_core import iter_faces\n"
        "next(iter_faces(sys.argv[1]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = sum(len(faces) for faces in iter_faces(sys.argv[1], batch_rows=256))\n"
        "print(rows, pyarrow.total_allocated_bytes())\n"
    ).replace("import resource", "import pyarrow, resource")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    rows, allocated = map(int, done.stdout.split())
    assert rows == 60_000
    assert allocated < 20_000_000  # of 138 MB


WIDE_TYPES = [pa.uint8(), pa.int64(), pa.float32(), pa.float64()]


@pytest.mark.parametrize("kind", WIDE_TYPES, ids=str)
@pytest.mark.parametrize("prefix", ["pixel", ""])
def test_one_column_per_pixel_is_read(path: Path, kind: pa.DataType, prefix: str) -> None:
    flat = IMAGES.reshape(N, PIXELS)
    columns: dict[str, Any] = {"emotion": LABELS}
    columns |= {f"{prefix}{n}": pa.array(flat[:, n].tolist(), kind) for n in range(PIXELS)}
    pq.write_table(pa.table(columns), path)
    faces = read_faces(path)
    assert np.array_equal(faces.images, IMAGES)
    assert faces.require_labels().tolist() == LABELS


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.5"), (256.0, "256.0"), (-1.0, "-1.0"), (np.nan, "nan"), (None, "null")]
)
def test_a_wrong_value_in_one_column_per_pixel_is_named_by_row_and_column(path: Path, value: Any, shown: str) -> None:
    columns = {f"p{n}": pa.array([1.0, 2.0, 3.0], pa.float64()) for n in range(1, PIXELS + 1)}
    columns["p17"] = pa.array([1.0, value, 3.0], pa.float64())
    columns["p99"] = pa.array([1.0, 999.0, 3.0], pa.float64())
    pq.write_table(pa.table(columns), path)
    faces = read_faces(path, on_error="skip")
    assert faces.rows.tolist() == [1, 3]
    message = f"{path} row 2, column 'p17': expected an integer in 0..255, found {shown}"
    assert [str(error) for error in faces.rejected] == [message]


NAMES = ["Angry", "disgusted", "FEAR", "happiness", " sad", "surprised", "neutral"]
STORED_LABELS: dict[str, pa.Array] = {
    "names": pa.array([NAMES[label] for label in LABELS]),
    "categories": pa.array([NAMES[label] for label in LABELS]).dictionary_encode(),
    "numbers as text": pa.array([f"{label}.0" for label in LABELS]),
    "float64": pa.array(LABELS, pa.float64()),
    "float32": pa.array(LABELS, pa.float32()),
    "float16": pa.array([np.float16(label) for label in LABELS], pa.float16()),
    "uint8": pa.array(LABELS, pa.uint8()),
}


@pytest.mark.parametrize("labels", STORED_LABELS.values(), ids=STORED_LABELS)
def test_labels_are_names_and_whole_numbers_of_any_type(path: Path, labels: pa.Array) -> None:
    pq.write_table(pa.table({"pixels": raw(), "label": labels}), path)
    assert read_faces(path).require_labels().tolist() == LABELS


def test_splits_go_by_several_names(path: Path) -> None:
    split = ["train", "TEST", "val", "PrivateTest"]
    pq.write_table(pa.table({"pixels": raw(IMAGES[:4]), "Usage": pa.array(split).dictionary_encode()}), path)
    faces = read_faces(path)
    assert faces.splits is not None
    assert faces.splits.tolist() == ["Training", "test", "validation", "PrivateTest"]
    assert read_faces(path, "train").rows.tolist() == [1]


def test_what_pandas_writes_is_read_without_its_index(path: Path) -> None:
    frame = pd.DataFrame({"emotion": [NAMES[label] for label in LABELS], "pixels": list(IMAGES.reshape(N, -1) * 1.0)})
    frame.astype({"emotion": "category"}).set_index(np.array(LABELS)).iloc[::-1].to_parquet(path)
    with pytest.warns(DataWarning, match=r"faces: columns left out: '__index_level_0__'$"):
        faces = read_faces(path)
    assert np.array_equal(faces.images, IMAGES[::-1])
    assert faces.require_labels().tolist() == LABELS[::-1]


def test_a_column_that_all_files_of_a_folder_have_is_named_once(tmp_path: Path) -> None:
    for number, extra in enumerate([{}, {}, {"age": [1, 2]}]):
        table = pa.table({"pixels": raw(IMAGES[:2]), "__index_level_0__": [0, 1], **extra})
        pq.write_table(table, tmp_path / f"train-0000{number}-of-00003.parquet")
    with pytest.warns(DataWarning) as caught:
        assert len(read_faces(tmp_path)) == 6
    first, last = (tmp_path / f"train-0000{number}-of-00003.parquet" for number in (0, 2))
    names = [f"{first}: columns left out: '__index_level_0__'", f"{last}: columns left out: 'age'"]
    assert [str(one.message) for one in caught] == names


def test_columns_that_are_not_read_are_not_validated(path: Path) -> None:
    columns = {"pixels": raw(IMAGES[:2]), "label": [99, 98], "id": [None, "a"], "Usage": ["x", "y"]}
    pq.write_table(pa.table(columns), path)
    (faces,) = iter_faces(path, roles=())
    assert (len(faces), faces.labels, faces.ids, faces.splits) == (2, None, None, None)


def test_a_chosen_column_is_read_in_place_of_the_one_that_has_the_name(path: Path) -> None:
    pq.write_table(pa.table({"pixels": raw(), "face": raw(IMAGES[::-1]), "label": LABELS}), path)
    assert np.array_equal(read_faces(path, columns={"pixels": "face"}).images, IMAGES[::-1])


def hugging_face(names: list[str] | None, labels: list[int], images: list[Any]) -> pa.Table:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else {}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.table({"image": pa.array(images, kind), "label": labels}).replace_schema_metadata(metadata)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_encoded_images_of_hugging_face_are_read_by_the_rules_of_image_files(path: Path, kind: str) -> None:
    images = [{"bytes": encoded(image, kind), "path": f"{i}.png"} for i, image in enumerate(IMAGES)]
    pq.write_table(hugging_face(None, LABELS, images), path)
    faces = read_faces(path)
    expected = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in images]
    assert np.array_equal(faces.images, expected)
    assert faces.require_labels().tolist() == LABELS


def test_labels_of_hugging_face_count_the_names_that_the_file_states(path: Path) -> None:
    names = sorted([*EXPRESSIONS, "contempt"])
    images = [{"bytes": encoded(image), "path": None} for image in IMAGES[:8]]
    pq.write_table(hugging_face(names, list(range(8)), images), path)
    faces = read_faces(path, on_error="skip")
    assert [EXPRESSIONS[label] for label in faces.require_labels()] == [name for name in names if name != "contempt"]
    message = f"{path} row 2, column 'label': {LABEL_EXPECTED}, found 1 for the class 'contempt'"
    assert [str(error) for error in faces.rejected] == [message]


UNREADABLE = "expected a PNG or JPEG image, found none that can be read (damaged or of another format)"
WRONG_IMAGES = {
    "too small": (encoded(IMAGES[0][:9]), None, "expected a 48x48 image, found 48x9"),
    "in color": (encoded(np.dstack(list(IMAGES[:3]))), None, "expected a gray image, found color"),
    "cut": (encoded(IMAGES[0])[:99], None, UNREADABLE),
    "raw": (bytes(PIXELS), None, UNREADABLE),
    "only a path": (None, "images/a.png", "expected an encoded image, found only its path 'images/a.png'"),
    "nothing": (None, None, "expected an encoded image, found null"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "name", "message"), WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_a_wrong_encoded_image_is_named_by_its_row(path: Path, data: Any, name: Any, message: str) -> None:
    good = {"bytes": encoded(IMAGES[0]), "path": None}
    pq.write_table(hugging_face(None, [1, 2], [good, {"bytes": data, "path": name}]), path)
    with pytest.raises(DataError) as failure:
        read_faces(path)
    assert str(failure.value) == f"{path} row 2, column 'image': {message}"


def test_a_column_of_bytes_may_mix_gray_levels_and_encoded_images(path: Path) -> None:
    pixels = [raw()[0], encoded(IMAGES[1]), encoded(IMAGES[2], "JPEG"), b"\xff\xd8\xff" + bytes(PIXELS - 3)]
    pq.write_table(pa.table({"pixels": pixels}), path)
    faces = read_faces(path)
    assert np.array_equal(faces.images[:2], IMAGES[:2])
    assert np.array_equal(faces.images[2], np.asarray(Image.open(io.BytesIO(pixels[2]))))
    assert faces.images[3].reshape(-1).tolist() == [255, 216, 255] + [0] * (PIXELS - 3)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for number, rows in enumerate((slice(0, 9), slice(9, 14))):
        pq.write_table(table(rows), folder / f"train-0000{number}-of-00002.parquet")
    pq.write_table(table(slice(14, N)), folder / "test-00000-of-00001.parquet")
    (folder.parent / "README.md").write_text("x")
    return folder


@pytest.mark.parametrize("batch_rows", [3, 100])
@pytest.mark.parametrize("level", [0, 1])
def test_a_folder_of_shards_is_one_data_set_with_the_splits_of_their_names(
    shards: Path, batch_rows: int, level: int
) -> None:
    folder = [shards, shards.parent][level]
    faces = concatenate(list(iter_faces(folder, batch_rows=batch_rows)))
    order = [*range(14, N), *range(14)]
    assert np.array_equal(faces.images, IMAGES[order])
    assert faces.splits is not None
    assert faces.splits.tolist() == ["test"] * 9 + ["Training"] * 14
    assert faces.rows.tolist() == list(range(1, N + 1))
    assert faces.source == str(folder)
    training = read_faces(folder, "train")
    assert training.rows.tolist() == list(range(10, N + 1))
    assert np.array_equal(training.images, IMAGES[:14])
    with pytest.raises(DataError, match=r"has no row of split 'PublicTest'; found Training, test$"):
        read_faces(folder, "PublicTest")


def test_shards_of_other_splits_are_not_read(shards: Path) -> None:
    (shards / "test-00000-of-00001.parquet").unlink()
    pq.write_table(pa.table({"pixels": [b"short"], "label": [0], "id": ["a"]}), shards / "test.parquet")
    assert len(read_faces(shards, "Training")) == 14
    with pytest.raises(DataError) as failure:
        read_faces(shards)
    assert str(failure.value) == f"{shards / 'test.parquet'} row 1, column 'pixels': expected 2304 bytes, found 5"


def test_a_missing_shard_is_noticed(shards: Path) -> None:
    (shards / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError) as failure:
        read_faces(shards)
    assert str(failure.value) == f"{shards}: expected 2 files train-*, found 1; number 0 is missing"


def test_shards_must_have_the_same_columns_and_all_state_a_split_or_none(shards: Path) -> None:
    pq.write_table(pa.table({"pixels": raw()}), shards / "validation.parquet")
    with pytest.raises(DataError) as failure:
        read_faces(shards)
    message = "has no column of labels, unlike the files before it in the folder"
    assert str(failure.value) == f"{shards / 'validation.parquet'}: {message}"
    (shards / "validation.parquet").rename(shards / "data.parquet")
    with pytest.raises(DataError, match=r"data\.parquet: its name states no split, but those of other files"):
        read_faces(shards)


def test_a_data_set_saved_to_disk_has_the_splits_of_its_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        write_stream(table(slice(4)), tmp_path / split / "data-00000-of-00001.arrow")
        (tmp_path / split / "dataset_info.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text("{}")
    faces = read_faces(tmp_path)
    assert faces.splits is not None
    assert faces.splits.tolist() == ["test"] * 4 + ["Training"] * 4


def test_shards_without_splits_have_no_usage(tmp_path: Path) -> None:
    write_file(table(), tmp_path / "data-00000-of-00001.arrow")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_faces(tmp_path).splits is None

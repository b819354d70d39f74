"""Faces from Parquet: every type that holds pixels is read alike, and every wrong row and file is named."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from csv_samples import assert_same
from numpy.typing import NDArray

from fer_core import SPLITS, DataError, FerError, iter_faces, read_faces
from fer_core.fer2013 import LABEL_EXPECTED, PIXELS, SPLIT_EXPECTED
from fer_core.io.columns import ID_EXPECTED

N = 23
IMAGES = np.random.default_rng(3).integers(0, 256, (N, PIXELS), dtype=np.uint8)


def as_text(images: NDArray[np.uint8], kind: pa.DataType) -> pa.Array:
    return pa.array([" ".join(map(str, image)) for image in images.tolist()], kind)


def as_bytes(images: NDArray[np.uint8], kind: pa.DataType) -> pa.Array:
    return pa.array([image.tobytes() for image in images], kind)


def as_lists(images: NDArray[np.uint8], kind: pa.DataType) -> pa.Array:
    return pa.array(images.tolist(), kind)


INTEGERS = [pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
STORED: dict[str, tuple[Callable[[NDArray[np.uint8], pa.DataType], pa.Array], pa.DataType]] = {
    "binary": (as_bytes, pa.binary()),
    "large binary": (as_bytes, pa.large_binary()),
    "fixed-size binary": (as_bytes, pa.binary(PIXELS)),
    "text": (as_text, pa.string()),
    "large text": (as_text, pa.large_string()),
    **{f"list of {kind}": (as_lists, pa.list_(kind)) for kind in [*INTEGERS, *FLOATS]},
    "large list": (as_lists, pa.large_list(pa.int16())),
    "fixed-size list": (as_lists, pa.list_(pa.uint8(), PIXELS)),
}


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faces.parquet"


@pytest.mark.parametrize("row_group_size", [5, 100])
@pytest.mark.parametrize(("store", "kind"), STORED.values(), ids=STORED)
def test_pixels_are_read_from_every_type_that_holds_them(
    path: Path, store: Callable[..., pa.Array], kind: pa.DataType, row_group_size: int
) -> None:
    write(path, {"pixels": store(IMAGES, kind)}, row_group_size=row_group_size)
    faces = read_faces(path)
    expected = {"images": IMAGES.reshape(-1, 48, 48), "rows": list(range(1, N + 1))}
    assert_same(faces, expected | dict.fromkeys(("labels", "ids", "splits")))
    assert (faces.first_row, faces.source) == (1, str(path))


@pytest.mark.parametrize("batch_rows", [1, 4, N, 100, 10**25])
def test_batches_join_to_the_whole_whatever_the_row_groups(path: Path, batch_rows: int) -> None:
    labels = np.arange(N) % 7
    write(path, {"feature": as_bytes(IMAGES, pa.binary()), "label": labels}, row_group_size=6)
    parts = list(iter_faces(path, batch_rows=batch_rows))
    assert max(map(len, parts)) <= batch_rows
    assert np.array_equal(np.concatenate([part.images for part in parts]), IMAGES.reshape(-1, 48, 48))
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(1, N + 1))
    assert np.concatenate([part.labels for part in parts if part.labels is not None]).tolist() == labels.tolist()


@pytest.mark.parametrize("ids", [[f"face {i}" for i in range(N)], [i * 10 for i in range(N)]], ids=["text", "integers"])
def test_every_column_is_read_whatever_its_capitals_and_place(path: Path, ids: list[Any]) -> None:
    split = [SPLITS[i % 3] for i in range(N)]
    columns = {"ID": ids, " Usage": pa.array(split).dictionary_encode(), "PIXELS": as_bytes(IMAGES, pa.binary())}
    faces = read_faces(write(path, columns | {"Emotion": np.arange(N, dtype=np.uint8) % 7}))
    expected = {"images": IMAGES.reshape(-1, 48, 48), "rows": list(range(1, N + 1)), "splits": split}
    assert_same(faces, expected | {"labels": [i % 7 for i in range(N)], "ids": [str(name) for name in ids]})


def test_what_polars_writes_is_read(path: Path) -> None:
    table = pl.DataFrame({"id": [str(i) for i in range(N)], "pixels": IMAGES.tolist()}).cast(
        {"pixels": pl.List(pl.UInt8)}
    )
    table.write_parquet(path)
    faces = read_faces(path)
    assert np.array_equal(faces.images, IMAGES.reshape(-1, 48, 48))
    assert faces.ids is not None
    assert faces.ids.tolist() == [str(i) for i in range(N)]


def test_one_split_is_read_and_the_other_rows_are_validated_all_the_same(path: Path) -> None:
    pixels = [image.tobytes() for image in IMAGES]
    split = [SPLITS[i % 3] for i in range(N)]
    faces = read_faces(write(path, {"pixels": pixels, "split": split}), "PublicTest")
    assert faces.rows.tolist() == [row for row in range(1, N + 1) if row % 3 == 2]
    pixels[0] = b"short"
    write(path, {"pixels": pixels, "split": split})
    with pytest.raises(DataError, match=r"row 1, column 'pixels': expected 2304 bytes, found 5$"):
        read_faces(path, "PublicTest")


def test_a_split_without_a_face_gives_one_empty_batch(path: Path) -> None:
    write(path, {"pixels": as_bytes(IMAGES, pa.binary()), "split": ["Training"] * N})
    (nothing,) = iter_faces(path, split="PublicTest", batch_rows=5)
    assert (len(nothing), nothing.images.shape) == (0, (0, 48, 48))
    with pytest.raises(DataError, match=r"faces\.parquet: has no row of split 'PublicTest'; found Training$"):
        read_faces(path, "PublicTest")


@pytest.mark.parametrize(("store", "kind"), STORED.values(), ids=STORED)
def test_a_file_without_rows_gives_one_empty_batch(path: Path, store: Callable[..., pa.Array], kind: Any) -> None:
    write(path, {"id": pa.array([], pa.string()), "pixels": store(IMAGES[:0], kind)})
    faces = read_faces(path)
    assert (faces.images.shape, faces.labels) == ((0, 48, 48), None)
    assert faces.ids is not None


def _other(value: Any, place: int = 5) -> list[Any]:
    values: list[Any] = IMAGES[0].tolist()
    values[place - 1] = value
    return values


def _text(values: list[Any]) -> str:
    return " ".join(map(str, values))


EXPECTED = "expected 2304 integers in 0..255, found"
IN_ID = f", column 'id': {ID_EXPECTED}, found"
IN_LABEL = f", column 'label': {LABEL_EXPECTED}, found"
IN_SPLIT = f", column 'split': {SPLIT_EXPECTED}, found"
GOOD = {"pixels": IMAGES[0].tobytes(), "label": 3, "id": "a", "split": "Training"}
LISTS = pa.list_(pa.int64())
WRONG_ROWS: dict[str, tuple[str, Any, pa.DataType, str]] = {
    "bytes too few": ("pixels", b"12", pa.binary(), ", column 'pixels': expected 2304 bytes, found 2"),
    "bytes too many": ("pixels", bytes(2305), pa.binary(), ", column 'pixels': expected 2304 bytes, found 2305"),
    "no bytes": ("pixels", None, pa.binary(), ", column 'pixels': expected 2304 bytes, found null"),
    "list too short": ("pixels", _other(1)[1:], LISTS, f", column 'pixels': {EXPECTED} 2303"),
    "list too long": ("pixels", [*_other(1), 1], LISTS, f", column 'pixels': {EXPECTED} 2305"),
    "list empty": ("pixels", [], LISTS, f", column 'pixels': {EXPECTED} 0"),
    "no list": ("pixels", None, LISTS, f", column 'pixels': {EXPECTED} null"),
    "256": ("pixels", _other(256), LISTS, f", column 'pixels': {EXPECTED} 256 as value 5"),
    "-1 as last": ("pixels", _other(-1, 2304), LISTS, f", column 'pixels': {EXPECTED} -1 as value 2304"),
    "null in a list": ("pixels", _other(None), LISTS, f", column 'pixels': {EXPECTED} null as value 5"),
    "int8": ("pixels", [-1] * 2304, pa.list_(pa.int8()), f", column 'pixels': {EXPECTED} -1 as value 1"),
    "2**40 in uint64": (
        "pixels",
        _other(2**40),
        pa.list_(pa.uint64()),
        f", column 'pixels': {EXPECTED} 1099511627776 as value 5",
    ),
    "no fixed-size list": ("pixels", None, pa.list_(pa.uint8(), PIXELS), f", column 'pixels': {EXPECTED} null"),
    "text of 2303": ("pixels", _text(_other(1)[1:]), pa.string(), f", column 'pixels': {EXPECTED} 2303"),
    "text of a word": ("pixels", _text(_other("x")), pa.string(), f", column 'pixels': {EXPECTED} 'x' as value 5"),
    "text in quotes": (
        "pixels",
        f'"{_text(_other(1))}"',
        pa.string(),
        f", column 'pixels': {EXPECTED} '\"{IMAGES[0, 0]}' as value 1",
    ),
    "text that ends in CR": (
        "pixels",
        f"{_text(_other(1))}\r",
        pa.string(),
        f", column 'pixels': {EXPECTED} '{IMAGES[0, -1]}\\r' as value 2304",
    ),
    "two faces in two lines": (
        "pixels",
        f"{_text(_other(1))}\n{_text(_other(1))}",
        pa.string(),
        f", column 'pixels': {EXPECTED} '{IMAGES[0, -1]}\\n{IMAGES[0, 0]}' as value 2304",
    ),
    "half in a list": ("pixels", _other(0.5), pa.list_(pa.float64()), f", column 'pixels': {EXPECTED} 0.5 as value 5"),
    "nan in a list": (
        "pixels",
        _other(float("nan")),
        pa.list_(pa.float32()),
        f", column 'pixels': {EXPECTED} nan as value 5",
    ),
    "256.0 in a list": (
        "pixels",
        _other(256.0),
        pa.list_(pa.float16()),
        f", column 'pixels': {EXPECTED} 256.0 as value 5",
    ),
    "no text": ("pixels", None, pa.string(), f", column 'pixels': {EXPECTED} null"),
    "label 7": ("label", 7, pa.int64(), f"{IN_LABEL} 7"),
    "label -1": ("label", -1, pa.int8(), f"{IN_LABEL} -1"),
    "label 2**63": ("label", 2**63, pa.uint64(), f"{IN_LABEL} {2**63}"),
    "no label": ("label", None, pa.int64(), f"{IN_LABEL} null"),
    "label 5.5": ("label", 5.5, pa.float64(), f"{IN_LABEL} 5.5"),
    "label nan": ("label", float("nan"), pa.float32(), f"{IN_LABEL} nan"),
    "label 7.0": ("label", 7.0, pa.float16(), f"{IN_LABEL} 7.0"),
    "label of another class": ("label", "contempt", pa.string(), f"{IN_LABEL} 'contempt'"),
    "label of an empty text": ("label", "", pa.large_string(), f"{IN_LABEL} ''"),
    "no text for a label": ("label", None, pa.string(), f"{IN_LABEL} null"),
    "split unknown": ("split", "fold 1", pa.string(), f"{IN_SPLIT} 'fold 1'"),
    "no split": ("split", None, pa.string(), f"{IN_SPLIT} null"),
    "id empty": ("id", "", pa.string(), f"{IN_ID} ''"),
    "id of spaces": ("id", "  ", pa.string(), f"{IN_ID} ''"),
    "id too long": ("id", "x" * 257, pa.string(), f"{IN_ID} '{'x' * 40}...'"),
    "id with a tab": ("id", "a\tb", pa.string(), f"{IN_ID} 'a\\tb'"),
    "no id": ("id", None, pa.int32(), f"{IN_ID} null"),
}


@pytest.mark.parametrize(("name", "cell", "kind", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_a_wrong_row_is_named_with_what_is_wrong(
    path: Path, name: str, cell: Any, kind: pa.DataType, message: str, batch_rows: int
) -> None:
    good: dict[str, Any] = dict(GOOD)
    if name == "pixels" and pa.types.is_string(kind):
        good["pixels"] = _text(IMAGES[0].tolist())
    elif name == "pixels" and not pa.types.is_binary(kind):
        good["pixels"] = [7] * PIXELS
    elif name == "label" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        good["label"] = "happy"
    elif name == "id" and kind == pa.int32():
        good["id"] = 1
    columns = {role: pa.array([value] * 4) for role, value in good.items()}
    columns[name] = pa.array([good[name], good[name], cell, good[name]], kind)
    write(path, columns)

    with pytest.raises(DataError) as failure:
        list(iter_faces(path, batch_rows=batch_rows))
    assert str(failure.value) == f"{path} row 3{message}"

    parts = list(iter_faces(path, batch_rows=batch_rows, on_error="skip"))
    assert np.concatenate([part.rows for part in parts]).tolist() == [1, 2, 4]
    assert [str(error) for part in parts for error in part.rejected] == [str(failure.value)]
    pixels = good["pixels"].split() if isinstance(good["pixels"], str) else list(good["pixels"])
    for part in parts:
        assert (part.images.reshape(-1, PIXELS) == np.array(pixels, np.uint8)).all()


def test_a_row_wrong_in_several_cells_is_told_once_and_by_its_first(path: Path) -> None:
    columns = {"split": ["x", "Training"], "label": [9, 9], "pixels": [b"", IMAGES[0].tobytes()]}
    write(path, columns)
    faces = read_faces(path, on_error="skip")
    assert [(error.row, error.column) for error in faces.rejected] == [(1, "pixels"), (2, "label")]
    assert len(faces) == 0


PIXELS_EXPECTED = (
    "expected 2304 bytes, a list of 2304 integers or whole floats, text as in CSV, or encoded images, found"
)
COLUMNS_EXPECTED = "expected a column 'pixels' or 'feature', or 2304 columns such as pixel0 to pixel2303, found"
BYTES = pa.array([IMAGES[0].tobytes()])
WRONG_FILES: dict[str, tuple[dict[str, Any], str]] = {
    "no pixels": ({"label": [1], "id": [2]}, f": {COLUMNS_EXPECTED} 'label', 'id'"),
    "pixels twice": (
        {"pixels": BYTES, "Feature": BYTES},
        ": expected one column of pixels, found 'pixels' and 'Feature'; `columns={'pixels': 'Feature'}` chooses one",
    ),
    "a number a face": ({"pixels": [1]}, f", column 'pixels': {PIXELS_EXPECTED} int64"),
    "lists of lists": (
        {"pixels": [[[1]]]},
        f", column 'pixels': {PIXELS_EXPECTED} list<element: list<element: int64>>",
    ),
    "a struct without bytes": (
        {"pixels": [{"path": "a.png"}]},
        f", column 'pixels': {PIXELS_EXPECTED} struct<path: string>",
    ),
    "label of truths": (
        {"pixels": BYTES, "label": [True]},
        ", column 'label': expected integers, whole floats or text, found bool",
    ),
    "split of integers": ({"pixels": BYTES, "split": [1]}, ", column 'split': expected text, found int64"),
    "id of floats": ({"pixels": BYTES, "id": [1.0]}, ", column 'id': expected text or integers, found double"),
    "a text column among the pixels": (
        {f"p{n}": ["7"] if n == 9 else [7] for n in range(PIXELS)},
        ", column 'p9': expected integers or whole floats, found string",
    ),
}


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize(("columns", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_is_none_of_ours_is_refused_whole(
    path: Path, columns: dict[str, Any], message: str, on_error: Any
) -> None:
    write(path, columns)
    with pytest.raises(DataError) as failure:
        read_faces(path, on_error=on_error)
    assert str(failure.value) == f"{path}{message}"


def test_a_split_that_cannot_be_told_is_an_error(path: Path) -> None:
    write(path, {"pixels": BYTES})
    with pytest.raises(DataError, match=r"faces\.parquet: has no Usage column; cannot select PublicTest rows$"):
        list(iter_faces(path, split="PublicTest"))


@pytest.mark.parametrize("keep", [4, 12, 0.5, 0.99])
def test_a_damaged_file_is_one_line(path: Path, keep: float) -> None:
    whole = write(path, {"pixels": as_bytes(IMAGES, pa.binary())}).read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(DataError, match=r"faces\.parquet: cannot be read[^\n]+$"):
        read_faces(path, on_error="skip")


def test_a_flipped_byte_is_noticed_where_the_file_has_checksums(path: Path) -> None:
    write(path, {"pixels": as_bytes(IMAGES, pa.binary())}, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"faces\.parquet: cannot be read[^\n]+$"):
        read_faces(path)


def test_text_that_is_not_utf8_is_one_line(path: Path) -> None:
    broken = pa.array([b"\xff"], pa.binary())
    ids = pa.Array.from_buffers(pa.string(), 1, broken.buffers())
    write(path, {"pixels": BYTES, "id": ids})
    with pytest.raises(DataError, match=r"faces\.parquet: cannot be read as Parquet: Invalid UTF8[^\n]+$"):
        read_faces(path)


def test_the_content_tells_parquet_from_csv(tmp_path: Path) -> None:
    named_as_csv = write(tmp_path / "faces.csv", {"pixels": as_bytes(IMAGES, pa.binary())})
    assert len(read_faces(named_as_csv)) == N
    named_as_parquet = tmp_path / "faces.parquet"
    named_as_parquet.write_text(f"pixels\n{_text(IMAGES[0].tolist())}\n")
    assert len(read_faces(named_as_parquet)) == 1


def test_one_large_row_group_is_read_in_bounded_memory(path: Path) -> None:
    rows = 40_000
    noise = np.random.default_rng(0).integers(0, 256, rows * PIXELS, dtype=np.uint8)
    offsets = pa.py_buffer(np.arange(0, (rows + 1) * PIXELS, PIXELS, dtype=np.int32))
    pixels = pa.Array.from_buffers(pa.binary(), rows, [None, offsets, pa.py_buffer(noise)])
    write(path, {"pixels": pixels}, row_group_size=rows, use_dictionary=False)
    code = (
        "import resource, sys\n"
        "from fer_core import iter_faces\n"
        "import fer_core.io.tables.reader, pyarrow\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = sum(len(faces) for faces in iter_faces(sys.argv[1], batch_rows=256))\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    read, grown_kib = map(int, done.stdout.split())
    assert read == rows
    assert grown_kib * 1024 < noise.nbytes / 3


def test_without_pyarrow_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, {"pixels": BYTES})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "fer_core.io.tables.reader", raising=False)
    monkeypatch.delattr("fer_core.io.tables.reader", raising=False)
    with pytest.raises(FerError, match=re.escape("pyarrow is not installed; pip install 'fer-toolkit[parquet]', or ")):
        read_faces(path)

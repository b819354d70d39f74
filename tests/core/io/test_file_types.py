"""Formats are recognized by their first bytes, and files that contain no faces are named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from csv_samples import zst
from PIL import Image

from fer_core import CardError, DataError, ModelCard, ModelError, read_faces
from fer_core.git_lfs import is_lfs_pointer
from fer_core.io.file_types import file_type

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
TABLE = pa.table({"pixels": [b"x"]})
TABLE_OF_TEXT = pa.table({"pixels": ["x"]})


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def _tar(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))


def _arrow(file: io.BytesIO, writer: Callable[..., pa.RecordBatchWriter]) -> None:
    with writer(file, TABLE.schema) as opened:
        opened.write_table(TABLE)


WRITTEN: dict[str, bytes] = {
    "gzip": gzip.compress(b"x"),
    "zstandard": zst(b"x"),
    "xz": lzma.compress(b"x"),
    "bzip2": bz2.compress(b"x", 5),
    "a zip archive": _saved(lambda file: zipfile.ZipFile(file, "w").writestr("a", "b")),
    "a tar archive": _saved(_tar),
    "Parquet": _saved(lambda file: pq.write_table(TABLE, file)),
    "an Arrow IPC file": _saved(lambda file: _arrow(file, pa.ipc.new_file)),
    "an Arrow IPC stream": _saved(lambda file: _arrow(file, pa.ipc.new_stream)),
    "a PNG image": _saved(lambda file: Image.new("L", (48, 48)).save(file, "PNG")),
    "a JPEG image": _saved(lambda file: Image.new("L", (48, 48)).save(file, "JPEG")),
    "a GIF image": _saved(lambda file: Image.new("L", (48, 48)).save(file, "GIF")),
    "a TIFF image": _saved(lambda file: Image.new("L", (48, 48)).save(file, "TIFF")),
    "a WebP image": _saved(lambda file: Image.new("L", (48, 48)).save(file, "WEBP")),
    "a BMP image": _saved(lambda file: Image.new("L", (48, 48)).save(file, "BMP")),
    "an HEIF or AVIF image": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
    "a NumPy array": _saved(lambda file: np.save(file, np.zeros(9))),
    "a Python pickle": pickle.dumps([1, 2]),
    "a Git LFS pointer": POINTER,
    "an HTML page": b"\xef\xbb\xbf\n <!DOCTYPE html>\n<html>",
    "a PDF document": b"%PDF-1.7\n",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "a Feather file of version 1": _saved(lambda file: pyarrow.feather.write_feather(TABLE_OF_TEXT, file, version=1)),
}


@pytest.mark.parametrize(("name", "content"), WRITTEN.items(), ids=WRITTEN)
def test_a_format_is_recognized_by_its_first_bytes(name: str, content: bytes) -> None:
    assert file_type(content[:512]) == name


def test_a_database_is_recognized(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a") as base:
        base.execute("create table faces (pixels text)")
    base.close()
    assert file_type((tmp_path / "a").read_bytes()[:512]) == "an SQLite database"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"emotion,pixels,Usage\n",
        b"BZhang,pixels\n",
        b"BMI,pixels\n70,0 0 0",
        b"0 " * 256,
        bytes(512),
        b"\xff\xfee\x00",
        b"<pixels>",
    ],
)
def test_text_and_anything_else_is_no_known_format(head: bytes) -> None:
    assert file_type(head) is None


NOT_TABLES = [name for name in WRITTEN if name.startswith(("a NumPy", "a Py", "an HT", "an HD", "a PDF", "a Feather"))]


@pytest.mark.parametrize("name", NOT_TABLES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_without_faces_is_named_by_its_format(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "faces.csv"
    path.write_bytes(compress(WRITTEN[name]))
    with pytest.raises(DataError) as failure:
        read_faces(path)
    assert str(failure.value) == f"{path}: is {name}; expected a CSV, Parquet or Arrow file, or a folder of images"


@pytest.mark.parametrize("name", ["a GIF image", "a WebP image", "an HEIF or AVIF image"])
def test_another_picture_is_named_with_the_settings_that_read_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "faces.csv"
    path.write_bytes(WRITTEN[name])
    remedy = "`faces='whole'` resizes pictures, `faces='detect'` finds the faces in them"
    with pytest.raises(DataError) as failure:
        read_faces(path)
    assert str(failure.value) == f"{path}: is {name}, expected PNG or JPEG; {remedy}"


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"FLV\x01", (b"G" + bytes(187)) * 3]
)
def test_a_film_is_named_with_the_command_that_scores_it(head: bytes, tmp_path: Path) -> None:
    assert file_type(head) == "a film"
    (tmp_path / "faces.csv").write_bytes(head)
    with pytest.raises(DataError, match=r"is a film; `fer-infer score` finds the faces in it with `faces='detect'`$"):
        read_faces(tmp_path / "faces.csv")


REMEDY = "is a Git LFS pointer, not the file itself; `git lfs pull` downloads it"


def test_a_git_lfs_pointer_is_named_in_place_of_data_and_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    image = tmp_path / "happy" / "a.png"
    image.write_bytes(POINTER)
    with pytest.raises(DataError) as failure:
        read_faces(tmp_path)
    assert str(failure.value) == f"{image}: {REMEDY}"
    with pytest.raises(DataError) as failure:
        read_faces(image)
    assert str(failure.value) == f"{image}: {REMEDY}"
    assert is_lfs_pointer(image)
    assert not is_lfs_pointer(tmp_path / "absent")


def test_a_git_lfs_pointer_is_named_in_place_of_a_model(tmp_path: Path) -> None:
    from fer_infer.scorer import Scorer
    from fer_train.runs.checkpoint import load_weights

    for name in ("model.onnx", "card.json", "weights.safetensors"):
        (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ModelError) as failure:
        Scorer(tmp_path)
    assert str(failure.value) == f"{tmp_path / 'model.onnx'}: {REMEDY}"
    with pytest.raises(ModelError) as failure:
        load_weights(tmp_path / "weights.safetensors")
    assert str(failure.value) == f"{tmp_path / 'weights.safetensors'}: {REMEDY}"
    with pytest.raises(CardError) as card_failure:
        ModelCard.load_json(tmp_path / "card.json")
    assert str(card_failure.value) == f"{tmp_path / 'card.json'}: {REMEDY}"

"""Every wrong row and every wrong file is named, with what was expected and what was found."""

from __future__ import annotations

import gzip
import io
import itertools
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from csv_samples import BOM, FACE, Chunks, many_rows, pixels_text, written, zst
from wrong_csv import WRONG_FILES, WRONG_ROWS, row_with, row_with_value

from fer_core import DataError, iter_faces, read_faces
from fer_core.io.csv.lines import MAX_LINE_BYTES


@pytest.mark.parametrize(("line", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_wrong_row_is_named_with_what_is_wrong(tmp_path: Path, line: bytes, message: str) -> None:
    good = row_with(FACE)
    path = written(tmp_path, b"\r\n".join([b"emotion,pixels,Usage", good, line, good, b""]))
    with pytest.raises(DataError) as failure:
        read_faces(path)
    assert str(failure.value) == f"{path} row 3{message}"
    assert failure.value.row == 3

    faces = read_faces(path, on_error="skip")
    assert faces.rows.tolist() == [2, 4]
    assert [str(error) for error in faces.rejected] == [str(failure.value)]


def test_the_error_of_the_documentation_is_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["id,feature", *(f"{i},{FACE}" for i in range(1040)), f"1040,{pixels_text(0, 2303)}"]
    written(tmp_path, "\n".join(lines).encode())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as failure:
        read_faces("test.csv")
    assert str(failure.value) == "test.csv row 1042, column 'feature': expected 2304 integers in 0..255, found 2303"


@pytest.mark.parametrize("name", ["", "  ", "x" * 257, "a\0", "a\tb"])
def test_an_id_that_no_output_could_carry_is_refused(tmp_path: Path, name: str) -> None:
    expected = "row 2, column 'id': expected an id of 1 to 256 characters without control characters, found "
    with pytest.raises(DataError, match=re.escape(expected)):
        read_faces(written(tmp_path, f"id,feature\n{name},{FACE}\n".encode()))


@pytest.mark.parametrize("value", ["007", "07", "000", "7"])
def test_leading_zeros_up_to_three_digits_change_nothing(tmp_path: Path, value: str) -> None:
    faces = read_faces(written(tmp_path, b"emotion,pixels,Usage\n" + row_with_value(value)))
    assert faces.images.reshape(-1)[4] == int(value)


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    padding = " " * (MAX_LINE_BYTES - len(FACE) - 1)
    whole = f"pixels\n{FACE}{padding}\n{FACE}\n".encode()
    assert read_faces(written(tmp_path, whole)).rows.tolist() == [2, 3]
    longer = f"pixels\n{FACE}{padding} \n{FACE}\n".encode()
    assert read_faces(written(tmp_path, longer), on_error="skip").rows.tolist() == [3]


def test_an_endless_line_does_not_fill_the_memory(put_on_stdin: Callable[..., Any]) -> None:
    read_faces_once = f"pixels\n{FACE}\n".encode()
    put_on_stdin(io.BytesIO(read_faces_once))
    read_faces("-")  # whatever is loaded once
    chunks = itertools.chain([b"pixels\n"], itertools.repeat(b"1 " * 8192, 1000), [b"\n", FACE.encode(), b"\n", b"x"])
    put_on_stdin(Chunks(chunks))
    tracemalloc.start()
    try:
        faces = next(iter_faces("-", batch_rows=1, on_error="skip"))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [error.row for error in faces.rejected] == [2]
    assert peak_bytes < 2_000_000 < 1000 * 16384


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize(("data", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_is_none_of_ours_is_refused_whole(tmp_path: Path, data: bytes, message: str, on_error: Any) -> None:
    path = written(tmp_path, data)
    with pytest.raises(DataError) as failure:
        read_faces(path, on_error=on_error)
    assert str(failure.value) == f"{path}{message}"


@pytest.mark.parametrize(
    "data", [b"emotion,pixels,Usage", b"emotion,pixels,Usage\n", BOM + b"emotion,pixels,Usage\r\n"]
)
def test_a_header_alone_holds_no_face_and_is_one_empty_batch(tmp_path: Path, data: bytes) -> None:
    (faces,) = iter_faces(written(tmp_path, data))
    assert faces.images.shape == (0, 48, 48)
    assert faces.require_labels().tolist() == []
    assert faces.splits is not None
    assert faces.splits.tolist() == []
    assert faces.ids is None


def test_an_absent_file_is_named() -> None:
    with pytest.raises(DataError, match=r"^nowhere.csv: cannot be read: No such file or directory$"):
        read_faces("nowhere.csv")


def test_a_path_that_no_system_takes_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match=r": cannot be read: File name too long$"):
        read_faces("x" * 300)


@pytest.mark.parametrize("pack", [gzip.compress, zst], ids=["gzip", "zstandard"])
def test_a_packed_file_cut_anywhere_is_damaged_even_where_a_row_ends(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(many_rows())
    assert len(packed) > 80_000  # several blocks
    for cut in [5, 12, 100, *range(1000, len(packed), 20_011), len(packed) - 5, len(packed) - 1]:
        path = written(tmp_path, packed[:cut])
        with pytest.raises(DataError, match=r"^" + re.escape(f"{path}: compressed data is damaged or cut short (")):
            read_faces(path, on_error="skip")


@pytest.mark.parametrize("pack", [gzip.compress, zst], ids=["gzip", "zstandard"])
def test_a_packed_file_with_wrong_bytes_or_a_tail_is_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(many_rows())
    middle = len(packed) // 2
    wrong_byte = packed[:middle] + bytes([packed[middle] ^ 16]) + packed[middle + 1 :]
    wrong_block = packed[:10] + b"\xff" * 8 + packed[18:]
    for data in (wrong_byte, wrong_block, packed + b"tail"):
        with pytest.raises(DataError, match="compressed data is damaged or cut short"):
            read_faces(written(tmp_path, data), on_error="skip")

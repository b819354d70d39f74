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

from fer_core import DataError, iter_faces, read_faces
from fer_core.fer2013 import PIXELS
from fer_core.io.columns import PIXELS_EXPECTED
from fer_core.io.csv.lines import MAX_LINE_BYTES


def _with(cell: str) -> bytes:
    return f"3,{cell},Training".encode()


def _value(new: str, place: int = 5) -> bytes:
    values = FACE.split()
    values[place - 1] = new
    return _with(" ".join(values))


EXPECTED = "expected 2304 integers in 0..255"
IN_PIXELS = f", column 'pixels': {EXPECTED}"
IN_LABEL = ", column 'emotion': expected a label in 0..6 or the name of a class"
SPLIT_EXPECTED = ", column 'Usage': expected one of Training, PublicTest, PrivateTest, train, validation, test"
WRONG_ROWS = {
    "one value missing": (_with(pixels_text(0, PIXELS - 1)), f"{IN_PIXELS}, found 2303"),
    "one value more": (_with(pixels_text(0, PIXELS + 1)), f"{IN_PIXELS}, found 2305"),
    "256": (_value("256"), f"{IN_PIXELS}, found '256' as value 5"),
    "four digits": (_value("0012"), f"{IN_PIXELS}, found '0012' as value 5"),
    "negative": (_value("-1"), f"{IN_PIXELS}, found '-1' as value 5"),
    "plus": (_value("+5"), f"{IN_PIXELS}, found '+5' as value 5"),
    "fraction": (_value("121.5"), f"{IN_PIXELS}, found '121.5' as value 5"),
    "fraction in the end": (_value("121.0001"), f"{IN_PIXELS}, found '121.0001' as value 5"),
    "two points": (_value("1.0.0"), f"{IN_PIXELS}, found '1.0.0' as value 5"),
    "point alone": (_value("."), f"{IN_PIXELS}, found '.' as value 5"),
    "no digit before the point": (_value(".0"), f"{IN_PIXELS}, found '.0' as value 5"),
    "256.0": (_value("256.0"), f"{IN_PIXELS}, found '256.0' as value 5"),
    "exponent": (_value("1e2"), f"{IN_PIXELS}, found '1e2' as value 5"),
    "NaN": (_value("nan"), f"{IN_PIXELS}, found 'nan' as value 5"),
    "letters": (_value("abc"), f"{IN_PIXELS}, found 'abc' as value 5"),
    "digits of another script": (_value("٣"), f"{IN_PIXELS}, found '٣' as value 5"),
    "long word": (_value("9" * 40), f"{IN_PIXELS}, found '999999999999...' as value 5"),
    "last value": (_value("x", PIXELS), f"{IN_PIXELS}, found 'x' as value 2304"),
    "empty cell": (_with(""), f"{IN_PIXELS}, found an empty cell"),
    "only spaces": (_with("   "), f"{IN_PIXELS}, found an empty cell"),
    "one value more, after a tab": (_value("7\t8"), f"{IN_PIXELS}, found 2305"),
    "NUL": (_value("7\0"), f"{IN_PIXELS}, found '7\\x00' as value 5"),
    "no-break space": (_value("7\xa0" + "8"), f"{IN_PIXELS}, found '7\\xa08' as value 5"),
    "comma after the last value": (_with('"' + FACE.replace(" ", ",") + ',"'), f"{IN_PIXELS}, found '' as value 2305"),
    "two commas": (
        _with('"' + FACE.replace(" ", ",").replace(",", ",,", 1) + '"'),
        f"{IN_PIXELS}, found '' as value 2",
    ),
    "commas and spaces": (
        _with('"' + FACE.replace(" ", ",", 1) + '"'),
        f"{IN_PIXELS}, found '{' '.join(FACE.split()[1:])[:12]}...' as value 2",
    ),
    "one bracket": (_with("[" + FACE), f"{IN_PIXELS}, found '[{FACE.split()[0]}' as value 1"),
    "empty brackets": (_with("[ ]"), f"{IN_PIXELS}, found an empty cell"),
    "quotes within": (_value('"7"'), f"{IN_PIXELS}, found '\"7\"' as value 5"),
    "cell missing": (f"3,{FACE}".encode(), ": expected 3 cells, found 2"),
    "cell more": (_with(FACE) + b",", ": expected 3 cells, found 4"),
    "label too large": (f"7,{FACE},Training".encode(), f"{IN_LABEL}, found '7'"),
    "label negative": (f"-1,{FACE},Training".encode(), f"{IN_LABEL}, found '-1'"),
    "label 7.0": (f"7.0,{FACE},Training".encode(), f"{IN_LABEL}, found '7.0'"),
    "label a fraction": (f"3.5,{FACE},Training".encode(), f"{IN_LABEL}, found '3.5'"),
    "label an eighth class": (f"contempt,{FACE},Training".encode(), f"{IN_LABEL}, found 'contempt'"),
    "label empty": (f",{FACE},Training".encode(), f"{IN_LABEL}, found ''"),
    "label of another script": (f"٣,{FACE},Training".encode(), f"{IN_LABEL}, found '٣'"),
    "label after a tab": (f"\t3,{FACE},Training".encode(), f"{IN_LABEL}, found '\\t3'"),
    "split unknown": (f"3,{FACE},dev".encode(), f"{SPLIT_EXPECTED}, found 'dev'"),
    "split empty": (f"3,{FACE},".encode(), f"{SPLIT_EXPECTED}, found ''"),
    "quote never closed": (_with('"' + FACE), ": expected 3 cells, found bad quotes (unexpected end of data)"),
    "text after a quote": (
        _with(f'"{FACE}" '),
        ": expected 3 cells, found bad quotes (',' expected after '\"')",
    ),
    "not UTF-8": (b"3,\xff1 2,Training", ": expected 3 cells, found a byte that is not UTF-8 at position 2"),
    "CR within": (b"3,1 2\r3,Training", ": expected 3 cells, found a CR within a line"),
    "line over the limit": (_with("1" * MAX_LINE_BYTES), f": expected at most {MAX_LINE_BYTES} bytes, found more"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_wrong_row_is_named_with_what_is_wrong(tmp_path: Path, line: bytes, message: str) -> None:
    good = _with(FACE)
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
    faces = read_faces(written(tmp_path, b"emotion,pixels,Usage\n" + _value(value)))
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


HEADER_EXPECTED = "expected a header with a column 'pixels' or 'feature'"
IN_HEADER = f" row 1: {HEADER_EXPECTED}; found"
NO_PIXELS = f" row 1: {PIXELS_EXPECTED}, found"
PIXEL_COLUMNS = ",".join(f"pixel{i}" for i in range(PIXELS))
WRONG_FILES = {
    "empty file": (b"", " row 1: expected a header, found an empty file"),
    "BOM alone": (BOM, " row 1: expected a header, found an empty file"),
    "blank lines alone": (b"\n  \r\n\t\n", " row 1: expected a header, found an empty file"),
    "no pixels": (b"emotion,Usage\n", f"{NO_PIXELS} 'emotion', 'Usage'"),
    "no header": (f"3,{FACE}\n".encode(), f"{NO_PIXELS} '3', '{FACE[:40]}...'"),
    "pixels twice": (
        b"pixels,Pixels\n",
        " row 1: expected one column of pixels, found 'pixels' and 'Pixels'; "
        "`columns={'pixels': 'Pixels'}` chooses one",
    ),
    "labels twice": (
        b"emotion,label,pixels\n",
        " row 1: expected one column of label, found 'emotion' and 'label'; `columns={'label': 'label'}` chooses one",
    ),
    "a column per pixel, one missing": (
        PIXEL_COLUMNS.removesuffix(",pixel2303").encode() + b",label\n",
        " row 1: expected 2304 columns of pixels, found 2303: 'pixel0' to 'pixel2302'",
    ),
    "a column per pixel, one more": (
        b"0," + ",".join(map(str, range(1, PIXELS + 1))).encode() + b"\n",
        " row 1: expected 2304 columns of pixels, found 2305: '0' to '2304'",
    ),
    "a column per pixel, two of them swapped": (
        PIXEL_COLUMNS.replace("pixel8,pixel9,", "pixel9,pixel8,").encode() + b"\n",
        " row 1: expected 2304 columns of pixels, found 2294: 'pixel10' to 'pixel2303'",
    ),
    "a column per pixel, and one of pixels": (
        b"pixels," + PIXEL_COLUMNS.encode() + b"\n",
        " row 1: expected pixels in one column or in 2304, found 'pixels' and 'pixel0' to 'pixel2303'; "
        "`columns={'pixels': 'pixels'}` chooses the former",
    ),
    "no pixels, on the second line": (b"\nlabel\n", f"{NO_PIXELS} 'label'".replace("row 1", "row 2")),
    "quote never closed": (b'emotion,"pixels\n', f"{IN_HEADER} bad quotes (unexpected end of data)"),
    "not UTF-8": (b"emotion,pix\xffels\n", f"{IN_HEADER} a byte that is not UTF-8 at position 11"),
    "UTF-16": (f"emotion,pixels\n3,{FACE}\n".encode("utf-16"), f" row 1: {HEADER_EXPECTED}, in UTF-8; found UTF-16"),
    "semicolons": (
        f"emotion;pixels\n3;{FACE}\n".encode(),
        " row 1: expected columns separated by commas, found ';' in 'emotion;pixels'",
    ),
    "tabs": (
        f"emotion\tpixels\n3\t{FACE}\n".encode(),
        " row 1: expected columns separated by commas, found '\\t' in 'emotion\\tpixels'",
    ),
    "UTF-16 without BOM": (
        "id,pixels\n".encode("utf-16-le"),
        f"{NO_PIXELS} 'i\\x00d\\x00', '\\x00p\\x00i\\x00x\\x00e\\x00l\\x00s\\x00'",
    ),
    "CR alone, short": (b"emotion,pixels\r3,1 2\r", " row 1: expected lines that end in LF or CRLF, found only CR"),
    "CR alone, long": (
        b"pixels\r" + f"{FACE}\r".encode() * 20,
        f" row 1: expected a header that ends in LF or CRLF, found a line of over {MAX_LINE_BYTES} bytes",
    ),
    "a zip archive": (b"PK\x03\x04" + bytes(9), ": the zip archive is damaged or cut short (File is not a zip file)"),
}  # fmt: skip


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

"""CSVs that are wrong, and the errors that name what is wrong with them."""

from __future__ import annotations

from csv_samples import BOM, FACE, pixels_text

from fer_core.fer2013 import PIXELS
from fer_core.io.columns import PIXELS_EXPECTED
from fer_core.io.csv.lines import MAX_LINE_BYTES


def row_with(cell: str) -> bytes:
    return f"3,{cell},Training".encode()


def row_with_value(new: str, place: int = 5) -> bytes:
    values = FACE.split()
    values[place - 1] = new
    return row_with(" ".join(values))


EXPECTED = "expected 2304 integers in 0..255"
IN_PIXELS = f", column 'pixels': {EXPECTED}"
IN_LABEL = ", column 'emotion': expected a label in 0..6 or the name of a class"
SPLIT_EXPECTED = ", column 'Usage': expected one of Training, PublicTest, PrivateTest, train, validation, test"
WRONG_ROWS = {
    "one value missing": (row_with(pixels_text(0, PIXELS - 1)), f"{IN_PIXELS}, found 2303"),
    "one value more": (row_with(pixels_text(0, PIXELS + 1)), f"{IN_PIXELS}, found 2305"),
    "256": (row_with_value("256"), f"{IN_PIXELS}, found '256' as value 5"),
    "four digits": (row_with_value("0012"), f"{IN_PIXELS}, found '0012' as value 5"),
    "negative": (row_with_value("-1"), f"{IN_PIXELS}, found '-1' as value 5"),
    "plus": (row_with_value("+5"), f"{IN_PIXELS}, found '+5' as value 5"),
    "fraction": (row_with_value("121.5"), f"{IN_PIXELS}, found '121.5' as value 5"),
    "fraction in the end": (row_with_value("121.0001"), f"{IN_PIXELS}, found '121.0001' as value 5"),
    "two points": (row_with_value("1.0.0"), f"{IN_PIXELS}, found '1.0.0' as value 5"),
    "point alone": (row_with_value("."), f"{IN_PIXELS}, found '.' as value 5"),
    "no digit before the point": (row_with_value(".0"), f"{IN_PIXELS}, found '.0' as value 5"),
    "256.0": (row_with_value("256.0"), f"{IN_PIXELS}, found '256.0' as value 5"),
    "exponent": (row_with_value("1e2"), f"{IN_PIXELS}, found '1e2' as value 5"),
    "NaN": (row_with_value("nan"), f"{IN_PIXELS}, found 'nan' as value 5"),
    "letters": (row_with_value("abc"), f"{IN_PIXELS}, found 'abc' as value 5"),
    "digits of another script": (row_with_value("٣"), f"{IN_PIXELS}, found '٣' as value 5"),
    "long word": (row_with_value("9" * 40), f"{IN_PIXELS}, found '999999999999...' as value 5"),
    "last value": (row_with_value("x", PIXELS), f"{IN_PIXELS}, found 'x' as value 2304"),
    "empty cell": (row_with(""), f"{IN_PIXELS}, found an empty cell"),
    "only spaces": (row_with("   "), f"{IN_PIXELS}, found an empty cell"),
    "one value more, after a tab": (row_with_value("7\t8"), f"{IN_PIXELS}, found 2305"),
    "NUL": (row_with_value("7\0"), f"{IN_PIXELS}, found '7\\x00' as value 5"),
    "no-break space": (row_with_value("7\xa0" + "8"), f"{IN_PIXELS}, found '7\\xa08' as value 5"),
    "comma after the last value": (
        row_with('"' + FACE.replace(" ", ",") + ',"'),
        f"{IN_PIXELS}, found '' as value 2305",
    ),
    "two commas": (
        row_with('"' + FACE.replace(" ", ",").replace(",", ",,", 1) + '"'),
        f"{IN_PIXELS}, found '' as value 2",
    ),
    "commas and spaces": (
        row_with('"' + FACE.replace(" ", ",", 1) + '"'),
        f"{IN_PIXELS}, found '{' '.join(FACE.split()[1:])[:12]}...' as value 2",
    ),
    "one bracket": (row_with("[" + FACE), f"{IN_PIXELS}, found '[{FACE.split()[0]}' as value 1"),
    "empty brackets": (row_with("[ ]"), f"{IN_PIXELS}, found an empty cell"),
    "quotes within": (row_with_value('"7"'), f"{IN_PIXELS}, found '\"7\"' as value 5"),
    "cell missing": (f"3,{FACE}".encode(), ": expected 3 cells, found 2"),
    "cell more": (row_with(FACE) + b",", ": expected 3 cells, found 4"),
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
    "quote never closed": (row_with('"' + FACE), ": expected 3 cells, found bad quotes (unexpected end of data)"),
    "text after a quote": (
        row_with(f'"{FACE}" '),
        ": expected 3 cells, found bad quotes (',' expected after '\"')",
    ),
    "not UTF-8": (b"3,\xff1 2,Training", ": expected 3 cells, found a byte that is not UTF-8 at position 2"),
    "CR within": (b"3,1 2\r3,Training", ": expected 3 cells, found a CR within a line"),
    "line over the limit": (row_with("1" * MAX_LINE_BYTES), f": expected at most {MAX_LINE_BYTES} bytes, found more"),
}  # fmt: skip

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

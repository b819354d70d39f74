"""The page reads a CSV as Python does: the same faces, and the same error for each wrong row and file."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from csv_mutations import MUTATIONS, mutated
from csv_samples import BOM, FACE, LAYOUTS, make_csv, written
from page_modules import decoded, empty_page, encoded
from visits import require_browser
from wrong_csv import WRONG_FILES, WRONG_ROWS, row_with

from fer_core import DataError, DataWarning, read_faces
from fer_core.fer2013 import CLASS_NAMES, PIXELS, SPLIT_NAMES

require_browser()

READ = """async ([contents, name, onError]) => {
  const { DataError, readFaces } = await import("./scoring/csv.js");
  return contents.map((content) => {
    try {
      const { images, rejected, ...faces } = readFaces(bytesOf(content), name, { onError });
      return { ...faces, images: textOf(images), rejected: rejected.map(String) };
    } catch (error) {
      return { error: String(error), known: error instanceof DataError };
    }
  });
}"""
NAME = "faces.csv"


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with empty_page() as opened:
        yield opened


def read_in_page(page: Any, contents: list[bytes], on_error: str = "fail") -> list[dict[str, Any]]:
    found = page.evaluate(READ, [[encoded(content) for content in contents], NAME, on_error])
    for one in found:
        if "images" in one:
            one["images"] = decoded(one["images"], np.uint8).reshape(-1, PIXELS).tolist()
    return list(found)


def read_in_python(content: bytes, on_error: Any = "fail") -> dict[str, Any]:
    """What `readFaces` must return, from the reader of this package in the folder of the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            faces = read_faces(written(Path(), content, NAME), on_error=on_error)
        except DataError as error:
            return {"error": f"DataError: {error}", "known": True}
    columns = {"ids": faces.ids, "labels": faces.labels, "splits": faces.splits}
    return {
        "images": faces.images.reshape(-1, PIXELS).tolist(),
        "n": len(faces),
        "rows": faces.rows.tolist(),
        "positions": faces.row_positions().tolist(),
        **{name: None if column is None else column.tolist() for name, column in columns.items()},
        "rejected": [f"DataError: {error}" for error in faces.rejected],
        "warnings": [str(warning.message) for warning in caught],
    }


def assert_read_alike(page: Any, contents: list[bytes], on_error: str = "fail") -> None:
    for content, found in zip(contents, read_in_page(page, contents, on_error), strict=True):
        assert found == read_in_python(content, on_error), content[:300]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("header", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_and_line_end_gives_the_same_faces(page: Any, header: str) -> None:
    contents = [
        make_csv(header, 3, end=end, bom=bom, quoted=quoted, last_end=last_end)
        for end in ("\n", "\r\n", "\r\r\n", "\n \t\n")
        for bom in (False, True)
        for quoted in (False, True)
        for last_end in (False, True)
    ]
    assert_read_alike(page, contents)


def test_other_forms_of_pixels_labels_and_splits_are_the_same_faces(page: Any) -> None:
    values = FACE.split()
    cells = [
        "  ".join(values),
        "\t".join(values),
        f'"{",".join(values)}"',
        f'"[{", ".join(values)}]"',
        f"[{FACE}]",
        " ".join(f"{value}.0" for value in values),
        f'" {FACE} "',
        " ".join(value.zfill(3) for value in values),
    ]
    contents = [f"id,pixels,emotion\nü {n},{cell},3\n".encode() for n, cell in enumerate(cells)]
    contents += [f'label,pixels\n"{name.upper()}",{FACE}\n{name} ,{FACE}'.encode() for name in CLASS_NAMES]
    contents += [f'Usage,pixels\n"{name.upper()}",{FACE}\n {name},{FACE}'.encode() for name in SPLIT_NAMES]
    assert_read_alike(page, contents)


def test_one_column_per_pixel_is_read_alike(page: Any) -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, PIXELS))
    table = pd.DataFrame(images, columns=[f"pixel{n}" for n in range(PIXELS)])
    table.insert(0, "label", ["happy", "3"])
    contents = [table.to_csv(index=index).encode() for index in (False, True)]
    contents.append(table.astype({"pixel7": float}).to_csv(index=False).encode())
    header, _, rows = contents[0].partition(b"\n")
    for value in (b"256", b"", b"121.5", b'"1,2"', b"1 2", b"1,2"):
        first, *others = rows.split(b",")
        contents.append(header + b"\n" + b",".join([first, *others[:7], value, *others[8:]]))
    assert_read_alike(page, contents)


def test_columns_without_a_role_are_named_in_the_same_warning(page: Any) -> None:
    others = [",".join(f"c{n}x" for n in range(1234)), '"a,b""c"', "two\x0blines", "it's", "ü" * 50, "\u2028\U0001f600"]
    contents = [f"pixels,{other}\n".encode() for other in others]
    assert all(one["warnings"] for one in read_in_page(page, contents))
    assert_read_alike(page, contents)


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_wrong_row_is_named_with_the_same_text(page: Any, on_error: str) -> None:
    good = row_with(FACE)
    contents = [b"\r\n".join([b"emotion,pixels,Usage", good, line, good, b""]) for line, _ in WRONG_ROWS.values()]
    found = read_in_page(page, contents, on_error)
    assert all(one.get("error") or one["rejected"] for one in found)
    assert_read_alike(page, contents, on_error)


@pytest.mark.parametrize("identity", ["", "  ", "x" * 257, "😀" * 256, "😀" * 257, "a\0", "a\tb", "a\x1fb", "a\x7fb"])
def test_an_id_is_accepted_or_refused_alike(page: Any, identity: str) -> None:
    assert_read_alike(page, [f"id,feature\n{identity},{FACE}\n".encode(), f'id,feature\n"{identity}",{FACE}'.encode()])


def test_a_wrong_file_is_refused_with_the_same_text(page: Any) -> None:
    """An archive is not a CSV in the page; Python unpacks it."""
    contents = [content for content, message in WRONG_FILES.values() if "zip archive" not in message]
    assert len(contents) == len(WRONG_FILES) - 1
    assert all(one.get("error") for one in read_in_page(page, contents))
    assert_read_alike(page, contents)


@pytest.mark.parametrize(
    "damage",
    [
        b"\x80",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
    ],
)
def test_bytes_that_are_not_utf_8_are_found_at_the_same_position(page: Any, damage: bytes) -> None:
    face = FACE.encode()
    contents = [b"id,pixels\n" + "ü€😀".encode() + damage + end + face for end in (b",", b"x,", "ü,".encode(), b"\n")]
    assert_read_alike(page, [*contents, b"id,pixels" + damage + b"\n", BOM + b"id" + damage + b",pixels\n"])


def test_a_line_of_the_greatest_length_is_read_and_a_longer_one_refused(page: Any) -> None:
    padding = " " * ((1 << 17) - len(FACE) - 1)
    contents = [f"pixels\n{FACE}{padding}{more}\n{FACE}\n".encode() for more in ("", " ", "  ")]
    assert_read_alike(page, contents, "skip")


@pytest.mark.parametrize("kind", MUTATIONS)
def test_a_damaged_file_is_read_or_refused_alike(page: Any, kind: str) -> None:
    contents = []
    for header in ["emotion,pixels,Usage", "id, feature", "Usage,pixels,id,label"]:
        rng = random.Random(f"{kind} {header}")
        whole = [make_csv(header, 3, quoted=quoted, end=end) for quoted in (False, True) for end in ("\n", "\r\n")]
        contents += [mutated(rng.choice(whole), rng, kind) for _ in range(12)]
    assert_read_alike(page, contents, "skip")
    assert_read_alike(page, contents[::3], "fail")

"""Common forms of CSV other than the plain one are read as what they say; what is ambiguous is asked, not guessed."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from csv_samples import FACE, make_csv, pixels_text, read_slowly, written

from fer_core import ConfigError, DataError, DataWarning, Faces, iter_faces, read_faces
from fer_core.faces import concatenate
from fer_core.fer2013 import CLASS_NAMES, PIXELS, SPLIT_NAMES

IMAGES = np.random.default_rng(3).integers(0, 256, (4, PIXELS)).astype(np.uint8)
ENDS = ["\n", "\r\n", "\r\r\n", "\n\n", "\n \t\n", "\r\n\r\n"]


def read(tmp_path: Path, text: str, **options: object) -> Faces:
    """Read a text, of which nothing is left out without the test's saying so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_faces(written(tmp_path, text.encode()), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ENDS)
def test_blank_lines_and_doubled_carriage_returns_change_only_row_numbers(tmp_path: Path, end: str) -> None:
    plain = make_csv("emotion,pixels,Usage", 5)
    faces = read(tmp_path, end.join(plain.decode().split("\n")))
    step = end.count("\n")
    assert faces.rows.tolist() == [1 + step * n for n in range(1, 6)]
    assert faces.row_positions().tolist() == list(range(5))
    expected = read_slowly(plain)
    assert np.array_equal(faces.images, expected["images"])
    assert faces.require_labels().tolist() == expected["labels"]


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("threads", [1, 2])
def test_positions_do_not_count_blank_lines_in_whatever_batches(tmp_path: Path, batch_rows: int, threads: int) -> None:
    rows = [FACE if n % 3 else "" for n in range(12)] + ["1 2", FACE, "", FACE, "", ""]
    path = written(tmp_path, "\n".join(["", "pixels", *rows]).encode())
    faces = concatenate(list(iter_faces(path, batch_rows=batch_rows, on_error="skip", threads=threads)))
    assert faces.rows.tolist() == [n + 3 for n, row in enumerate(rows) if row == FACE]
    assert faces.row_positions().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]
    assert [error.row for error in faces.rejected] == [15]


def test_blank_lines_after_many_rows_do_not_change_their_positions(tmp_path: Path) -> None:
    text = "pixels\n" + f"{FACE}\n" * 300 + "\n" + f"{FACE}\n"  # several blocks
    faces = read(tmp_path, text)
    assert faces.row_positions().tolist() == list(range(301))
    assert faces.take([299, 300]).row_positions().tolist() == [299, 300]
    assert faces.take([300]).rows.tolist() == [303]


@pytest.mark.parametrize("tail", ["\n", "\r\n", "\r", "\n\n\n", "  ", "\t\r\n"])
def test_blank_lines_at_the_end_are_no_rows(tmp_path: Path, tail: str) -> None:
    faces = read(tmp_path, f"pixels\n{FACE}\n{tail}")
    assert (faces.rows.tolist(), faces.positions is None or faces.positions.tolist() == [0]) == ([2], True)


def test_a_file_of_blank_lines_after_its_header_has_no_face(tmp_path: Path) -> None:
    (faces,) = iter_faces(written(tmp_path, b"label,pixels\n\n\n\n"))
    assert (len(faces), faces.require_labels().tolist()) == (0, [])


@pytest.mark.parametrize("blank", ["\n", "\n \t\r\n", "\n" * 2_000_000])
def test_blank_lines_before_a_header_without_a_line_end_are_skipped(tmp_path: Path, blank: str) -> None:
    assert len(read(tmp_path, f"{blank}pixels")) == 0
    faces = read(tmp_path, f"{blank}pixels\n{FACE}")
    assert faces.rows.tolist() == [blank.count("\n") + 2]
    assert faces.row_positions().tolist() == [0]


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_a_label_may_be_a_name_in_any_case(tmp_path: Path, name: str) -> None:
    for written_as in (name, name.upper(), f" {name.title()} ", f'"{name}"'):
        faces = read(tmp_path, f"label,pixels\n{written_as},{FACE}\n")
        assert faces.require_labels().tolist() == [CLASS_NAMES[name]]


def test_a_label_may_be_a_whole_number_with_a_point(tmp_path: Path) -> None:
    faces = read(tmp_path, "pixels,label\n" + "".join(f"{FACE},{label}\n" for label in ("5.0", "5.", "05", "0.000")))
    assert faces.require_labels().tolist() == [5, 5, 5, 0]


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_a_split_may_be_spelled_in_any_case(tmp_path: Path, name: str) -> None:
    texts = [name, name.upper(), f" {name.title()} ", f'"{name}"']
    text = "Usage,pixels\n" + "".join(f"{text},{FACE}\n" for text in texts)
    faces = read(tmp_path, text)
    assert faces.splits is not None
    assert faces.splits.tolist() == [SPLIT_NAMES[name]] * 4
    assert len(read(tmp_path, text, split=name.upper())) == 4


def test_a_split_is_asked_for_by_any_of_its_names(tmp_path: Path) -> None:
    text = f"Usage,pixels\nTRAIN,{FACE}\nval,{FACE}\ntest,{FACE}\nPrivateTest,{FACE}\n"
    rows = {split: read(tmp_path, text, split=split).rows.tolist() for split in ("Training", "validation", "test")}
    assert rows == {"Training": [2], "validation": [3], "test": [4]}
    assert read(tmp_path, text).of_split("train").rows.tolist() == [2]
    with pytest.raises(DataError, match=r"has no row of split 'publictest'; found PrivateTest, Training, test, valid"):
        read(tmp_path, text, split="publictest")
    with pytest.raises(DataError, match=r"has no row of split 'dev'; found PrivateTest, "):
        read(tmp_path, text, split="dev")


FORMS: dict[str, Callable[[list[str]], str]] = {
    "two spaces": "  ".join,
    "tabs": "\t".join,
    "commas": lambda values: f'"{",".join(values)}"',
    "list": lambda values: f'"[{", ".join(values)}]"',
    "list without commas": lambda values: f"[{' '.join(values)}]",
    "floats": lambda values: " ".join(f"{value}.0" for value in values),
    "list of floats": lambda values: f'"[{", ".join(f"{value}.0" for value in values)}]"',
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_pixels_in_other_forms_are_the_same_faces(tmp_path: Path, form: Callable[[list[str]], str]) -> None:
    lines = ["id,pixels,emotion"]
    lines += [f"{n},{form([str(value) for value in image])},{n}" for n, image in enumerate(IMAGES.tolist())]
    faces = read(tmp_path, "\n".join(lines))
    assert np.array_equal(faces.images.reshape(-1, PIXELS), IMAGES)
    assert faces.require_labels().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("prefix", "first"), [("pixel", 0), ("pixel", 1), ("", 0), ("px_0", 1)])
def test_one_column_per_pixel_as_pandas_writes_it(tmp_path: Path, prefix: str, first: int) -> None:
    table = pd.DataFrame(IMAGES, columns=[f"{prefix}{n}" for n in range(first, PIXELS + first)])
    table.insert(0, "label", ["happy", "sad", "3", "4"])
    table["id"] = ["a", 'b"', "c,d", "ü"]
    for variant in (table, table.astype({f"{prefix}{first + 7}": float}), table.astype(str)):
        for index in (False, True):
            variant.to_csv(tmp_path / "faces.csv", index=index)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                faces = read_faces(tmp_path / "faces.csv")
            assert [str(one.message).partition(": ")[2] for one in caught] == ["columns left out: ''"] * index
            assert np.array_equal(faces.images.reshape(-1, PIXELS), IMAGES)
            assert faces.require_labels().tolist() == [3, 4, 3, 4]
            assert faces.ids is not None
            assert faces.ids.tolist() == ["a", 'b"', "c,d", "ü"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("256", "row 3, column 'pixel7': expected an integer in 0..255, found '256'"),
        ("", "row 3, column 'pixel7': expected an integer in 0..255, found ''"),
        ("121.5", "row 3, column 'pixel7': expected an integer in 0..255, found '121.5'"),
        ("-1", "row 3, column 'pixel7': expected an integer in 0..255, found '-1'"),
        ("nan", "row 3, column 'pixel7': expected an integer in 0..255, found 'nan'"),
        ('"1,2"', "row 3, column 'pixel7': expected an integer in 0..255, found '1,2'"),
        ("1 2", "row 3, column 'pixel7': expected an integer in 0..255, found '1 2'"),
        ("1,2", "row 3: expected 2305 cells, found 2306"),
    ],
)
def test_a_wrong_value_in_one_column_per_pixel_is_named_by_its_column(tmp_path: Path, value: str, message: str) -> None:
    values = FACE.split()
    wrong = ",".join([*values[:7], value, *values[8:]])
    header = ",".join(f"pixel{n}" for n in range(PIXELS))
    text = f"{header},label\n{','.join(values)},1\n{wrong},2\n{','.join(values)},3\n"
    with pytest.raises(DataError) as failure:
        read(tmp_path, text)
    assert str(failure.value) == f"{tmp_path / 'test.csv'} {message}"
    faces = read(tmp_path, text, on_error="skip")
    assert faces.require_labels().tolist() == [1, 3]


def test_a_quoted_line_is_not_one_column_per_pixel(tmp_path: Path) -> None:
    header = ",".join(f"pixel{n}" for n in range(PIXELS))
    with pytest.raises(DataError, match=r"row 2: expected 2304 cells, found 1$"):
        read(tmp_path, f'{header}\n"{",".join(FACE.split())}"\n')


def test_columns_without_a_role_are_left_out_and_named_once(tmp_path: Path) -> None:
    text = f"file name,pixels,emotion,fear,\na.png,{FACE},3,0.5,\n" + f'"b ""1"", c",{FACE},4,,x y\nü,{FACE},5,1,\n'
    path = written(tmp_path, text.encode())
    with pytest.warns(DataWarning) as caught:
        faces = read_faces(path)
    assert [str(warning.message) for warning in caught] == [f"{path}: columns left out: 'file name', 'fear', ''"]
    assert faces.require_labels().tolist() == [3, 4, 5]


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_index_that_pandas_writes_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    with pytest.warns(DataWarning, match=f": columns left out: '{name}'$"):
        faces = read_faces(written(tmp_path, f"{name},pixels\n0,{FACE}\n1,{pixels_text(1)}\n".encode()))
    assert (len(faces), faces.ids) == (2, None)


def test_roles_that_are_not_asked_for_are_neither_read_nor_validated(tmp_path: Path) -> None:
    text = f"emotion,pixels,Usage,id\ncontempt,{FACE},dev,a\n,{FACE},,b\n"
    faces = read(tmp_path, text, roles=("id",))
    assert faces.ids is not None
    assert (faces.ids.tolist(), faces.labels, faces.splits) == (["a", "b"], None, None)
    with pytest.raises(DataError, match=r"row 2, column 'Usage': expected one of Training, .* found 'dev'$"):
        read(tmp_path, text, roles=("split",))
    with pytest.raises(DataError, match=r"row 2, column 'Usage'"):  # a split that is asked for must be read
        read(tmp_path, text, roles=(), split="train")
    with pytest.raises(ConfigError, match=r"^roles: expected some of pixels, label, split, id, found ids$"):
        read(tmp_path, text, roles=("ids",))


def test_a_column_can_be_chosen_for_a_role(tmp_path: Path) -> None:
    text = f"target,face,label,Usage\n3,{FACE},4,train\n"
    path = written(tmp_path, text.encode())
    with pytest.raises(
        DataError, match=r"row 1: expected a column 'pixels' or 'feature', .*, found 'target', 'face', "
    ):
        read_faces(path)
    with pytest.warns(DataWarning, match=r"columns left out: 'target'$"):
        assert read_faces(path, columns={"pixels": "face"}).require_labels().tolist() == [4]
    assert read(tmp_path, text, columns={"pixels": "face", "label": "target"}).require_labels().tolist() == [3]
    with pytest.raises(DataError, match=r"row 1: expected one column 'age' for label, found 0 in 'target', 'face'"):
        read_faces(path, columns={"label": "age"})


def test_two_columns_for_one_role_are_an_error_until_one_is_chosen(tmp_path: Path) -> None:
    text = f"pixels,emotion,label\n{FACE},3,4\n"
    with pytest.raises(DataError, match=r"found 'emotion' and 'label'; `columns=\{'label': 'label'\}` chooses one$"):
        read(tmp_path, text)
    assert read(tmp_path, text, columns={"label": "label"}).require_labels().tolist() == [4]
    assert read(tmp_path, text, columns={"label": "emotion"}).require_labels().tolist() == [3]
    assert read(tmp_path, text, columns={"label": "emotion"}, roles=()).labels is None


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_form_reads_the_same_from_gzip_and_in_small_batches(tmp_path: Path, end: str) -> None:
    rows = [f'{n},"{FORMS[form](FACE.split())}"'.replace('""', '"') for n, form in enumerate(FORMS)]
    data = gzip.compress(end.join(["", "id,pixels", *rows, "", ""]).encode())
    path = written(tmp_path, data)
    faces = concatenate(list(iter_faces(path, batch_rows=2, threads=2)))
    assert faces.ids is not None
    assert faces.ids.tolist() == [str(n) for n in range(len(FORMS))]
    assert np.array_equal(faces.images.reshape(-1, PIXELS), [[int(value) for value in FACE.split()]] * len(FORMS))

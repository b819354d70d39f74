from __future__ import annotations

import warnings
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fer_core import DataError
from fer_core.errors import ConfigError, DataWarning
from fer_core.fer2013 import EXPRESSIONS, PIXELS, SPLITS, label_of, split_of
from fer_core.io.columns import assign_roles, pixel_columns, warn_of_columns_left_out
from fer_core.terminal.program import Program

WIDE = [f"pixel{n}" for n in range(PIXELS)]


@pytest.mark.parametrize("prefix", ["pixel", "pixel_", "", "px ", "p0x"])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_one_column_per_pixel_is_found_by_its_numbers(prefix: str, first: int) -> None:
    names = ["emotion", *(f"{prefix}{n}" for n in range(first, first + PIXELS)), "Usage"]
    assert pixel_columns(names, "x.csv") == range(1, 1 + PIXELS)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (WIDE[:-1], "2303: 'pixel0' to 'pixel2302'"),
        ([*WIDE, "pixel2304"], "2305: 'pixel0' to 'pixel2304'"),
        ([*WIDE[:100], "emotion", *WIDE[100:]], "2204: 'pixel100' to 'pixel2303'"),
    ],
    ids=["one short", "one long", "interrupted"],
)
def test_numbered_columns_that_are_not_2304_in_order_are_refused(names: list[str], found: str) -> None:
    with pytest.raises(DataError, match=rf"^x.csv row 1: expected 2304 columns of pixels, found {found}$"):
        pixel_columns(names, "x.csv", row=1)


@pytest.mark.parametrize(
    "names",
    [["a"], sorted(WIDE), WIDE[::-1], [], [""] * PIXELS, [f"f{n}" for n in range(99)]],
    ids=["a", "sorted as text", "reversed", "no", "empty", "99"],
)
def test_other_columns_are_not_taken_for_pixels(names: list[Any]) -> None:
    assert pixel_columns(names, "x.csv") is None


def test_a_table_with_one_column_per_pixel_has_its_pixels_at_the_first_of_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assign_roles(["emotion", *WIDE, "Usage"], "wide.csv") == {"label": 0, "pixels": 1, "split": 1 + PIXELS}


def test_a_column_of_pixels_beside_one_column_per_pixel_must_be_chosen() -> None:
    names = [*WIDE, "pixels"]
    expected = (
        "^both.csv: expected pixels in one column or in 2304, found 'pixels' and 'pixel0' to 'pixel2303'; `columns="
    )
    with pytest.raises(DataError, match=expected):
        assign_roles(names, "both.csv")
    assert assign_roles(names, "both.csv", columns={"pixels": "pixels"})["pixels"] == PIXELS
    with pytest.warns(DataWarning, match="both.csv: columns left out: 'pixel0', 'pixel1', .* and 2,296 more$"):
        warn_of_columns_left_out(names, "both.csv", {PIXELS})


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *((str(number), number) for number in range(len(EXPRESSIONS))),
        *((name, number) for number, name in enumerate(EXPRESSIONS)),
        (" 3 ", 3),
        ("5.0", 5),
        ("5.", 5),
        ("005", 5),
        ("0.000", 0),
        ("Happy", 3),
        ("HAPPINESS", 3),
        ("anger", 0),
        ("Disgusted", 1),
        ("fearful", 2),
        ("sadness", 4),
        ("surprised", 5),
        ("Neutral ", 6),
    ],
)
def test_a_label_is_a_number_or_a_name_of_a_class(text: str, label: int) -> None:
    assert label_of(text) == label


@pytest.mark.parametrize(
    "text",
    ["", " ", "7", "-1", "+1", "5.5", "5.01", "nan", "1e0", "٣", "3_0", "contempt", "hap py", "0 angry", "3\n", "1,0"],
)
def test_anything_else_is_no_label(text: str) -> None:
    assert label_of(text) is None


@pytest.mark.parametrize(
    ("text", "split"),
    [
        *((split, split) for split in SPLITS),
        ("train", "Training"),
        ("TRAINING", "Training"),
        (" publictest", "PublicTest"),
        ("val", "validation"),
        ("valid", "validation"),
        ("Validation", "validation"),
        ("test", "test"),
    ],
)
def test_splits_go_by_several_names(text: str, split: str) -> None:
    assert split_of(text) == split


@pytest.mark.parametrize("text", ["", "testing", "dev", "train 1", "Public Test", "fold0"])
def test_any_other_name_is_no_split(text: str) -> None:
    assert split_of(text) is None


def test_columns_are_found_in_any_order_and_case_and_with_spaces_around_them() -> None:
    names = ["Usage", " PIXELS", "Id ", "Emotion"]
    assert assign_roles(names, "x.csv") == {"split": 0, "pixels": 1, "id": 2, "label": 3}


def test_columns_without_a_role_are_left_out_and_named(recwarn: pytest.WarningsRecorder) -> None:
    names = ["", "Unnamed: 0", " pixels", "__index_level_0__ ", "index"]
    assert assign_roles(names, "x.csv") == {"pixels": 2}
    warn_of_columns_left_out(names, "x.csv", {2})
    (warning,) = recwarn
    assert warning.category is DataWarning
    assert str(warning.message) == "x.csv: columns left out: '', 'Unnamed: 0', '__index_level_0__', 'index'"


def test_columns_of_roles_that_are_not_read_are_left_out_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    names = ["emotion", "label", "pixels", "Usage"]
    assert assign_roles(names, "x.csv", roles=("split",)) == {"pixels": 2, "split": 3}
    warn_of_columns_left_out(names, "x.csv", {2, 3})
    warn_of_columns_left_out(["target", "pixels"], "x.csv", {1}, columns={"label": "target"})
    assert not list(recwarn)


def test_two_columns_of_one_name_cannot_be_told_apart_by_choosing_one() -> None:
    with pytest.raises(DataError, match=r"^x.csv: expected one column of label, found 'label' and 'label'; rename one"):
        assign_roles(["pixels", "label", "label "], "x.csv")


def test_two_columns_of_one_role_are_refused_and_the_remedy_is_named() -> None:
    with pytest.raises(DataError, match=r"^x.csv row 1: expected one column of label, found 'emotion' and 'label'; .*"):
        assign_roles(["emotion", "label", "pixels"], "x.csv", row=1)


def test_a_chosen_column_decides_between_two() -> None:
    chosen = assign_roles(["emotion", "label", "face", "pixels"], "x.csv", columns={"label": "label", "pixels": "face"})
    assert chosen == {"label": 1, "pixels": 2}


@pytest.mark.parametrize(("names", "found"), [(["pixels"], 0), (["pixels", "face", " face"], 2)])
def test_a_chosen_column_must_be_there_once(names: list[str], found: int) -> None:
    with pytest.raises(DataError, match=f"^x.csv: expected one column 'face' for pixels, found {found} in 'pixels'"):
        assign_roles(names, "x.csv", columns={"pixels": "face"})


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^columns: expected roles pixels, label, split, id, found class"):
        assign_roles(["pixels"], "x.csv", columns={"class": "pixels"})


def test_a_table_without_pixels_is_refused() -> None:
    expected = (
        "^x.csv: expected a column 'pixels' or 'feature', or 2304 columns such as pixel0 to pixel2303, found 'emotion'$"
    )
    with pytest.raises(DataError, match=expected):
        assign_roles(["emotion"], "x.csv")


def test_a_long_list_of_columns_is_cut() -> None:
    with pytest.warns(DataWarning, match=r"columns left out: 'a{40}\.\.\.', 'c0', .*'c6' and 92 more$"):
        warn_of_columns_left_out(["pixels", "a" * 50, *(f"c{n}" for n in range(99))], "x.csv", {0})


@pytest.mark.filterwarnings("error")
def test_a_program_prints_a_data_warning_once_as_one_line() -> None:
    @click.group(name="fer-infer", cls=Program)
    def program() -> None: ...

    @program.command()
    def read() -> None:
        for _ in range(2):
            warn_of_columns_left_out(["pixels", "two\nlines"], "x.csv", {0})
            warnings.warn("something\nelse", DataWarning, stacklevel=1)

    done = CliRunner().invoke(program, ["read"])
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr == "fer-infer: x.csv: columns left out: 'two\\nlines'\nfer-infer: something else\n"

import pytest

from fer_core import ConfigError, DataError, Faces
from fer_core.faces import take_rows
from fer_explain.cli_types import parse_numbers


def test_numbers_and_ranges_are_read_in_order_and_once() -> None:
    assert parse_numbers("17", "rows") == (17,)
    assert parse_numbers("2, 17,30-33 ,31,2", "rows") == (2, 17, 30, 31, 32, 33)


@pytest.mark.parametrize("text", ["", "2,", "a", "3-1", "-3", "1--2", "1.5", "2-9999999999", "٣", "1 2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="rows: expected"):
        parse_numbers(text, "rows")


def test_rows_are_row_numbers_of_the_source(faces: Faces) -> None:
    assert take_rows(faces, [22, 2]).rows.tolist() == [22, 2]


@pytest.mark.parametrize("row", [-1, 0, 1, 23])
def test_a_row_that_does_not_exist_is_one_clear_error(faces: Faces, row: int) -> None:
    with pytest.raises(DataError, match=rf"expected a row number in 2\.\.22 \(21 faces\), found {row}$"):
        take_rows(faces, [2, row])


def test_a_file_without_faces_has_no_rows(faces: Faces) -> None:
    with pytest.raises(DataError, match="expected a row number of a face, but there are none, found 2"):
        take_rows(faces.take(slice(0)), [2])

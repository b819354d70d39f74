"""Decimal text of float32: every row is what Python's own format gives, and reads back the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_infer.scoring.writers.csv_writer import decimal_rows


def by_python(values: Any) -> Any:
    return ["".join(f",{value:.9g}" for value in row) for row in values.tolist()]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, ",0"),
        (-0.0, ",-0"),
        (1.0, ",1"),
        (-2.5, ",-2.5"),
        (100000.0, ",100000"),
        (0.1, ",0.100000001"),
        (0.0009765625, ",0.0009765625"),
        (1e-4, ",9.99999975e-05"),
        (9.999999e-10, ",9.99999861e-10"),
        (16777216.0, ",16777216"),
        (1e9, ",1e+09"),
        (-3.4028235e38, ",-3.40282347e+38"),
        (1e-45, ",1.40129846e-45"),
        (np.inf, ",inf"),
        (-np.inf, ",-inf"),
        (np.nan, ",nan"),
    ],
)
def test_known_values(value: float, text: str) -> None:
    assert decimal_rows(np.array([[value]], np.float32)) == [text]


def test_any_bits_are_written_as_by_python() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, (20_000, 3), dtype=np.uint32)
    values = bits.view(np.float32)
    rows = decimal_rows(values)
    assert rows == by_python(values)
    read = np.array([[float(cell) for cell in row[1:].split(",")] for row in rows], np.float32)
    assert np.array_equal(read, values, equal_nan=True)


def test_values_as_models_give_them_are_written_as_by_python() -> None:
    generator = np.random.default_rng(1)
    values = np.exp(generator.uniform(np.log(1e-10), np.log(2e6), (20_000, 7))) * generator.choice([-1, 1], (20_000, 7))
    values = values.astype(np.float32)
    assert decimal_rows(values) == by_python(values)


def test_halves_are_rounded_to_even_and_powers_of_ten_are_met_from_both_sides() -> None:
    powers = np.float32(10.0) ** np.arange(-10, 8, dtype=np.float32)
    below, above = np.nextafter(powers, np.float32(0)), np.nextafter(powers, np.float32(np.inf))
    dyadic = np.arange(1, 1 << 12, dtype=np.float32)[:, None] * np.float32(2.0) ** -np.arange(12, 28, dtype=np.float32)
    for values in (np.stack([below, powers, above]), dyadic, np.float32(1) - dyadic[:64] / 4096):
        assert decimal_rows(values) == by_python(values)


def test_rows_with_tiny_values_are_written_like_the_others() -> None:
    values = np.array([[1e-30, 1.0], [0.25, 0.75], [0.5, 1e-12], [1e-12, 0.5]], np.float32)
    assert decimal_rows(values) == by_python(values)
    assert decimal_rows(values)[1] == ",0.25,0.75"


@given(arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 9)), elements=st.floats(width=32)))
def test_tables_of_any_shape(values: Any) -> None:
    assert decimal_rows(values) == by_python(values)
    assert decimal_rows(values[:, ::-1]) == by_python(values[:, ::-1])

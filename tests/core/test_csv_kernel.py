"""The compiled decoder: what it passes is right to the last pixel, and all else it leaves to the slow path."""

from __future__ import annotations

import random
from typing import Any

import numba
import numpy as np
import pytest
from csv_samples import FACE, pixels_text

from fer_core import csv_kernel as kernel
from fer_core.expressions import PIXELS, USAGES
from fer_core.jit import jit
from fer_core.pixel_text import decode_face

KINDS = {"label": kernel.LABEL_CELL, "pixels": kernel.PIXEL_CELL, "usage": kernel.USAGE_CELL, "id": kernel.ID_CELL}


def run(lines: list[bytes], columns: list[str], capacity: int = 64) -> tuple[np.ndarray, np.ndarray, int]:
    """Decode lines; behind them stands what a careless reader would take for more digits."""
    text = b"".join(line + b"\n" for line in lines)
    buffer = np.frombuffer(bytearray(text + b"1 " * kernel.PADDING), np.uint8)
    kinds = np.array([KINDS[name] for name in columns], np.int64)
    table = np.zeros((capacity, kernel.TABLE_COLUMNS), np.int64)
    images = np.full((capacity, PIXELS), 77, np.uint8)
    n, position = kernel.decode_lines(buffer, 0, len(text), kinds, table, images)
    return table[:n], images[:n], position


def accepted(cell: bytes) -> list[int] | None:
    table, images, _ = run([cell], ["pixels"])
    return images[0].tolist() if table[0, kernel.GOOD] else None


def slowly(cell: bytes) -> list[int] | None:
    pixels = np.empty(PIXELS, np.uint8)
    return pixels.tolist() if decode_face(cell, pixels) else None


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9])
def test_any_number_of_lines_is_decoded_though_four_are_taken_at_a_time(n: int) -> None:
    faces = [pixels_text(seed) for seed in range(n)]
    table, images, position = run([face.encode() for face in faces], ["pixels"])
    assert table[:, kernel.GOOD].tolist() == [1] * n
    assert images.tolist() == [[int(value) for value in face.split()] for face in faces]
    assert position == sum(map(len, faces)) + n


@pytest.mark.parametrize("wrong", range(6))
def test_a_wrong_line_spoils_no_other_one_of_its_group(wrong: int) -> None:
    faces = [pixels_text(seed) for seed in range(6)]
    lines = [face.encode() for face in faces]
    lines[wrong] = lines[wrong].replace(b" ", b"x", 1)
    table, images, _ = run(lines, ["pixels"])
    assert np.flatnonzero(table[:, kernel.GOOD] == 0).tolist() == [wrong]
    right = [i for i in range(6) if i != wrong]
    assert images[right].tolist() == [[int(value) for value in faces[i].split()] for i in right]


def test_every_value_of_every_length_is_decoded_in_every_place() -> None:
    for shift in range(3):
        values = [(place + shift) % 256 for place in range(PIXELS)]
        for form in ("%d", "%02d", "%03d"):
            assert accepted(" ".join(form % value for value in values).encode()) == values


@pytest.mark.parametrize("value", [*range(256, 1000, 37), 256, 259, 260, 299, 300, 999])
def test_no_value_over_255_passes(value: int) -> None:
    values = FACE.split()
    for place in (0, 1, 1000, PIXELS - 1):
        assert accepted(" ".join([*values[:place], str(value), *values[place + 1 :]]).encode()) is None


def test_each_single_byte_in_each_kind_of_place_is_judged_as_the_slow_path_judges_it() -> None:
    text = FACE.encode()
    middle = len(text) // 2
    space = text.index(b" ", middle)
    for place in (0, text.index(b" "), space - 1, space, space + 1, len(text) - 1):
        for byte in set(range(256)) - {10}:
            changed = text[:place] + bytes([byte]) + text[place + 1 :]
            expected = None if byte in b'",\r' else slowly(changed)
            if byte == 13 and place == len(text) - 1:
                expected = slowly(changed[:-1])  # the CR of a CRLF
            assert accepted(changed) == expected, (place, byte)


def test_random_changes_are_judged_as_the_slow_path_judges_them() -> None:
    rng = random.Random(5)
    outcomes = [0, 0]
    for _ in range(2000):
        text = FACE.encode()
        for _ in range(rng.randint(1, 3)):
            at = rng.choice([0, len(text), rng.randrange(len(text))])
            new = rng.choice([b" ", b"0", b"1", b"9", b"", b"00", b"x", b"\0", b"  "])
            text = text[:at] + new + text[at + rng.randint(0, 2) :]
        expected = slowly(text)
        assert accepted(text) == expected, text[:80]
        outcomes[expected is None] += 1
    assert min(outcomes) > 200


def test_cells_beside_the_pixels_are_read_from_both_sides() -> None:
    line = f' 3 ,face 7,"  {FACE} ", PublicTest\r'.encode()
    table, images, _ = run([line, line], ["label", "id", "pixels", "usage"])
    assert table[:, kernel.GOOD].tolist() == [1, 1]
    assert images[1].tolist() == [int(value) for value in FACE.split()]
    assert table[0, kernel.LABEL] == 3
    assert USAGES[table[0, kernel.USAGE]] == "PublicTest"
    ids = np.zeros((2, 6), np.uint32)
    kernel.copy_ids(np.frombuffer(bytearray(line + b"\n" + line), np.uint8), table, ids)
    assert ids.view("U6").reshape(-1).tolist() == ["face 7", "face 7"]


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        (f"7,{FACE}", ["label", "pixels"]),
        (f"-1,{FACE}", ["label", "pixels"]),
        (f",{FACE}", ["label", "pixels"]),
        (f"33,{FACE}", ["label", "pixels"]),
        (f'"3",{FACE}', ["label", "pixels"]),
        (f"ü,{FACE}", ["id", "pixels"]),
        (f"a\0,{FACE}", ["id", "pixels"]),
        (f",{FACE}", ["id", "pixels"]),
        ("x" * 257 + f",{FACE}", ["id", "pixels"]),
        (f"{FACE},Trainin", ["pixels", "usage"]),
        (f"{FACE},training", ["pixels", "usage"]),
        (FACE, ["pixels", "usage"]),
        (f"{FACE},", ["pixels", "usage"]),
        (f"{FACE},1", ["pixels"]),
        (f'"{FACE}', ["pixels"]),
        (f'{FACE}"', ["pixels"]),
        (f'""{FACE}""', ["pixels"]),
        ("", ["pixels"]),
        ("", ["label", "pixels", "usage"]),
        (f"{FACE}\r\r", ["pixels"]),
        (FACE + " " * kernel.MAX_LINE_BYTES, ["pixels"]),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_slow_path(line: str, columns: list[str]) -> None:
    table, _, position = run([line.encode()], columns)
    assert table[:, kernel.GOOD].tolist() == [0]
    assert (table[0, kernel.START], table[0, kernel.END], position) == (0, len(line.encode()), len(line.encode()) + 1)


def test_a_full_table_stops_at_a_line_that_the_next_call_goes_on_with() -> None:
    lines = [pixels_text(seed).encode() for seed in range(3)]
    table, images, position = run(lines, ["pixels"], capacity=2)
    assert len(table) == len(images) == 2
    assert position == len(lines[0]) + len(lines[1]) + 2


@pytest.mark.parametrize("error", [RuntimeError("no locator available"), OSError(28, "No space left on device")])
def test_faces_are_decoded_where_no_machine_code_can_be_kept(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    asked = []

    def njit(*_: Any, cache: bool = False, **__: Any) -> Any:
        asked.append(cache)
        if cache:
            raise error
        return lambda function: function

    monkeypatch.setattr("fer_core.jit.njit", njit)
    assert jit(numba.int64(numba.int64))(abs) is abs
    assert asked == [True, False]

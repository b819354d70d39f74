"""Both CSV decoders: what they accept is right to the last pixel, the rest they leave to the slow path; they agree."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from csv_samples import FACE, pixels_text
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_core.fer2013 import PIXELS
from fer_core.io.csv import kernel as csv_kernel
from fer_core.io.csv import lines as contract
from fer_core.io.csv import vectors as csv_vectors

KINDS = {
    "pixels": contract.PIXEL_CELL,
    "label": contract.LABEL_CELL,
    "split": contract.SPLIT_CELL,
    "id": contract.ID_CELL,
    "other": contract.OTHER_CELL,
}


def _compiled(text: bytes, *arguments: Any) -> Any:
    return csv_kernel.decode_lines(np.frombuffer(bytearray(text), np.uint8), *arguments)


DECODERS: dict[str, Callable[..., Any]] = {"vectors": csv_vectors.decode_lines, "kernel": _compiled}
Run = Callable[..., tuple[np.ndarray, np.ndarray, int]]


def run_with(
    decoder: str, lines: list[bytes], columns: list[str], capacity: int = 64
) -> tuple[np.ndarray, np.ndarray, int]:
    """Decode lines; behind them stands what a careless reader would take for more digits."""
    text = b"".join(line + b"\n" for line in lines)
    kinds = np.array([KINDS[name] for name in columns], np.int64)
    table = np.zeros((capacity, contract.TABLE_COLUMNS), np.int64)
    images = np.full((capacity, PIXELS), 77, np.uint8)
    n, position = DECODERS[decoder](text + b"1 " * contract.PADDING, 0, len(text), kinds, table, images)
    return table[:n], images[:n], position


@pytest.fixture(params=DECODERS)
def run(request: pytest.FixtureRequest) -> Run:
    return lambda *arguments, **options: run_with(request.param, *arguments, **options)


def accepted(run: Run, cell: bytes) -> list[int] | None:
    table, images, _ = run([cell], ["pixels"])
    return images[0].tolist() if table[0, contract.GOOD] else None


PLAIN = re.compile(rb" *[0-9]{1,3}(?: [0-9]{1,3}){2303} *")


def slowly(cell: bytes) -> list[int] | None:
    values = [int(value) for value in cell.split()] if PLAIN.fullmatch(cell) else [256]
    return values if max(values) <= 255 else None


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9])
def test_any_number_of_lines_is_decoded_though_four_are_taken_at_a_time(run: Run, n: int) -> None:
    faces = [pixels_text(seed) for seed in range(n)]
    table, images, position = run([face.encode() for face in faces], ["pixels"])
    assert table[:, contract.GOOD].tolist() == [1] * n
    assert images.tolist() == [[int(value) for value in face.split()] for face in faces]
    assert position == sum(map(len, faces)) + n


@pytest.mark.parametrize("wrong", range(6))
def test_a_wrong_line_spoils_no_other_one_of_its_group(run: Run, wrong: int) -> None:
    faces = [pixels_text(seed) for seed in range(6)]
    lines = [face.encode() for face in faces]
    lines[wrong] = lines[wrong].replace(b" ", b"x", 1)
    table, images, _ = run(lines, ["pixels"])
    assert np.flatnonzero(table[:, contract.GOOD] == 0).tolist() == [wrong]
    right = [i for i in range(6) if i != wrong]
    assert images[right].tolist() == [[int(value) for value in faces[i].split()] for i in right]


def test_every_value_of_every_length_is_decoded_in_every_place(run: Run) -> None:
    for shift in range(3):
        values = [(place + shift) % 256 for place in range(PIXELS)]
        for form in ("%d", "%02d", "%03d"):
            assert accepted(run, " ".join(form % value for value in values).encode()) == values


@pytest.mark.parametrize("value", [*range(256, 1000, 37), 256, 259, 260, 299, 300, 999])
def test_no_value_over_255_passes(run: Run, value: int) -> None:
    values = FACE.split()
    for place in (0, 1, 1000, PIXELS - 1):
        assert accepted(run, " ".join([*values[:place], str(value), *values[place + 1 :]]).encode()) is None


def test_each_single_byte_in_each_kind_of_place_is_judged_as_the_slow_path_judges_it(run: Run) -> None:
    text = FACE.encode()
    middle = len(text) // 2
    space = text.index(b" ", middle)
    for place in (0, text.index(b" "), space - 1, space, space + 1, len(text) - 1):
        for byte in set(range(256)) - {10}:
            changed = text[:place] + bytes([byte]) + text[place + 1 :]
            expected = None if byte in b'",\r' else slowly(changed)
            if byte == 13 and place == len(text) - 1:
                expected = slowly(changed[:-1])  # the CR of a CRLF
            assert accepted(run, changed) == expected, (place, byte)


def test_random_changes_are_judged_as_the_slow_path_judges_them(run: Run) -> None:
    rng = random.Random(5)
    outcomes = [0, 0]
    for _ in range(2000):
        text = FACE.encode()
        for _ in range(rng.randint(1, 3)):
            at = rng.choice([0, len(text), rng.randrange(len(text))])
            new = rng.choice([b" ", b"0", b"1", b"9", b"", b"00", b"x", b"\0", b"  "])
            text = text[:at] + new + text[at + rng.randint(0, 2) :]
        expected = slowly(text)
        assert accepted(run, text) == expected, text[:80]
        outcomes[expected is None] += 1
    assert min(outcomes) > 200


def test_cells_beside_the_pixels_are_found_from_both_sides(run: Run) -> None:
    line = f' 3 ,face 7,any thing,,"  {FACE} ", PublicTest,x\r'.encode()
    table, images, _ = run([line, line], ["label", "id", "other", "other", "pixels", "split", "other"])
    assert table[:, contract.GOOD].tolist() == [1, 1]
    assert images[1].tolist() == [int(value) for value in FACE.split()]
    text = line + b"\n" + line
    for row in table:
        bounds = [
            row[column : column + 2] for column in (contract.LABEL_START, contract.SPLIT_START, contract.ID_START)
        ]
        assert [text[start:end] for start, end in bounds] == [b"3", b"PublicTest", b"face 7"]


@pytest.mark.parametrize("line", [f",{FACE}", f"  ,{FACE}", "x" * 300 + f",{FACE}", f"7,{FACE}\r\r"])
def test_what_a_cell_holds_is_not_judged(run: Run, line: str) -> None:
    table, _, _ = run([line.encode()], ["id", "pixels"])
    assert table[0, contract.GOOD] == 1
    assert line[table[0, contract.ID_START] : table[0, contract.ID_END]] == line.partition(",")[0].strip()


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        (f'"3",{FACE}', ["label", "pixels"]),
        (f"ü,{FACE}", ["id", "pixels"]),
        (f"a\0,{FACE}", ["id", "pixels"]),
        (FACE, ["pixels", "split"]),
        (f"{FACE},1", ["pixels"]),
        (f'"{FACE}', ["pixels"]),
        (f'{FACE}"', ["pixels"]),
        (f'""{FACE}""', ["pixels"]),
        (f"ü,{FACE}", ["other", "pixels"]),
        (f'"x",{FACE}', ["other", "pixels"]),
        (f"x\ty,{FACE}", ["other", "pixels"]),
        (f"{FACE}\rx", ["pixels", "other"]),
        (FACE.replace(" ", ","), ["pixels"]),
        (FACE.replace(" ", "\t"), ["pixels"]),
        (FACE.replace(" ", "  "), ["pixels"]),
        (f"[{FACE}]", ["pixels"]),
        (FACE.replace(" ", ".0 "), ["pixels"]),
        ("", ["pixels"]),
        ("", ["label", "pixels", "split"]),
        (FACE + " " * contract.MAX_LINE_BYTES, ["pixels"]),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_slow_path(run: Run, line: str, columns: list[str]) -> None:
    table, _, position = run([line.encode()], columns)
    assert table[:, contract.GOOD].tolist() == [0]
    assert (table[0, contract.START], table[0, contract.END], position) == (
        0,
        len(line.encode()),
        len(line.encode()) + 1,
    )


def test_a_full_table_stops_at_a_line_that_the_next_call_goes_on_with(run: Run) -> None:
    lines = [pixels_text(seed).encode() for seed in range(3)]
    table, images, position = run(lines, ["pixels"], capacity=2)
    assert len(table) == len(images) == 2
    assert position == len(lines[0]) + len(lines[1]) + 2


@pytest.mark.parametrize("value", ["0", "255", "256", "299", "0012", "", "x", "-1", "1.0", " 1", "1 2"])
@pytest.mark.parametrize("place", [0, 1, 1000, PIXELS - 1])
def test_commas_between_pixels_are_judged_as_spaces_are(value: str, place: int) -> None:
    values = FACE.split()
    values[place] = value
    text = f"3,{','.join(values)},a\n7,{FACE.replace(' ', ',')},b\n".encode()
    kinds = np.array([KINDS[name] for name in ("label", "pixels", "id")])
    table, images = np.zeros((4, contract.TABLE_COLUMNS), np.int64), np.zeros((4, PIXELS), np.uint8)
    n, _ = csv_vectors.decode_lines(text + bytes(contract.PADDING), 0, len(text), kinds, table, images, b",")
    expected = slowly(" ".join(values).encode()) if value.isdigit() else None
    if value == " 1" and place == 0:  # a space before the run
        expected = slowly(" ".join(values).encode())
    assert table[:n, contract.GOOD].tolist() == [expected is not None, 1]
    assert expected is None or images[0].tolist() == expected
    assert images[1].tolist() == [int(one) for one in FACE.split()]


PIECES = [b" ", b"0", b"1", b"9", b"", b"00", b"x", b"\0", b"  ", b",", b'"', b"\r", b"\xc3", b"-", b".", b":", b"/"]
LAYOUTS = [
    ["pixels"],
    ["label", "pixels", "split"],
    ["id", "pixels"],
    ["other", "id", "other", "pixels", "other", "label"],
]


@st.composite
def hostile_blocks(draw: st.DrawFn) -> tuple[list[bytes], list[str]]:
    """Some lines of a layout, most of them damaged in a place or two, mostly where cells begin and end."""
    columns = draw(st.sampled_from(LAYOUTS))
    lines = []
    for seed in draw(st.lists(st.integers(0, 5), max_size=40)):
        cells = {"pixels": pixels_text(seed), "label": "3", "split": "Training", "id": f"a{seed}", "other": "1.5 x"}
        line = ",".join(cells[name] for name in columns).encode()
        for _ in range(draw(st.integers(0, 3))):
            edges = st.sampled_from([0, 1, 2, 3, 4, 9, len(line) // 2, len(line) - 10, len(line) - 1, len(line)])
            at = draw(st.one_of(edges, st.integers(0, len(line))))
            line = line[:at] + draw(st.sampled_from(PIECES)) + line[at + draw(st.integers(0, 2)) :]
        lines.append(draw(st.sampled_from([line, line, line, line[: len(line) // 3], b""])))
    return lines, columns


@settings(derandomize=True, max_examples=300, deadline=None)
@given(block=hostile_blocks(), capacity=st.sampled_from([1, 7, 64]))
def test_both_decoders_accept_the_same_lines_and_return_the_same_bits(
    block: tuple[list[bytes], list[str]], capacity: int
) -> None:
    lines, columns = block
    one, other = (run_with(name, lines, columns, capacity) for name in DECODERS)
    assert one[2] == other[2]
    bounds = [contract.START, contract.END, contract.GOOD]
    assert np.array_equal(one[0][:, bounds], other[0][:, bounds])
    good = one[0][:, contract.GOOD] == 1
    read = {KINDS[name] for name in columns} - {contract.OTHER_CELL}
    cells = [column for kind in read for column in (contract.CELL_START + 2 * kind, contract.CELL_END + 2 * kind)]
    assert np.array_equal(one[0][good][:, cells], other[0][good][:, cells])
    assert np.array_equal(one[1][good], other[1][good])

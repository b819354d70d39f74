"""The slow decoder accepts what the grammar of a face says, and `explain` has a reason for all else."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from csv_samples import FACE, pixels_text

from fer_core.fer2013 import PIXELS
from fer_core.io.csv.pixel_text import decode_face, explain

VALUES = FACE.split()
COMMAS = FACE.replace(" ", ",")


def decode_slowly(text: bytes) -> list[int] | None:
    """Judge value by value, as the documentation words it."""
    text = text.strip(b" \t")
    if text.startswith(b"[") and text.endswith(b"]"):
        text = text[1:-1].strip(b" \t")
    cells = text.split(b",") if b"," in text else re.split(rb"[ \t]+", text)
    matches = [re.fullmatch(rb"[ \t]*([0-9]{1,3})(?:\.0*)?[ \t]*", cell) for cell in cells]
    if len(cells) != PIXELS or not all(matches):
        return None
    values = [int(match[1]) for match in matches if match]
    return values if max(values) <= 255 else None


def decode(text: bytes) -> list[int] | None:
    pixels = np.full(PIXELS, 77, np.uint8)
    return pixels.tolist() if decode_face(text, pixels) else None


@pytest.mark.parametrize(
    "text",
    [
        FACE,
        f"   {FACE}  ",
        " ".join(["0"] * PIXELS),
        " ".join(["255"] * PIXELS),
        " ".join(["007", "00", *VALUES[2:]]),
        "  ".join(VALUES),
        " \t ".join(VALUES),
        f"\t{FACE}\t",
        COMMAS,
        f" {' , '.join(VALUES)} ",
        ",\t".join(VALUES),
        f"[{FACE}]",
        f" [ {COMMAS} ] ",
        str([int(value) for value in VALUES]),
        " ".join(f"{value}.0" for value in VALUES),
        ",".join(f"{value}." for value in VALUES),
        str([float(value) for value in VALUES]),
        " ".join([f"{VALUES[0]}.000", *VALUES[1:]]),
        str(np.array(VALUES, np.float32).tolist()),
    ],
)
def test_a_face_in_any_accepted_form_is_decoded_to_its_gray_levels(text: str) -> None:
    expected = [int(float(value)) for value in re.findall(r"[0-9.]+", text)]
    assert len(expected) == PIXELS
    assert decode(text.encode()) == expected == decode_slowly(text.encode())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ", found an empty cell"),
        ("    ", ", found an empty cell"),
        ("5", ", found 1"),
        (pixels_text(0, 2303), ", found 2303"),
        (pixels_text(0, 2305), ", found 2305"),
        (pixels_text(0, 9999), ", found 9999"),
        ("1  2", ", found 2"),
        ("  1 2 \t  3", ", found 3"),
        ("1,,2", ", found '' as value 2"),
        (",1,2", ", found '' as value 1"),
        ("1,2, ", ", found '' as value 3"),
        ("1 2,3", ", found '1 2' as value 1"),
        ("[1 2", ", found '[1' as value 1"),
        ("[[1 2]]", ", found '[1' as value 1"),
        ("(1, 2)", ", found '(1' as value 1"),
        ("[]", ", found an empty cell"),
        ("[", ", found '[' as value 1"),
        ("1;2", ", found '1;2' as value 1"),
        ("1.0.0 2", ", found '1.0.0' as value 1"),
        ("1 .0", ", found '.0' as value 2"),
        ("1 nan", ", found 'nan' as value 2"),
        ("1e2", ", found '1e2' as value 1"),
        ("1.0e0", ", found '1.0e0' as value 1"),
        ("256.0", ", found '256.0' as value 1"),
        ("1\v2", r", found '1\x0b2' as value 1"),
        ("1 256", ", found '256' as value 2"),
        ("0255", ", found '0255' as value 1"),
        ("1 2 -3", ", found '-3' as value 3"),
        ("1.5", ", found '1.5' as value 1"),
        ("1\n2", r", found '1\n2' as value 1"),
        ("\t1", ", found 1"),
        ("1\0", r", found '1\x00' as value 1"),
        ("1 ²", ", found '²' as value 2"),
        ("1 " + "é" * 13, f", found '{'é' * 12}...' as value 2"),
        ("18446744073709551617", ", found '184467440737...' as value 1"),
    ],
)
def test_what_is_no_face_is_refused_with_what_was_found(text: str, found: str) -> None:
    assert decode(text.encode()) is None
    assert explain(text.encode()) == f"expected 2304 integers in 0..255{found}"


def test_bytes_that_are_no_text_are_refused_and_explained() -> None:
    assert decode(b"\xff 1") is None
    assert explain(b"\xff 1") == "expected 2304 integers in 0..255, found '\ufffd' as value 1"


def test_a_refusal_writes_nothing_past_the_pixels() -> None:
    guarded = np.full(PIXELS + 8, 77, np.uint8)
    assert not decode_face(pixels_text(0, PIXELS + 8).encode(), guarded[:PIXELS])
    assert guarded[PIXELS:].tolist() == [77] * 8


FORMS = [FACE, COMMAS, f"[{', '.join(VALUES)}]", " ".join(f"{value}.0" for value in VALUES)]


@pytest.mark.parametrize("form", FORMS, ids=["plain", "commas", "list", "floats"])
def test_each_single_byte_in_each_kind_of_place_is_judged_as_the_grammar_judges_it(form: str) -> None:
    text = form.encode()
    edge = re.search(rb"[0-9][ ,.]", text)
    assert edge is not None
    for place in (0, *range(edge.start(), edge.start() + 4), len(text) // 2, len(text) - 2, len(text) - 1):
        for byte in b" \t\n\r\v\f\0,.;:[]()/0129-+eEnax\x1f\x7f\x80\xc3\xff":
            changed = text[:place] + bytes([byte]) + text[place + 1 :]
            assert decode(changed) == decode_slowly(changed), (place, byte)


@pytest.mark.parametrize("form", FORMS, ids=["plain", "commas", "list", "floats"])
def test_random_changes_are_judged_as_the_grammar_judges_them(form: str) -> None:
    rng = random.Random(5)
    accepted = 0
    for _ in range(150):
        text = form.encode()
        for _ in range(rng.randint(1, 3)):
            at = rng.choice([0, len(text), rng.randrange(len(text))])
            new = rng.choice([b" ", b"\t", b"0", b"1", b"9", b"", b"00", b"x", b",", b".", b".0", b"[", b"]", b".0 "])
            text = text[:at] + new + text[at + rng.randint(0, 2) :]
        assert decode(text) == decode_slowly(text), text[:80]
        accepted += decode(text) is not None
        if decode(text) is None:
            assert not explain(text).endswith(f"found {PIXELS}"), text[:80]
    assert 5 < accepted < 140

"""The slow decoder accepts what the grammar of a face says, and `explain` has a reason for all else."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from csv_samples import FACE, pixels_text

from fer_core.expressions import PIXELS
from fer_core.pixel_text import decode_face, explain

GRAMMAR = re.compile(rb" *[0-9]{1,3}(?: [0-9]{1,3}){2303} *")
VALUES = FACE.split()


def decode_slowly(text: bytes) -> list[int] | None:
    values = [int(value) for value in text.split()] if GRAMMAR.fullmatch(text) else [256]
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
    ],
    ids=["random", "spaces around", "black", "white", "leading zeros"],
)
def test_a_face_is_decoded_to_its_gray_levels(text: str) -> None:
    assert decode(text.encode()) == [int(value) for value in text.split()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ", found an empty cell"),
        ("    ", ", found an empty cell"),
        ("5", ", found 1"),
        (pixels_text(0, 2303), ", found 2303"),
        (pixels_text(0, 2305), ", found 2305"),
        (pixels_text(0, 9999), ", found 9999"),
        ("1  2", " separated by single spaces, found two spaces after value 1"),
        ("  1 2   3", " separated by single spaces, found two spaces after value 2"),
        ("1 256", ", found '256' as value 2"),
        ("0255", ", found '0255' as value 1"),
        ("1 2 -3", ", found '-3' as value 3"),
        ("1.5", ", found '1.5' as value 1"),
        ("1\n2", r", found '1\n2' as value 1"),
        ("\t1", r", found '\t1' as value 1"),
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


def test_each_single_byte_in_each_kind_of_place_is_judged_as_the_grammar_judges_it() -> None:
    text = FACE.encode()
    space, digit = text.index(b" "), len(text) // 2 if text[len(text) // 2] != 32 else len(text) // 2 + 1
    for place in (0, space, digit, len(text) - 1):
        for byte in range(256):
            changed = text[:place] + bytes([byte]) + text[place + 1 :]
            assert (decode(changed) is None) == (decode_slowly(changed) is None), (place, byte)


def test_random_changes_are_judged_as_the_grammar_judges_them() -> None:
    rng = random.Random(5)
    accepted = 0
    for _ in range(400):
        text = FACE.encode()
        for _ in range(rng.randint(1, 3)):
            at = rng.choice([0, len(text), rng.randrange(len(text))])
            new = rng.choice([b" ", b"0", b"1", b"9", b"", b"00", b"x"])
            text = text[:at] + new + text[at + rng.randint(0, 2) :]
        assert decode(text) == decode_slowly(text), text[:80]
        accepted += decode(text) is not None
        if decode(text) is None:
            assert not explain(text).endswith(f"found {PIXELS}"), text[:80]
    assert 40 < accepted < 360

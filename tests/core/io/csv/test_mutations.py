"""What the reader accepts of damaged files is what a slow, strict reference accepts, no more and no less."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from csv_samples import BOM, ROLES, make_csv, read_slowly, written

from fer_core import DataError, iter_faces, read_faces
from fer_core.faces import concatenate
from fer_core.fer2013 import PIXELS, SPLITS

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
SPLIT_NAMES = {name.lower(): name for name in SPLITS} | {"train": "Training", "val": "validation", "test": "test"}


def strict_reference(data: bytes) -> tuple[list[tuple[Any, ...]], list[int]] | None:
    """Rows accepted and row numbers refused, slowly, cell by cell; None for a wrong header."""
    texts = [line.rstrip(b"\r") for line in data.removeprefix(BOM).split(b"\n")]
    rows = [(row, text) for row, text in enumerate(texts, start=1) if text.strip(b" \t\r")]
    header = _strict_cells(rows[0][1]) if rows else None
    if header is None or rows[0][1].startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    roles = [ROLES.get(name.strip(" ").lower()) for name in header]
    known = [role for role in roles if role is not None]
    if len(set(known)) != len(known) or "pixels" not in known:
        return None
    accepted: list[tuple[Any, ...]] = []
    refused = []
    for row, text in rows[1:]:
        cells = _strict_cells(text)
        if cells is None or len(cells) != len(roles):
            refused.append(row)
            continue
        by_role = {role: _judged(role, cell) for role, cell in zip(roles, cells, strict=True) if role is not None}
        if None in by_role.values():
            refused.append(row)
        else:
            pixels = by_role.pop("pixels")
            accepted.append((row, pixels, *(by_role[role] for role in sorted(by_role))))
    return accepted, refused


def _judged(role: str, cell: str) -> Any:
    """What a cell holds, or None where it is wrong."""
    if role == "pixels":
        return _judged_pixels(cell)
    cell = cell.strip(" ")
    if role == "id":
        return cell if 1 <= len(cell) <= 256 and not re.search(r"[\x00-\x1f]", cell) else None
    if role == "split":
        return SPLIT_NAMES.get(cell.lower())
    if cell.lower() in CLASSES:
        return str(CLASSES.index(cell.lower()))
    number = re.fullmatch(r"([0-9]{1,3})(\.0*)?", cell, re.ASCII)
    return str(int(number[1])) if number and int(number[1]) <= 6 else None


NUMBER = r"[0-9]{1,3}(?:\.0*)?"
FACES = rf"(?:{NUMBER}(?:[ \t]+{NUMBER}){{2303}}|{NUMBER}(?:[ \t]*,[ \t]*{NUMBER}){{2303}})"
FACE_CELL = re.compile(rf"[ \t]*(?:{FACES}|\[[ \t]*{FACES}[ \t]*\])[ \t]*")


def _judged_pixels(cell: str) -> list[int] | None:
    if not FACE_CELL.fullmatch(cell):
        return None
    values = [int(number.partition(".")[0]) for number in re.findall(r"[0-9.]+", cell)]
    return values if max(values) <= 255 else None


def _strict_cells(line: bytes) -> list[str] | None:
    try:
        (cells,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
    except (ValueError, csv.Error):
        return None
    return None if b"\r" in line else cells


def _cells(line: bytes) -> list[bytes]:
    return line.split(b",")


def _swap(items: list[bytes], rng: random.Random) -> list[bytes]:
    one, other = rng.randrange(len(items)), rng.randrange(len(items))
    items[one], items[other] = items[other], items[one]
    return items


def _replace_value(data: bytes, rng: random.Random, new: bytes) -> bytes:
    """Put `new` in the place of one pixel, the next one after any position."""
    pixel = re.compile(rb"(?<= )[0-9]+(?= )")
    at = pixel.search(data, rng.randrange(len(data))) or pixel.search(data)
    assert at is not None
    return data[: at.start()] + new + data[at.end() :]


def _at(data: bytes, rng: random.Random) -> int:
    """A position, mostly near commas, quotes, line ends and the header."""
    tender = [match.start() for match in re.finditer(rb'[,\n"]', data)] + list(range(24)) + [len(data) - 1]
    at = rng.choice(tender) + rng.randint(-2, 2) if rng.random() < 0.8 else rng.randrange(len(data) + 1)
    return min(max(at, 0), len(data))


def _insert(data: bytes, rng: random.Random, new: bytes) -> bytes:
    at = _at(data, rng)
    return data[:at] + new + data[at + rng.choice([0, 0, 1, 1, 2]) :]


def _cell_changed(data: bytes, rng: random.Random, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    lines[number] = b",".join(change(_cells(lines[number])))
    return b"\n".join(lines)


LISTS = [rb"[\1]", rb'"[\1]"', rb"[\1", rb" [ \1 ]"]
BLANK_LINES = [b"\n\n", b"\n \t\r\n", b"\r\r\n"]
LABELS = [b"Happy", b"5.0", b" 06 ", b"7"]

MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda data, rng: data[: _at(data, rng)],
    "cut at both ends": lambda data, rng: data[min(_at(data, rng), 30) : _at(data, rng)],
    "byte": lambda data, rng: _insert(data, rng, rng.choice([*b"0129  ,,\"\n\r\t\0-+.aT", 0xC3, 0xFF]).to_bytes()),
    "byte doubled": lambda data, rng: _insert(data, rng, rng.choice([b",,", b"  ", b"\n\n", b'""', b"\r\r", b"00"])),
    "byte lost": lambda data, rng: _insert(data, rng, b""),
    "line doubled": lambda data, rng: b"\n".join([*(lines := data.split(b"\n"))[:2], rng.choice(lines), *lines[2:]]),
    "lines swapped": lambda data, rng: b"\n".join(_swap(data.split(b"\n"), rng)),
    "cells swapped": lambda data, rng: _cell_changed(data, rng, lambda cells: _swap(cells, rng)),
    "cell missing": lambda data, rng: _cell_changed(data, rng, lambda cells: cells[1:]),
    "cell extra": lambda data, rng: _cell_changed(data, rng, lambda cells: [*cells, rng.choice([b"", b"1", cells[0]])]),
    "overlong value": lambda data, rng: _replace_value(data, rng, rng.choice([b"0255", b"1" * 30, b"0000"])),
    "value missing": lambda data, rng: _replace_value(data, rng, b""),
    "two values": lambda data, rng: _replace_value(data, rng, b"1 2"),
    "negative": lambda data, rng: _replace_value(data, rng, b"-1"),
    "float": lambda data, rng: _replace_value(data, rng, rng.choice([b"1.0", b"1.", b"1.5", b"1e1", b"nan", b"inf"])),
    "separator": lambda data, rng: _replace_value(data, rng, rng.choice([b"\t1", b" 1", b"1,", b" \t 1 ", b",1"])),
    "list": lambda data, rng: re.sub(rb'"?([0-9 ]{999,})"?', rng.choice(LISTS), data),
    "commas": lambda data, rng: re.sub(rb"(?<=[0-9]) (?=[0-9])", rng.choice([b",", b", ", b"\t", b"  ", b",,"]), data),
    "blank lines": lambda data, rng: data.replace(b"\n", rng.choice(BLANK_LINES), rng.randint(1, 4)),
    "label": lambda data, rng: re.sub(rb"(?<=[,\n])[0-6](?=[,\r\n])", rng.choice(LABELS), data),
    "split": lambda data, rng: re.sub(rb"Training", rng.choice([b"train", b"TEST", b" val ", b"dev"]), data),
    "over 255": lambda data, rng: _replace_value(data, rng, rng.choice([b"256", b"999", b"300"])),
    "NUL": lambda data, rng: _replace_value(data, rng, rng.choice([b"\0", b"1\0", b"\x001"])),
    "leading zero": lambda data, rng: _replace_value(data, rng, rng.choice([b"007", b"00", b"01"])),
    "quotes": lambda data, rng: _insert(data, rng, b'"'),
    "UTF-16": lambda data, rng: data.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be"])),
    "CR only": lambda data, rng: data.replace(b"\r", b"").replace(b"\n", b"\r"),
    "CRLF": lambda data, rng: data.replace(b"\r", b"").replace(b"\n", b"\r\n"),
    "empty": lambda data, rng: b"",
    "header only": lambda data, rng: data.split(b"\n")[0] + rng.choice([b"", b"\n", b"\r\n", b"\n\n"]),
    "nothing": lambda data, rng: data,
}  # fmt: skip


def mutated(data: bytes, rng: random.Random, first: str) -> bytes:
    """One kind of damage, and sometimes some bytes more."""
    data = MUTATIONS[first](data, rng)
    while data and rng.random() < 0.3:
        data = MUTATIONS[rng.choice(["byte", "byte doubled", "byte lost"])](data, rng)
    return data


TIMES = 8_000 // (4 * len(MUTATIONS))


@pytest.mark.filterwarnings("ignore::fer_core.DataWarning")
@pytest.mark.parametrize("kind", MUTATIONS)
def test_what_survives_damage_is_what_a_strict_reference_accepts(tmp_path: Path, kind: str) -> None:
    for header in ["emotion,pixels,Usage", "id, feature", "pixels", "Usage,pixels,id,label"]:
        rng = random.Random(f"{kind} {header}")
        whole = [make_csv(header, 3, quoted=quoted, end=end) for quoted in (False, True) for end in ("\n", "\r\n")]
        for _ in range(TIMES):
            data = mutated(rng.choice(whole), rng, kind)
            path = written(tmp_path, data)
            expected = strict_reference(data)
            if expected is None:
                with pytest.raises(DataError, match=r" row [1-4]: "):
                    read_faces(path, on_error="skip")
                continue
            batches = iter_faces(path, batch_rows=rng.randint(1, 4), on_error="skip", threads=rng.randint(1, 2))
            faces = concatenate(list(batches))
            columns = (faces.ids, faces.labels, faces.splits)  # in the order of their roles
            texts = [[str(value) for value in column.tolist()] for column in columns if column is not None]
            pixels = faces.images.reshape(-1, PIXELS).tolist()
            assert list(zip(faces.rows.tolist(), pixels, *texts, strict=True)) == expected[0], data[:200]
            assert [error.row for error in faces.rejected] == expected[1], data[:200]


@pytest.mark.filterwarnings("ignore::fer_core.DataWarning")
def test_the_strict_reference_knows_right_from_wrong(tmp_path: Path) -> None:
    """Of each kind of damage some files are refused whole, some in part, and what is accepted pandas reads alike."""
    outcomes = dict.fromkeys(["header refused", "rows refused", "all accepted"], 0)
    for kind in MUTATIONS:
        rng = random.Random(kind)
        for _ in range(20):
            data = mutated(make_csv("emotion,pixels,Usage", 2), rng, kind)
            result = strict_reference(data)
            if result is None:
                outcomes["header refused"] += 1
            elif result[1]:
                outcomes["rows refused"] += 1
            elif result[0]:
                outcomes["all accepted"] += 1
                faces = read_faces(written(tmp_path, data))
                judged = read_slowly(data)
                assert faces.images.tolist() == judged["images"].tolist(), data[:200]
                assert (None if faces.labels is None else faces.labels.tolist()) == judged["labels"], data[:200]
    assert min(outcomes.values()) > 20, outcomes

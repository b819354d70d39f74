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
from fer_core.expressions import PIXELS
from fer_core.faces import concatenate


def strict_reference(data: bytes) -> tuple[list[tuple[Any, ...]], list[int]] | None:
    """Rows accepted and row numbers refused, slowly, by regular expressions; None for a wrong header."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", data.removeprefix(BOM))
    texts = [re.sub(rb"\r?\n\Z", b"", line) for line in lines] or [b""]
    header = [name.strip(" ").lower() for name in _strict_cells(texts[0]) or []]
    if any(name not in ROLES for name in header):
        return None
    roles = [ROLES[name] for name in header]
    if len(set(roles)) != len(roles) or "pixels" not in roles:
        return None
    accepted: list[tuple[Any, ...]] = []
    refused = []
    patterns = {
        "pixels": r" *[0-9]{1,3}(?: [0-9]{1,3}){2303} *",
        "label": " *[0-6] *",
        "usage": " *(?:Training|PublicTest|PrivateTest) *",
        "id": r" *[^\x00-\x20](?:[^\x00-\x1f]{0,254}[^\x00-\x20])? *",
    }
    for row, text in enumerate(texts[1:], start=2):
        cells = _strict_cells(text)
        fits = cells is not None and len(cells) == len(roles)
        if not fits or not all(re.fullmatch(patterns[r], c) for r, c in zip(roles, cells or [], strict=True)):
            refused.append(row)
            continue
        by_role = dict(zip(roles, cells or [], strict=True))
        values = [int(value) for value in by_role.pop("pixels").split()]
        if max(values) > 255:
            refused.append(row)
        else:
            accepted.append((row, values, *(by_role[role].strip(" ") for role in sorted(by_role))))
    return accepted, refused


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
    "float": lambda data, rng: _replace_value(data, rng, rng.choice([b"1.0", b"1e1", b"nan", b"inf"])),
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


TIMES = 10_000 // (4 * len(MUTATIONS))


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
                with pytest.raises(DataError, match=" row 1: "):
                    read_faces(path, on_error="skip")
                continue
            batches = iter_faces(path, batch_rows=rng.randint(1, 4), on_error="skip", threads=rng.randint(1, 2))
            faces = concatenate(list(batches))
            columns = (faces.ids, faces.labels, faces.usage)  # in the order of their roles
            texts = [[str(value) for value in column.tolist()] for column in columns if column is not None]
            pixels = faces.images.reshape(-1, PIXELS).tolist()
            assert list(zip(faces.rows.tolist(), pixels, *texts, strict=True)) == expected[0], data[:200]
            assert [error.row for error in faces.rejected] == expected[1], data[:200]


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
                assert [str(label) for label in faces.require_labels()] == [str(label) for label in judged["labels"]]
    assert min(outcomes.values()) > 20, outcomes

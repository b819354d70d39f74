"""What the reader accepts of damaged files is what a slow, strict reference accepts, no more and no less."""

from __future__ import annotations

import csv
import io
import random
import re
from pathlib import Path
from typing import Any

import pytest
from csv_samples import BOM, ROLES, make_csv, written

from fer_core import DataError, iter_faces, read_faces
from fer_core.expressions import PIXELS
from fer_core.faces import concatenate


def strict_reference(data: bytes) -> tuple[list[tuple[Any, ...]], list[int]] | None:
    """Rows accepted and row numbers refused, slowly, by regular expressions; None for a wrong header."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", data.removeprefix(BOM))
    texts = [re.sub(rb"\r?\n\Z", b"", line) for line in lines]
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


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to three small changes, most of them near commas, line ends and the header."""
    for _ in range(rng.randint(1, 3)):
        tender = [match.start() for match in re.finditer(rb'[,\n"]', data)] + list(range(24)) + [len(data) - 1]
        at = rng.choice(tender) + rng.randint(-2, 2) if rng.random() < 0.8 else rng.randrange(len(data))
        at = min(max(at, 0), len(data))
        new = rng.choice([*b'0123456789  ,,"\n\r\t\0-+.aT', 0xC3, 0xFF, 0xEF]).to_bytes(1, "little")
        data = data[:at] + rng.choice([new, b"", new * 2]) + data[at + rng.choice([0, 0, 1, 1, 2]) :]
    return data


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "id, feature", "pixels"])
def test_what_survives_a_mutation_is_what_a_strict_reference_accepts(tmp_path: Path, header: str) -> None:
    rng = random.Random(header)
    outcomes = {"header refused": 0, "row refused": 0, "all accepted": 0}
    for i in range(120):
        data = mutated(make_csv(header, 2, quoted=i % 2 == 0, end=rng.choice(["\n", "\r\n"])), rng)
        expected = strict_reference(data)
        path = written(tmp_path, data)
        if expected is None:
            outcomes["header refused"] += 1
            with pytest.raises(DataError, match=" row 1: "):
                read_faces(path, on_error="skip")
            continue
        faces = concatenate(list(iter_faces(path, batch_rows=rng.randint(1, 4), on_error="skip")))
        columns = (faces.ids, faces.labels, faces.usage)  # in the order of their roles
        texts = [[str(value) for value in column.tolist()] for column in columns if column is not None]
        pixels = faces.images.reshape(-1, PIXELS).tolist()
        assert list(zip(faces.rows.tolist(), pixels, *texts, strict=True)) == expected[0], data[:200]
        assert [error.row for error in faces.rejected] == expected[1], data[:200]
        outcomes["row refused" if expected[1] else "all accepted"] += 1
    assert min(outcomes.values()) > 0, outcomes

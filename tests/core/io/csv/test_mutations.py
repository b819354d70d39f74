"""What the reader accepts of damaged files is what a slow, strict reference accepts, no more and no less."""

from __future__ import annotations

import csv
import io
import random
import re
from pathlib import Path
from typing import Any

import pytest
from csv_mutations import MUTATIONS, mutated
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

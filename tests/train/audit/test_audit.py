from __future__ import annotations

import csv
import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_core import DataError, Faces, OutputError
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.drawn_faces import draw_faces
from fer_train.audit.audit import audit, audit_faces

FER2013 = os.environ.get("FER2013_DIR")


@pytest.fixture
def faces() -> Faces:
    """Rows 2.. hold A B A C C C blank A b d sign, where A leaks and conflicts, C repeats, b is B half as bright."""
    rng = np.random.default_rng(0)
    a, b, c = draw_faces(3, seed=1).images
    d = rng.integers(0, 256, (48, 48), dtype=np.uint8)
    blank, sign = np.full((2, 48, 48), 9, np.uint8)
    sign[20:28, 20:28] = 200
    return Faces(
        images=np.stack([a, b, a, c, c, c, blank, a, b // 2, d, sign]),
        rows=np.arange(2, 13),
        labels=np.array([0, 1, 2, 3, 3, 3, 4, 0, 1, 5, 6]),
        splits=np.array(["Training"] * 3 + ["PublicTest"] * 8),
        source="faces.csv",
    )


def rows_of(result: Any, kind: Any, **flags: Any) -> Any:
    chosen = [f for f in result.findings if f.kind == kind]
    return [f.row for f in chosen if all(getattr(f, name) == value for name, value in flags.items())]


def test_exact_duplicates_conflicts_and_leaks_are_counted(faces: Faces) -> None:
    found = audit_faces(faces).duplicates
    assert (found.groups, found.faces, found.conflicting_groups, found.leaking_groups) == (2, 6, 1, 1)
    assert found.leaked_faces == {"PublicTest": 1}


def test_near_duplicates_are_counted_apart_and_their_leaks_with_the_exact_ones(faces: Faces) -> None:
    found = audit_faces(faces).near_duplicates
    assert (found.groups, found.faces, found.conflicting_groups, found.leaking_groups) == (1, 2, 0, 1)
    assert found.leaked_faces == {"PublicTest": 2}
    assert audit_faces(faces, near_duplicates=False).near_duplicates is None


def test_findings_name_every_face_concerned(faces: Faces) -> None:
    result = audit_faces(faces)
    assert rows_of(result, "duplicate") == [2, 4, 9, 5, 6, 7]
    assert rows_of(result, "duplicate", conflict=True) == rows_of(result, "duplicate", leak=True) == [2, 4, 9]
    assert rows_of(result, "near duplicate", leak=True, conflict=False) == [3, 10]
    assert (rows_of(result, "blank"), rows_of(result, "faceless")) == ([8], [12])
    assert {f.group for f in result.findings if f.row == 7} == {5}


def test_exact_duplicates_of_a_near_duplicate_are_in_its_group() -> None:
    a, b = draw_faces(2, seed=2).images
    images = np.stack([a, b, a // 2, a, a // 2])
    result = audit_faces(Faces(images, np.arange(5), labels=np.array([0, 0, 0, 0, 6])))
    assert rows_of(result, "near duplicate", group=0, conflict=True) == [0, 2, 3, 4]
    similarity = {f.similarity for f in result.findings if f.kind == "near duplicate"}
    assert len(similarity) == 1
    assert 0.95 <= similarity.pop() <= 1


def test_duplicates_agree_with_a_comparison_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 48, 48), dtype=np.uint8)[rng.integers(0, 5, 40)]
    labels = rng.integers(0, 2, 40)
    pairs = [pair for pair in combinations(range(40), 2) if np.array_equal(*images[list(pair)])]
    result = audit_faces(Faces(images, np.arange(40), labels=labels))
    assert set(rows_of(result, "duplicate")) == {i for pair in pairs for i in pair}
    conflicting = {int(images[i, 0, 0]) for i, j in pairs if labels[i] != labels[j]}
    assert {int(images[row, 0, 0]) for row in rows_of(result, "duplicate", conflict=True)} == conflicting
    assert result.near_duplicates.faces == 0


def test_one_changed_pixel_is_a_near_duplicate_and_no_exact_one(faces: Faces) -> None:
    images = faces.images[:1].repeat(2, axis=0)
    images[1, 47, 47] ^= 1
    result = audit_faces(Faces(images, np.arange(2)))
    assert (result.duplicates.groups, result.near_duplicates.groups) == (0, 1)


def test_unlabelled_faces_without_splits_can_be_audited(faces: Faces) -> None:
    result = audit_faces(Faces(faces.images, faces.rows))
    found = result.duplicates
    assert (found.faces, found.conflicting_groups, found.leaking_groups, found.leaked_faces) == (6, 0, 0, {})
    assert (result.class_counts, result.published_differences) == ({}, None)
    assert {(f.label, f.split) for f in result.findings} == {("", "")}


def test_no_faces_have_no_findings() -> None:
    result = audit_faces(Faces(np.empty((0, 48, 48), np.uint8), np.empty(0, np.int64)))
    assert (result.findings, result.duplicates.groups, result.blank) == ((), 0, 0)


def test_the_text_says_every_count(faces: Faces) -> None:
    assert audit_faces(faces).to_text().splitlines() == [
        "faces.csv: 11 faces",
        "  PublicTest: 8: angry 1, disgust 1, fear 0, happy 3, sad 1, surprise 1, neutral 1",
        "  Training: 3: angry 1, disgust 1, fear 1, happy 0, sad 0, surprise 0, neutral 0",
        "  6 faces in 2 groups of exact duplicates: 1 groups with conflicting labels, 1 across splits",
        "  1 faces of PublicTest are also in Training",
        "  2 faces in 1 groups of near duplicates: 0 groups with conflicting labels, 1 across splits",
        "  2 faces of PublicTest are in Training exactly or nearly",
        "  1 blank faces, 1 others with almost no structure",
    ]


def test_findings_counts_and_contact_sheets_are_written_once(tmp_path: Path, faces: Faces) -> None:
    write_csv(faces, tmp_path / "faces.csv")
    result = audit(tmp_path / "faces.csv", tmp_path / "out")
    with (tmp_path / "out" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["kind"], r["group"], r["row"], r["label"], r["split"]) for r in rows] == [
        (f.kind, str(f.group), str(f.row), f.label, f.split) for f in result.findings
    ]
    assert [r["conflict"] for r in rows] == ["yes" if f.conflict else "" for f in result.findings]
    assert rows[-1] | {"flat_share": ""} == {
        **dict.fromkeys(rows[-1], ""),
        **{"kind": "faceless", "group": "12", "row": "12", "label": "neutral", "split": "PublicTest"},
    }
    table = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (table["rows"], table["duplicates"]["faces"], table["near_duplicates"]["faces"]) == (11, 6, 2)
    sheets = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert sheets == ["blank.png", "duplicate.png", "faceless.png", "near_duplicate.png"]
    with pytest.raises(OutputError, match="exists already"):
        audit(tmp_path / "faces.csv", tmp_path / "out")
    assert audit(tmp_path / "faces.csv", tmp_path / "out", force=True).findings == result.findings


def test_a_wrong_row_leaves_no_output(tmp_path: Path, faces: Faces) -> None:
    write_csv(faces, tmp_path / "faces.csv")
    with (tmp_path / "faces.csv").open("a") as file:
        file.write("9,1 2 3,Training\n")
    with pytest.raises(DataError, match=r"faces\.csv row 13"):
        audit(tmp_path / "faces.csv", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv"]


def test_the_contact_sheet_shows_the_faces_of_a_group_side_by_side(tmp_path: Path, faces: Faces) -> None:
    write_csv(faces.take([0, 1, 2]), tmp_path / "faces.csv")
    audit(tmp_path / "faces.csv", tmp_path / "out", near_duplicates=False)
    sheet = np.asarray(Image.open(tmp_path / "out" / "duplicate.png").convert("L"))
    line = faces.images[0, 24].repeat(2)  # a line of pixels of the face, which is shown at twice its size
    windows = np.lib.stride_tricks.sliding_window_view(sheet, 96, axis=1)
    places = np.argwhere((windows == line).all(axis=2))
    assert len({column for _, column in places.tolist()}) == 2


@pytest.mark.fer2013
@pytest.mark.skipif(FER2013 is None, reason="FER2013_DIR does not name a folder with the files of FER2013")
def test_what_the_docs_say_of_the_real_faces_is_found_in_them() -> None:
    result = audit(Path(FER2013) / "fer2013.csv", near_duplicates=False)
    found = result.duplicates
    assert (len(result.faces), found.faces - found.groups) == (32298, 1531)
    assert (found.groups, found.conflicting_groups, found.leaking_groups) == (1274, 48, 270)
    assert (found.leaked_faces, result.blank, result.faceless) == ({"PublicTest": 280}, 10, 30)

from __future__ import annotations

import csv
from itertools import combinations

import numpy as np
import pytest

from fer_core import Faces, OutputError
from fer_train.audit import audit


@pytest.fixture
def faces():
    """Rows 2.. hold A B A C C C blank A, where A leaks and conflicts and C only repeats."""
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, 256, (3, 48, 48), dtype=np.uint8)
    blank = np.full((48, 48), 9, np.uint8)
    return Faces(
        images=np.stack([a, b, a, c, c, c, blank, a]),
        rows=np.arange(2, 10),
        labels=np.array([0, 1, 2, 3, 3, 3, 4, 0]),
        usage=np.array(["Training"] * 3 + ["PublicTest"] * 5),
    )


def test_counts_are_those_of_the_example(faces):
    result = audit(faces)
    assert (result.rows, result.exact_repeats, result.repeat_groups) == (8, 4, 2)
    assert (result.conflict_groups, result.leak_groups, result.blank_rows) == (1, 1, 1)
    assert result.leaked_rows == {"PublicTest": 1}
    assert result.class_counts["Training"] == {
        **dict.fromkeys(("happy", "sad", "surprise", "neutral"), 0),
        **dict.fromkeys(("angry", "disgust", "fear"), 1),
    }


def test_findings_name_every_row_concerned(faces):
    rows = {
        kind: [f.row for f in audit(faces).findings if f.kind == kind]
        for kind in ("repeat", "conflict", "leak", "blank")
    }
    assert sorted(rows["repeat"]) == [2, 4, 5, 6, 7, 9]
    assert rows["conflict"] == rows["leak"] == [2, 4, 9]
    assert rows["blank"] == [8]


def test_repeats_agree_with_a_comparison_of_all_pairs():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 48, 48), dtype=np.uint8)[rng.integers(0, 5, 40)]
    faces = Faces(images, np.arange(40), labels=rng.integers(0, 7, 40))
    expected = {i for pair in combinations(range(40), 2) if np.array_equal(*images[list(pair)]) for i in pair}
    assert {f.row for f in audit(faces).findings if f.kind == "repeat"} == expected


def test_one_changed_pixel_is_no_repeat(faces):
    images = faces.images[:1].repeat(2, axis=0)
    images[1, 47, 47] ^= 1
    assert audit(Faces(images, np.arange(2))).exact_repeats == 0


def test_unlabelled_faces_without_splits_can_be_audited(faces):
    result = audit(Faces(faces.images, faces.rows))
    assert (result.exact_repeats, result.conflict_groups, result.leak_groups) == (4, 0, 0)
    assert (result.class_counts, result.leaked_rows) == ({}, {})


def test_findings_are_written_as_csv_once(tmp_path, faces):
    result = audit(faces)
    result.save(tmp_path / "findings.csv")
    with (tmp_path / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["kind"], r["row"], r["label"], r["usage"]) for r in rows] == [
        (f.kind, str(f.row), f.label, f.usage) for f in result.findings
    ]
    with pytest.raises(OutputError, match="exists already"):
        result.save(tmp_path / "findings.csv")

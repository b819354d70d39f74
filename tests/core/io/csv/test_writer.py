"""What the writer writes is the layout of fer2013.csv, byte for byte, and reads back the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from csv_samples import assert_faces_equal

from fer_core import DataError, Faces, OutputError, read_faces
from fer_core.fer2013 import SPLITS
from fer_core.io.csv.writer import write_csv


@pytest.fixture
def faces() -> Faces:
    images = np.random.default_rng(0).integers(0, 256, (7, 48, 48)).astype(np.uint8)
    split = np.array([SPLITS[i % 3] for i in range(7)])
    return Faces(images, np.arange(2, 9), labels=np.arange(7), splits=split, source="drawn")


def test_faces_come_back_as_they_were_written(tmp_path: Path, faces: Faces) -> None:
    write_csv(faces, tmp_path / "faces.csv")
    assert_faces_equal(read_faces(tmp_path / "faces.csv"), faces)


def test_splits_other_than_those_of_fer2013_come_back_as_well(tmp_path: Path, faces: Faces) -> None:
    others = replace(faces, splits=np.array(["Training", "validation", "test", "test", "validation", "test", "test"]))
    write_csv(others, tmp_path / "faces.csv")
    assert_faces_equal(read_faces(tmp_path / "faces.csv"), others)


def test_the_file_is_what_a_slow_writer_writes(tmp_path: Path, faces: Faces) -> None:
    write_csv(faces, tmp_path / "faces.csv")
    lines = ["emotion,pixels,Usage"]
    for i in range(len(faces)):
        levels = " ".join(str(int(level)) for level in faces.images[i].ravel())
        lines.append(f"{i},{levels},{SPLITS[i % 3]}")
    assert (tmp_path / "faces.csv").read_bytes() == ("\n".join(lines) + "\n").encode()


def test_no_face_makes_a_header_alone(tmp_path: Path, faces: Faces) -> None:
    write_csv(faces.take([]), tmp_path / "faces.csv")
    assert (tmp_path / "faces.csv").read_bytes() == b"emotion,pixels,Usage\n"


def test_images_that_are_views_are_written_in_their_own_order(tmp_path: Path, faces: Faces) -> None:
    turned = replace(faces, images=faces.images.transpose(0, 2, 1))
    write_csv(turned, tmp_path / "faces.csv")
    assert np.array_equal(read_faces(tmp_path / "faces.csv").images, turned.images)


def test_faces_that_the_layout_cannot_hold_are_refused(tmp_path: Path, faces: Faces) -> None:
    for wrong, message in (
        (replace(faces, labels=None), "^drawn: has no labels"),
        (replace(faces, splits=None), "^drawn: has no splits, which the layout of fer2013.csv requires$"),
        (replace(faces, splits=np.array(["dev"] * 7)), "^drawn: has split dev; expected one of Training, PublicTest, "),
        (replace(faces, splits=np.array(["train"] * 7)), "^drawn: has split train; expected one of Training, "),
    ):
        with pytest.raises(DataError, match=message):
            write_csv(wrong, tmp_path / "faces.csv")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_needs_force(tmp_path: Path, faces: Faces) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"faces\.csv: exists already"):
        write_csv(faces, path)
    assert path.read_text() == "precious"
    write_csv(faces, path, force=True)
    assert len(read_faces(path)) == 7


@pytest.mark.parametrize("name", ["drawn.csv.gz", "drawn.csv.zst"])
def test_a_packed_file_reads_back_and_has_the_same_bytes_each_time(tmp_path: Path, faces: Faces, name: str) -> None:
    for path in (tmp_path / name, tmp_path / f"again-{name}"):
        write_csv(faces, path)
    np.testing.assert_array_equal(read_faces(tmp_path / name).images, faces.images)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()


def test_another_form_is_refused(tmp_path: Path, faces: Faces) -> None:
    with pytest.raises(OutputError, match=r"end in \.csv, \.csv\.gz or \.csv\.zst$"):
        write_csv(faces, tmp_path / "drawn.parquet")

"""Which faces stand in Training is what a comparison of all pairs of faces finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import DataError
from fer_infer.evaluation.seen_in_training import TrainingFaces

Images = NDArray[np.uint8]


@pytest.fixture
def repeated(images: Images) -> Images:
    """Thirty faces of which the last ten repeat the first ten, two of them but for one pixel."""
    faces = images.copy()
    faces[20:] = faces[:10]
    faces[22, 47, 47] ^= 1
    faces[25, 0, 0] ^= 128
    return faces


def test_faces_of_equal_pixels_are_found_and_no_others(repeated: Images) -> None:
    known = TrainingFaces([repeated[:7], repeated[7:20]])
    expected = [any((face == other).all() for other in repeated[:20]) for face in repeated[20:]]
    found = known.seen(repeated[20:])
    assert found.dtype == bool
    assert found.tolist() == expected
    assert sum(expected) == 8
    assert len(known) == 20
    assert known.seen(repeated[:0]).shape == (0,)


def test_the_training_rows_of_a_file_are_those_compared_with(
    repeated: Images, csv_of: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(repeated, Usage=["Training"] * 5 + ["PublicTest"] * 25))
    for known in (TrainingFaces.read(path), TrainingFaces.find(path)):
        assert known is not None
        assert known.seen(repeated).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 20, 21, 23, 24]


def test_all_rows_of_a_named_file_without_usage_are_training(
    repeated: Images, csv_of: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text(csv_of(repeated[:20]))
    assert TrainingFaces.read(tmp_path / "train.csv").seen(repeated).sum() == 28
    assert TrainingFaces.find(tmp_path / "train.csv") is None


def test_a_file_without_training_rows_tells_of_none(
    repeated: Images, csv_of: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "public.csv"
    path.write_text(csv_of(repeated, Usage=["PublicTest"] * 30))
    assert TrainingFaces.find(path) is None
    with pytest.raises(DataError, match=r"public\.csv: has no row of split 'Training' to compare with$"):
        TrainingFaces.read(path)


def test_of_an_image_tree_only_the_training_images_are_opened(repeated: Images, tmp_path: Path) -> None:
    for split, face in (("train", 0), ("PublicTest", 1)):
        (tmp_path / split / "happy").mkdir(parents=True)
        Image.fromarray(repeated[face]).save(tmp_path / split / "happy" / "face.png")
    (tmp_path / "PublicTest" / "happy" / "broken.png").write_bytes(b"no picture")
    for known in (TrainingFaces.read(tmp_path), TrainingFaces.find(tmp_path)):
        assert known is not None
        assert known.seen(repeated[:2]).tolist() == [True, False]
    (tmp_path / "train").rename(tmp_path / "PrivateTest")
    assert TrainingFaces.find(tmp_path) is None
    with pytest.raises(DataError, match=r"has no row of split 'Training' to compare with$"):
        TrainingFaces.read(tmp_path)


def test_all_images_of_a_tree_without_splits_are_training_where_it_is_named(repeated: Images, tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    Image.fromarray(repeated[0]).save(tmp_path / "happy" / "face.png")
    assert TrainingFaces.read(tmp_path).seen(repeated[:2]).tolist() == [True, False]
    assert TrainingFaces.find(tmp_path) is None


def test_standard_input_is_left_to_be_scored() -> None:
    assert TrainingFaces.find("-") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_read_for_its_training_rows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    assert TrainingFaces.find(tmp_path / "pipe") is None

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_core import DataError, Faces
from fer_core.io.csv.writer import write_csv
from fer_train.data.splits import load_splits, pixel_statistics, to_device


@pytest.fixture
def file(tmp_path: Path, drawn: Faces) -> Path:
    write_csv(drawn, tmp_path / "drawn.csv")
    return tmp_path / "drawn.csv"


def course_file(path: Any, faces: Any) -> Any:
    rows = [
        f"{label},{' '.join(map(str, image.ravel()))}" for image, label in zip(faces.images, faces.labels, strict=True)
    ]
    path.write_text("\n".join(["label,feature", *rows]) + "\n")
    return path


def test_training_and_public_test_are_told_by_usage_and_private_test_stays_out(file: Path, drawn: Faces) -> None:
    splits = load_splits(file)
    np.testing.assert_array_equal(splits.training.images, drawn.images[:160])
    np.testing.assert_array_equal(splits.validation.images, drawn.images[160:180])


def test_mean_and_deviation_are_those_of_the_training_pixels(file: Path, drawn: Faces) -> None:
    splits = load_splits(file)
    pixels = drawn.images[:160].astype(np.float64)
    assert (splits.mean, splits.std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-12)


def test_course_files_name_their_validation_faces_apart(tmp_path: Path, drawn: Faces) -> None:
    train = course_file(tmp_path / "train.csv", drawn.take(slice(30)))
    public = course_file(tmp_path / "public.csv", drawn.take(slice(30, 40)))
    splits = load_splits(train, public)
    assert (len(splits.training), len(splits.validation)) == (30, 10)
    with pytest.raises(DataError, match=r"train\.csv: has no Usage column; name the validation faces"):
        load_splits(train)


def test_private_test_rows_never_choose(tmp_path: Path, drawn: Faces) -> None:
    private = drawn.of_split("PrivateTest")
    write_csv(private, tmp_path / "private.csv")
    train = course_file(tmp_path / "train.csv", drawn.take(slice(30)))
    with pytest.raises(
        DataError, match=r"expected a split PublicTest or validation to validate on, found PrivateTest$"
    ):
        load_splits(train, tmp_path / "private.csv")


def test_unlabelled_faces_cannot_be_trained_on(tmp_path: Path, drawn: Faces) -> None:
    (tmp_path / "faces.csv").write_text("pixels\n" + " ".join(["7"] * 2304) + "\n")
    public = course_file(tmp_path / "public.csv", drawn.take(slice(5)))
    with pytest.raises(DataError, match=r"faces\.csv: has no labels"):
        load_splits(tmp_path / "faces.csv", public)


def test_empty_and_flat_training_data_are_refused(tmp_path: Path, drawn: Faces) -> None:
    public = course_file(tmp_path / "public.csv", drawn.take(slice(5)))
    (tmp_path / "empty.csv").write_text("label,feature\n")
    with pytest.raises(DataError, match=r"empty\.csv: expected at least one face, found none"):
        load_splits(tmp_path / "empty.csv", public)
    (tmp_path / "flat.csv").write_text("label,feature\n1," + " ".join(["7"] * 2304) + "\n")
    with pytest.raises(DataError, match=r"flat\.csv: expected faces that differ"):
        load_splits(tmp_path / "flat.csv", public)


@pytest.fixture
def contradicting(tmp_path: Path, drawn: Faces) -> Path:
    """Training a a' b b c d, validated on c e, where a and a' are equal with other labels and b stands twice."""
    images = drawn.images[[0, 0, 1, 1, 2, 3, 2, 4]]
    labels, split = np.array([0, 1, 2, 2, 3, 4, 3, 5]), np.array(["Training"] * 6 + ["PublicTest"] * 2)
    write_csv(Faces(images, np.arange(2, 10), labels=labels, splits=split), tmp_path / "contradicting.csv")
    return tmp_path / "contradicting.csv"


@pytest.mark.parametrize(
    ("options", "rows", "dropped"),
    [
        ({}, [2, 3, 4, 5, 6, 7], {}),
        ({"drop_conflicts": True}, [4, 5, 6, 7], {"conflicts": 2}),
        ({"drop_leaks": True}, [2, 3, 4, 5, 7], {"leaks": 1}),
        ({"drop_conflicts": True, "drop_leaks": True}, [4, 5, 7], {"conflicts": 2, "leaks": 1}),
    ],
)
def test_conflicting_and_leaking_training_faces_are_dropped_where_asked_for(
    contradicting: Path, options: dict[str, Any], rows: list[int], dropped: dict[str, Any]
) -> None:
    splits = load_splits(contradicting, **options)
    assert splits.training.rows.tolist() == rows
    assert (len(splits.validation), splits.dropped) == (2, dropped)
    assert (splits.mean, splits.std) == pixel_statistics(splits.training.images)
    record = splits.training_data()
    assert record["rows"] == {"Training": len(rows), "PublicTest": 2}
    assert record.get("dropped", {}) == dropped


def test_leaks_into_a_validation_file_of_its_own_are_dropped(tmp_path: Path, drawn: Faces) -> None:
    train = course_file(tmp_path / "train.csv", drawn.take(slice(30)))
    public = course_file(tmp_path / "public.csv", drawn.take(slice(25, 40)))
    assert load_splits(train, public, drop_leaks=True).training.rows.tolist() == list(range(2, 27))


def test_dropping_all_training_faces_is_an_error(tmp_path: Path, drawn: Faces) -> None:
    train = course_file(tmp_path / "train.csv", drawn.take(slice(30)))
    with pytest.raises(DataError, match=r"train\.csv: no Training face is left after dropping 30"):
        load_splits(train, train, drop_leaks=True)


def test_statistics_are_exact_on_extreme_images() -> None:
    images = np.zeros((2, 48, 48), np.uint8)
    images[1] = 255
    assert pixel_statistics(images) == (127.5, 127.5)


def test_the_device_gets_bytes_with_a_channel_axis(drawn: Faces) -> None:
    images, labels = to_device(drawn, torch.device("cpu"))
    assert (images.shape, images.dtype) == ((200, 1, 48, 48), torch.uint8)
    np.testing.assert_array_equal(images[:, 0].numpy(), drawn.images)
    np.testing.assert_array_equal(labels.numpy(), drawn.labels)


def test_the_checksum_covers_images_and_labels(drawn: Faces) -> None:
    part = drawn.take(slice(3))
    changed = Faces(part.images, part.rows, labels=(part.labels + 1) % 7)
    assert part.sha256() != changed.sha256()
    assert part.sha256() == drawn.take([0, 1, 2]).sha256()

"""Faces keep their columns together, and errors survive the way between processes."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest

from fer_core import ConfigError, DataError, Faces, iter_faces
from fer_core.faces import concatenate


@pytest.fixture
def faces() -> Faces:
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    split = np.array(["Training", "PublicTest", "Training", "PublicTest", "Training"])
    ids = np.array(["a", "b", "c", "d", "e"])
    return Faces(images, np.arange(2, 7), labels=np.arange(5), ids=ids, splits=split, source="test.csv")


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 48, 48)), r"float64 \(2, 48, 48\)"),
        (np.zeros((2, 47, 48), np.uint8), r"uint8 \(2, 47, 48\)"),
        (np.zeros((2, 2304), np.uint8), r"uint8 \(2, 2304\)"),
        (np.zeros((2, 48, 48, 1), np.uint8), r"uint8 \(2, 48, 48, 1\)"),
    ],
)
def test_images_of_another_shape_or_type_are_refused(images: np.ndarray, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^images: expected uint8 \(N, 48, 48\), found {found}$"):
        Faces(images, np.arange(2))


@pytest.mark.parametrize("name", ["rows", "labels", "ids", "splits"])
def test_a_column_of_another_length_is_refused(faces: Faces, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected shape \(5,\) to go with 5 images, found \(4,\)$"):
        replace(faces, **{name: getattr(faces, name)[:4]})


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        ([3, 0], [3, 0]),
        (np.array([1, 1]), [1, 1]),
        (slice(1, 4), [1, 2, 3]),
        ([True, False, False, True, False], [0, 3]),
        (np.array([False] * 5), []),
        ([], []),
        (np.array([], np.int64), []),
    ],
    ids=str,
)
def test_taking_keeps_all_columns_in_step(faces: Faces, index: list[int], kept: list[int]) -> None:
    taken = faces.take(index)
    assert taken.images.shape == (len(kept), 48, 48)
    assert np.array_equal(taken.images, np.array([faces.images[i] for i in kept], np.uint8).reshape(-1, 48, 48))
    for name in ("rows", "labels", "ids", "splits"):
        assert getattr(taken, name).tolist() == [getattr(faces, name)[i] for i in kept]
    assert taken.source == "test.csv"


def test_faces_show_their_number_source_and_columns(faces: Faces) -> None:
    assert repr(faces) == "Faces(5 of test.csv with labels, ids, splits)"
    assert repr(Faces(faces.images[:1], faces.rows[:1])) == "Faces(1)"


def test_taking_leaves_missing_columns_missing(faces: Faces) -> None:
    bare = Faces(faces.images, faces.rows).take([2])
    assert (bare.labels, bare.ids, bare.splits) == (None, None, None)


def test_a_split_is_found_or_named_as_missing(faces: Faces) -> None:
    assert faces.of_split("PublicTest").rows.tolist() == [3, 5]
    with pytest.raises(DataError, match=r"^test\.csv: has no row of split 'test'; found PublicTest, Training$"):
        faces.of_split("test")
    with pytest.raises(DataError, match=r"^test\.csv: has no row of split 'Training'; found none$"):
        faces.take([]).of_split("Training")
    with pytest.raises(DataError, match=r"^test\.csv: has no Usage column; cannot select Training rows$"):
        replace(faces, splits=None).of_split("Training")


def test_labels_are_returned_or_named_as_missing(faces: Faces) -> None:
    assert faces.require_labels() is faces.labels
    with pytest.raises(DataError, match=r"^test\.csv: has no labels; expected a column 'emotion' or 'label'"):
        replace(faces, labels=None).require_labels()


def test_the_sha256_is_that_of_pixels_and_labels_alone(faces: Faces) -> None:
    pixels = bytes(faces.images.ravel().tolist())
    labels = b"".join(label.to_bytes(8, "little") for label in range(5))
    assert faces.sha256() == hashlib.sha256(pixels + labels).hexdigest()
    assert replace(faces, labels=None).sha256() == hashlib.sha256(pixels).hexdigest()
    stored_otherwise = replace(faces, images=np.asfortranarray(faces.images), ids=None, splits=None, source="other")
    assert stored_otherwise.sha256() == faces.sha256()
    assert faces.take([1, 0, 2, 3, 4]).sha256() != faces.sha256()


def test_batches_join_to_what_they_were(faces: Faces) -> None:
    errors = tuple(DataError("test.csv", "wrong", row=row) for row in (7, 8, 9))
    parts = [
        replace(faces.take(slice(0, 2)), rejected=errors[:1]),
        replace(faces.take([]), rejected=()),
        replace(faces.take(slice(2, 5)), rejected=errors[1:]),
    ]
    joined = concatenate(parts)
    assert joined.sha256() == faces.sha256()
    for name in ("rows", "ids", "splits"):
        assert getattr(joined, name).tolist() == getattr(faces, name).tolist()
    assert (joined.rejected, joined.source) == (errors, "test.csv")


@pytest.mark.parametrize("order", [1, -1])
def test_batches_of_other_columns_do_not_join(faces: Faces, order: int) -> None:
    with pytest.raises(ValueError, match=r"^labels: expected in all batches or in none$"):
        concatenate([faces, replace(faces, labels=None)][::order])


def test_faces_can_be_compared_and_kept_in_a_set(faces: Faces) -> None:
    assert faces == faces  # which arrays would leave undecided
    assert faces != faces.take(slice(None))
    assert len({faces, faces}) == 1


def test_an_error_of_a_row_travels_between_processes() -> None:
    error = DataError("test.csv", "expected 7, found 8", row=3, column="label")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made the line before
    assert type(copy) is DataError
    assert str(copy) == "test.csv row 3, column 'label': expected 7, found 8"
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_rows": 0}, "^batch_rows: expected at least 1, found 0$"),
        ({"batch_rows": -1}, "^batch_rows: expected at least 1, found -1$"),
        ({"on_error": "ignore"}, "^on_error: expected 'fail' or 'skip', found 'ignore'$"),
    ],
)
def test_wrong_settings_are_refused_at_the_call(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        iter_faces("nowhere.csv", **wrong)  # type: ignore[arg-type]

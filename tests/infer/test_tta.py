"""Views are those of a loop over pixels, and what is averaged over them is what a loop over views averages."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_infer import Scorer, score
from fer_infer.config import TTA_KINDS
from fer_infer.tta import SHIFT, TTA, View, average_views, log_probabilities, views_of

Images = NDArray[np.uint8]
KINDS = [kind for kind in TTA if kind != "none"]


def slow_view(image: Images, mirrored: bool, down: int, right: int) -> Images:
    """Mirror a face, then move it, pixel by pixel; outside of it the nearest pixel of the border stands."""
    out = np.zeros_like(image)
    for row in range(48):
        for column in range(48):
            from_row = min(max(row - down, 0), 47)
            from_column = min(max(column - right, 0), 47)
            out[row, column] = image[from_row, 47 - from_column if mirrored else from_column]
    return out


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -2), (-3, 0), (0, 47), (60, 1)])
def test_a_view_is_the_face_mirrored_and_moved(images: Images, mirrored: bool, down: int, right: int) -> None:
    found = View(mirrored, down, right).of(images[:3])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [slow_view(image, mirrored, down, right) for image in images[:3]])


def test_the_kinds_are_those_that_the_help_describes() -> None:
    assert list(TTA) == ["none", "flip", "flip-shift"]
    assert [len(views) for views in TTA.values()] == [1, 2, 10]
    for views in TTA.values():
        assert views[0] == View()
        assert len(set(views)) == len(views)
    corners = {(view.down, view.right) for view in TTA["flip-shift"]}
    assert corners == {(0, 0), (SHIFT, SHIFT), (SHIFT, -SHIFT), (-SHIFT, SHIFT), (-SHIFT, -SHIFT)}
    assert sum(view.mirrored for view in TTA["flip-shift"]) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_scorer_averages_the_probabilities_of_all_views(
    exports: Path, model: Any, images: Images, kind: str
) -> None:
    few = images[:4]
    expected = np.zeros((4, 7))
    for view in TTA[kind]:
        moved = np.array([slow_view(image, view.mirrored, view.down, view.right) for image in few])
        expected += model.run(moved)[1] / len(TTA[kind])
    logits, probabilities = Scorer(exports, "cpu").run(few, tta=kind)
    assert logits.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(logits, np.log(expected), atol=1e-4)
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), probabilities, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 7, 128])
def test_augmented_scores_do_not_depend_on_the_batch_size(
    exports: Path, images: Images, kind: str, batch_size: int
) -> None:
    scorer = Scorer(exports, "cpu")
    found = scorer.run(images, batch_size=batch_size, tta=kind)[1]
    np.testing.assert_allclose(found, scorer.run(images, batch_size=30, tta=kind)[1], atol=1e-6)
    np.testing.assert_allclose(found[5:6], scorer.run(images[5:6], tta=kind)[1], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_and_its_mirror_image_score_alike(exports: Path, images: Images, kind: str) -> None:
    scorer = Scorer(exports, "cpu")
    np.testing.assert_allclose(scorer.run(images[:, :, ::-1], tta=kind)[1], scorer.run(images, tta=kind)[1], atol=1e-6)


def test_no_faces_are_no_scores(exports: Path) -> None:
    logits, probabilities = Scorer(exports, "cpu").run(np.zeros((0, 48, 48), np.uint8), tta="flip")
    assert logits.shape == probabilities.shape == (0, 7)


def test_one_view_is_held_at_a_time(images: Images) -> None:
    """Views are scored one after the other, so memory grows with the faces given and not with the views."""
    seen: list[int] = []

    def scored(view: Images) -> NDArray[np.float32]:
        seen.append(len(view))
        return np.full((len(view), 2), len(seen), np.float32)

    plain, averaged = average_views(scored, images, "flip-shift")
    assert seen == [30] * 10
    assert (plain == 1).all()
    assert (averaged == 5.5).all()


def test_the_logarithm_of_no_probability_is_finite() -> None:
    logits = log_probabilities(np.array([[0.0, 1.0]], np.float32))
    assert logits.tolist() == [[pytest.approx(-87.336, abs=1e-3), 0.0]]


@pytest.mark.parametrize("run", ["views", "scorer", "file"])
def test_an_unknown_augmentation_is_named(exports: Path, images: Images, tmp_path: Path, run: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "views": lambda: views_of("crop"),
        "scorer": lambda: Scorer(exports, "cpu").run(images, tta="crop"),
        "file": lambda: score("absent.csv", exports, tmp_path / "out.csv", tta="crop"),
    }
    with pytest.raises(ConfigError, match=r"^tta: expected one of none, flip, flip-shift, found 'crop'$"):
        calls[run]()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch_size", [4, 128])
def test_a_file_is_scored_with_augmentation(
    exports: Path, images: Images, csv_of: Callable[..., str], tmp_path: Path, batch_size: int
) -> None:
    (tmp_path / "faces.csv").write_text(csv_of(images))
    out = tmp_path / "out.csv"
    settings: dict[str, Any] = {"device": "cpu", "columns": "logits", "batch_size": batch_size}
    done = score(tmp_path / "faces.csv", exports, out, tta="flip", **settings)
    assert (done.rows, done.tta) == (30, "flip")
    _, *rows = csv.reader(out.open(newline=""))
    logits, probabilities = Scorer(exports, "cpu").run(images, tta="flip")
    np.testing.assert_allclose([[float(cell) for cell in row[2:]] for row in rows], logits, atol=1e-5)
    assert [int(row[1]) for row in rows] == probabilities.argmax(axis=1).tolist()


def test_the_kinds_of_augmentation_are_those_of_the_settings() -> None:
    assert tuple(TTA) == TTA_KINDS

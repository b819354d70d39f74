"""Metrics agree with loops that count faces one by one, and with published numbers."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataError, FerError, ModelError, OutputError, iter_faces
from fer_core.io.read_ahead import READ_AHEAD
from fer_infer import Scorer, evaluate
from fer_infer.evaluation import one_pass
from fer_infer.evaluation.evaluate import save_evaluation
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions, wilson_interval
from fer_infer.evaluation.reliability import expected_calibration_error, reliability

Images = NDArray[np.uint8]
FILES = ["confusion.csv", "confusion.png", "metrics.json", "per_class.csv", "reliability.png"]


@pytest.fixture(scope="module")
def predictions() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two hundred labels without any disgust, and probabilities that are right about half of the time."""
    rng = np.random.default_rng(5)
    labels = rng.choice([0, 2, 3, 4, 5, 6], 200, p=[0.1, 0.15, 0.3, 0.2, 0.15, 0.1])
    logits = rng.normal(size=(200, 7)) + 1.5 * np.eye(7)[labels] - 9 * (np.arange(7) == 5)  # never surprise
    powers = np.exp(logits)
    return labels, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def evaluation(predictions: tuple[NDArray[np.int64], NDArray[np.float32]]) -> Evaluation:
    return evaluate_predictions(*predictions, EXPRESSIONS)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3 (the score interval)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_the_published_one(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(n - correct, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize("n", [1, 3, 16, 21, 37, 40, 3589])
def test_wilson_interval_of_none_or_all_ends_at_exactly_0_or_1(n: int) -> None:
    assert wilson_interval(0, n)[0] == 0
    assert wilson_interval(n, n)[1] == 1
    for correct in range(0, n + 1, max(1, n // 50)):
        low, high = wilson_interval(correct, n)
        assert 0 <= low < high <= 1


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_of_no_proportion_is_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=rf"^expected 0 <= correct <= n and n >= 1, found correct={correct}, n={n}$"):
        wilson_interval(correct, n)


def test_confusion_counts_each_face_once(predictions: Any, evaluation: Evaluation) -> None:
    expected = [[0] * 7 for _ in range(7)]
    for label, row in zip(*predictions, strict=True):
        best = max(range(7), key=lambda k: row[k])
        expected[label][best] += 1
    assert evaluation.confusion.tolist() == expected
    assert evaluation.confusion.dtype == np.int64
    assert evaluation.n == 200
    assert evaluation.accuracy == sum(expected[k][k] for k in range(7)) / 200
    assert evaluation.wilson_95 == wilson_interval(sum(expected[k][k] for k in range(7)), 200)


def test_each_class_has_the_scores_of_the_textbook(evaluation: Evaluation) -> None:
    table = evaluation.confusion.tolist()
    scores = []
    for k, found in enumerate(evaluation.classes):
        hits, predicted, support = table[k][k], sum(row[k] for row in table), sum(table[k])
        precision, recall = hits / predicted if predicted else 0.0, hits / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        scores.append(f1)
        assert (found.name, found.support) == (EXPRESSIONS[k], support)
        assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))
    assert evaluation.classes[1].support == 0
    assert evaluation.classes[5].precision == 0
    assert evaluation.macro_f1 == pytest.approx(sum(scores) / 7)


def test_negative_log_likelihood_is_the_mean_of_minus_ln(predictions: Any, evaluation: Evaluation) -> None:
    losses = [-math.log(float(row[label])) for label, row in zip(*predictions, strict=True)]
    assert evaluation.nll == pytest.approx(sum(losses) / 200, rel=1e-5)


def test_rows_that_sum_to_1_only_about_are_scaled() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate_predictions([0, 1], [[0.498, 0.498], [0.502, 0.502]], ["a", "b"])
    assert found.nll == pytest.approx(math.log(2), rel=1e-12)


def test_a_sure_mistake_has_a_large_but_finite_loss() -> None:
    least = np.finfo(np.float32).tiny
    assert evaluate_predictions([1], [[1.0, 0.0]], ["a", "b"]).nll == pytest.approx(-np.log(least))
    small = np.array([[1e-30, 1], [0.25, 0.75]], np.float32)
    assert evaluate_predictions([0, 1], small, ["a", "b"]).nll == pytest.approx(np.log([1e30, 4 / 3]).mean())


def test_each_recall_has_its_interval(evaluation: Evaluation) -> None:
    for k, found in enumerate(evaluation.classes):
        right = int(evaluation.confusion[k, k])
        assert found.recall_wilson_95 == (wilson_interval(right, found.support) if found.support else None)
    assert evaluation.classes[1].recall_wilson_95 is None


def test_calibration_is_that_of_the_bins(predictions: Any, evaluation: Evaluation) -> None:
    expected = reliability(*predictions)
    assert [each.n for each in evaluation.reliability] == [each.n for each in expected]
    assert [each.gap for each in evaluation.reliability] == pytest.approx([each.gap for each in expected], abs=1e-6)
    assert evaluation.ece == pytest.approx(expected_calibration_error(evaluation.reliability))


def test_the_accuracy_without_the_faces_of_training_leaves_them_out(predictions: Any, evaluation: Evaluation) -> None:
    labels, probabilities = predictions
    seen = np.arange(200) % 3 == 0
    found = evaluate_predictions(labels, probabilities, EXPRESSIONS, in_training=seen)
    right = [
        int(row.argmax() == label) for row, label, known in zip(probabilities, labels, seen, strict=True) if not known
    ]
    assert found.in_training == 67
    assert found.unseen is not None
    assert (found.unseen.n, found.unseen.accuracy) == (133, pytest.approx(sum(right) / 133))
    assert found.unseen.wilson_95 == wilson_interval(sum(right), 133)
    assert found.accuracy == evaluation.accuracy
    assert "of the 133 whose pixels do not occur in Training, 95% interval" in found.to_text()


@pytest.mark.parametrize(("seen", "count", "text"), [(None, None, ""), ([True] * 200, 200, "of every face occur in")])
def test_nothing_is_said_of_unseen_faces_where_there_are_none_or_nobody_knows(
    predictions: Any, seen: Any, count: int | None, text: str
) -> None:
    found = evaluate_predictions(*predictions, EXPRESSIONS, in_training=seen)
    assert (found.in_training, found.unseen) == (count, None)
    assert text in found.to_text()
    assert "whose pixels do not occur" not in found.to_text()


def test_the_most_confused_are_named_in_order() -> None:
    # True a: 1 right, 3 as b. True b: 4 right, 2 as a, 1 as c. True c: all right.
    labels = [0] * 4 + [1] * 7 + [2] * 2
    predicted = [0, 1, 1, 1] + [1] * 4 + [0, 0, 2] + [2, 2]
    found = evaluate_predictions(labels, np.eye(3)[predicted], ["fear", "sad", "happy"])
    directed = [(m.true, m.predicted, m.count, m.share) for m in found.most_confused]
    assert directed == [("fear", "sad", 3, 3 / 4), ("sad", "fear", 2, 2 / 7), ("sad", "happy", 1, 1 / 7)]
    pairs = [(p.pair, p.count, p.share) for p in found.most_confused_pairs]
    assert pairs == [("fear and sad", 5, 5 / 11), ("sad and happy", 1, 1 / 9)]


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([], np.ones((0, 2)), r"labels: expected one or more integers, shape \(N,\), found float64 \(0,\)"),
        ([[0]], [[1, 0]], r"labels: expected one or more integers, shape \(N,\), found int64 \(1, 1\)"),
        ([0.0], [[1, 0]], r"labels: expected one or more integers, shape \(N,\), found float64 \(1,\)"),
        ([0], [[1, 0, 0]], r"probabilities: expected shape \(1, 2\), found \(1, 3\)"),
        ([2], [[1, 0]], r"labels: expected 0\.\.1, found 2\.\.2"),
        ([-1], [[1, 0]], r"labels: expected 0\.\.1, found -1\.\.-1"),
        ([0], [[0.5, 0.6]], "probabilities: expected numbers in 0..1 that sum to 1 in each row"),
        ([0], [[1.5, -0.5]], "probabilities: expected numbers in 0..1 that sum to 1 in each row"),
        ([0], [[np.nan, 1]], "probabilities: expected numbers in 0..1 that sum to 1 in each row"),
    ],
)
def test_arrays_of_another_kind_are_refused(labels: Any, probabilities: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        evaluate_predictions(labels, probabilities, ["a", "b"])


def test_saved_tables_hold_what_was_computed(evaluation: Evaluation, tmp_path: Path) -> None:
    save_evaluation(evaluation, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["n"] == 200
    assert metrics["accuracy"] == evaluation.accuracy
    assert metrics["wilson_95"] == list(evaluation.wilson_95)
    assert metrics["classes"][3]["name"] == "happy"
    assert metrics["most_confused"][0]["count"] == evaluation.most_confused[0].count
    header, *rows = csv.reader((tmp_path / "confusion.csv").open(newline=""))
    assert header == ["true\\predicted", *EXPRESSIONS]
    assert [row[0] for row in rows] == list(EXPRESSIONS)
    assert [[int(cell) for cell in row[1:]] for row in rows] == evaluation.confusion.tolist()
    header, *rows = csv.reader((tmp_path / "per_class.csv").open(newline=""))
    assert header == ["class", "precision", "recall", "recall_low", "recall_high", "f1", "support"]
    happy = evaluation.classes[3]
    figures = [happy.precision, happy.recall, *happy.recall_wilson_95, happy.f1, happy.support]
    assert rows[3] == ["happy", *map(str, figures)]
    assert rows[1] == ["disgust", "0.0", "0.0", "", "", "0.0", "0"]


def test_the_picture_is_the_same_for_the_same_numbers_and_not_blank(evaluation: Evaluation, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_evaluation(evaluation, tmp_path / name, title="same")
    first, second = (tmp_path / name / "confusion.png" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    picture = np.asarray(Image.open(first).convert("RGB"))
    assert min(picture.shape[:2]) > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


@pytest.fixture
def labelled(images: Images, csv_of: Callable[..., str], tmp_path: Path) -> Path:
    split = ["Training"] * 10 + ["PublicTest"] * 20
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(images, emotion=[n % 7 for n in range(30)], Usage=split))
    return path


@pytest.mark.parametrize(("split", "chosen"), [(None, slice(0, 30)), ("PublicTest", slice(10, 30))])
def test_evaluate_counts_the_rows_given_and_no_other(
    labelled: Path, exports: Path, model: Any, images: Images, tmp_path: Path, split: str | None, chosen: slice
) -> None:
    found = evaluate(labelled, exports, tmp_path / "scores", split=split, device="cpu", batch_size=4)
    expected = evaluate_predictions(np.arange(30)[chosen] % 7, model.run(images[chosen])[1], EXPRESSIONS)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    assert found.nll == pytest.approx(expected.nll, abs=1e-5)
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == FILES


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_the_plain_figures_stand_beside_the_augmented_ones(
    labelled: Path, exports: Path, images: Images, tmp_path: Path, tta: str
) -> None:
    found = evaluate(labelled, exports, tmp_path / "scores", split="PublicTest", tta=tta, device="cpu", batch_size=7)
    labels, scorer = np.arange(10, 30) % 7, Scorer(exports, "cpu")
    expected = evaluate_predictions(labels, scorer.run(images[10:], tta=tta)[1], EXPRESSIONS)
    plain = evaluate_predictions(labels, scorer.run(images[10:])[1], EXPRESSIONS)
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert (metrics["data"], metrics["split"], metrics["n"]) == ("faces.csv", "PublicTest", 20)
    assert (metrics["tta"], metrics["accuracy"]) == (tta, expected.accuracy)
    assert metrics["nll"] == pytest.approx(expected.nll, rel=1e-5)
    text = found.to_text()
    if tta == "none":
        assert metrics["plain"] is None
        assert text.startswith("faces.csv, PublicTest; no test-time augmentation\naccuracy ")
        assert "without augmentation" not in text
    else:
        assert metrics["plain"]["accuracy"] == plain.accuracy
        assert metrics["plain"]["nll"] == pytest.approx(plain.nll, rel=1e-5)
        assert "confusion" not in metrics["plain"]
        assert text.startswith("faces.csv, PublicTest; test-time augmentation flip, 2 copies per face\naccuracy ")
        assert f"\nwithout augmentation:\naccuracy {plain.accuracy:.2%} of 20 faces, 95% interval " in text


def test_training_rows_are_taken_from_the_data_or_from_the_file_named(
    labelled: Path, exports: Path, images: Images, csv_of: Callable[..., str], tmp_path: Path
) -> None:
    repeats = images.copy()
    repeats[10:13] = images[:3]  # stand in Training, too
    labelled.write_text(
        csv_of(repeats, emotion=[n % 7 for n in range(30)], Usage=["Training"] * 10 + ["PublicTest"] * 20)
    )
    settings: dict[str, Any] = {"split": "PublicTest", "device": "cpu", "force": True}
    assert evaluate(labelled, exports, tmp_path / "scores", **settings).in_training == 3
    (tmp_path / "train.csv").write_text(csv_of(repeats[15:]))
    named = evaluate(labelled, exports, tmp_path / "scores", training=tmp_path / "train.csv", **settings)
    assert named.in_training == 15
    assert named.unseen is not None
    assert named.unseen.n == 5
    (tmp_path / "public.csv").write_text(csv_of(repeats[10:], emotion=[n % 7 for n in range(20)]))
    assert evaluate(tmp_path / "public.csv", exports, tmp_path / "scores", device="cpu", force=True).in_training is None


def test_faces_without_labels_are_refused(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path
) -> None:
    (tmp_path / "test.csv").write_text(csv_of(images))
    with pytest.raises(DataError, match=r"test\.csv: has no labels; expected a column 'emotion' or 'label'"):
        evaluate(tmp_path / "test.csv", exports, tmp_path / "scores", device="cpu")
    assert not (tmp_path / "scores").exists()


def test_a_split_without_rows_is_refused(labelled: Path, exports: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.csv: has no row of split 'PrivateTest'; found .*$"):
        evaluate(labelled, exports, tmp_path / "scores", split="PrivateTest", device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv"]


def test_a_model_of_other_classes_is_refused(labelled: Path, model_class: Any, tmp_path: Path) -> None:
    folder = model_class(labels=("calm", "moved")).save(tmp_path / "two")
    with pytest.raises(ModelError, match=r"model\.onnx: expected classes \('angry',.*found \('calm', 'moved'\)$"):
        evaluate(labelled, folder, tmp_path / "scores", device="cpu")


def test_an_existing_folder_needs_force(labelled: Path, exports: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores"
    evaluate(labelled, exports, scores, device="cpu")
    with pytest.raises(OutputError, match=r"scores: exists already; `force=True` replaces it$"):
        evaluate(labelled, exports, scores, device="cpu")
    (scores / "metrics.json").write_text("old")
    evaluate(labelled, exports, scores, device="cpu", force=True)
    assert sorted(path.name for path in scores.iterdir()) == FILES
    assert (scores / "metrics.json").read_text() != "old"


def test_what_a_user_keeps_in_an_earlier_output_survives_force(labelled: Path, exports: Path, tmp_path: Path) -> None:
    evaluate(labelled, exports, tmp_path / "scores", device="cpu")
    (tmp_path / "scores" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"scores: contains notes\.txt, which does not belong to such an output"):
        evaluate(labelled, exports, tmp_path / "scores", device="cpu", force=True)
    assert (tmp_path / "scores" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("split", [None, "PublicTest"])
def test_wrong_rows_are_left_out_where_asked_for_and_counted_and_listed(
    labelled: Path, exports: Path, tmp_path: Path, split: str | None
) -> None:
    expected = evaluate(labelled, exports, tmp_path / "expected", split=split, device="cpu")
    with labelled.open("a") as file:
        file.write("1 2 3,4,PublicTest\n" if labelled.read_text().startswith("pixels") else "4,1 2 3,PublicTest\n")
    with pytest.raises(DataError, match=r"faces\.csv row 32, column "):
        evaluate(labelled, exports, tmp_path / "scores", split=split, device="cpu")
    assert not (tmp_path / "scores").exists()
    found = evaluate(labelled, exports, tmp_path / "scores", split=split, device="cpu", on_error="skip")
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    assert (found.rows_left_out, expected.rows_left_out) == (1, 0)
    assert "\nrows left out: 1\naccuracy " in found.to_text()
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["rows_left_out"] == 1
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == sorted([*FILES, "rejects.csv"])
    lines = (tmp_path / "scores" / "rejects.csv").read_text().splitlines()
    assert lines[0] == "file,row,column,message"
    assert lines[1].startswith(f"{labelled},32,")


def test_data_of_which_every_row_is_left_out_are_refused(exports: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("emotion,pixels\n3,1 2 3\n")
    with pytest.raises(DataError, match=r"bad\.csv: has no row to evaluate; rows left out: 1$"):
        evaluate(tmp_path / "bad.csv", exports, tmp_path / "scores", device="cpu", on_error="skip")


def test_a_member_of_an_archive_is_evaluated_with_its_training_rows(
    labelled: Path, exports: Path, tmp_path: Path
) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(labelled, "data/faces.csv")
        archive.writestr("data/other.csv", "x")
    expected = evaluate(labelled, exports, tmp_path / "a", device="cpu")
    found = evaluate(tmp_path / "data.zip" / "faces.csv", exports, tmp_path / "b", device="cpu")
    assert (found.in_training, found.accuracy) == (expected.in_training, expected.accuracy)


# One pass over the data


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_data_are_read_once_wherever_the_training_rows_are(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, order: slice, monkeypatch: Any
) -> None:
    repeats = images.copy()
    repeats[10:13] = images[:3]  # also occur in Training
    splits = ["Training"] * 10 + ["PublicTest"] * 20
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(repeats[order], emotion=[n % 7 for n in range(30)][order], Usage=splits[order]))
    monkeypatch.setattr(one_pass, "BATCH_ROWS", 4)
    calls = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return iter_faces(*arguments, **options)

    monkeypatch.setattr(one_pass, "iter_faces", counted)
    found = evaluate(data, exports, tmp_path / "scores", split="PublicTest", device="cpu")
    assert (found.n, found.in_training, len(calls)) == (20, 3, 1)
    assert found.unseen is not None
    assert found.unseen.n == 17


def test_training_rows_on_standard_input_are_known_too(
    labelled: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluate(labelled, exports, tmp_path / "a", device="cpu", split="PublicTest")
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(labelled.read_bytes())))
    monkeypatch.setattr("sys.stdin", stdin)
    found = evaluate("-", exports, tmp_path / "b", device="cpu", split="PublicTest")
    assert found.in_training == expected.in_training == 0
    np.testing.assert_array_equal(found.confusion, expected.confusion)


def test_a_pipe_without_splits_is_refused_where_a_split_is_asked_for(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = csv_of(images, emotion=[n % 7 for n in range(30)])
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(text.encode()))))
    with pytest.raises(DataError, match=r"^-: has no Usage column; cannot select PublicTest rows$"):
        evaluate("-", exports, tmp_path / "scores", device="cpu", split="PublicTest")
    assert not (tmp_path / "scores").exists()


def test_only_the_needed_images_of_a_folder_are_opened(images: Images, exports: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for split, chosen in (("train", [0, 1]), ("PublicTest", [1, 2, 3]), ("PrivateTest", [4])):
        (tree / split / "happy").mkdir(parents=True)
        for n in chosen:
            Image.fromarray(images[n]).save(tree / split / "happy" / f"{n}.png")
    (tree / "PrivateTest" / "happy" / "broken.png").write_bytes(b"not an image")
    found = evaluate(tree, exports, tmp_path / "scores", device="cpu", split="PublicTest")
    assert (found.n, found.in_training) == (3, 1)
    first = evaluate(tree, exports, tmp_path / "limited", device="cpu", split="PublicTest", limit=1)
    assert (first.n, first.in_training) == (1, 1)


@pytest.mark.parametrize("split", [None, "PublicTest"])
def test_a_limit_takes_the_first_faces_and_still_finds_all_training_rows(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, split: str | None
) -> None:
    repeats = images.copy()
    repeats[25] = images[1]  # Training, after the evaluated faces
    splits = ["PublicTest"] * 20 + ["Training"] * 10
    (tmp_path / "faces.csv").write_text(csv_of(repeats, emotion=[n % 7 for n in range(30)], Usage=splits))
    found = evaluate(tmp_path / "faces.csv", exports, tmp_path / "scores", device="cpu", split=split, limit=5)
    assert (found.n, found.in_training) == (5, 1)
    assert found.confusion.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_a_limit_of_a_file_without_splits_stops_reading(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_pass, "BATCH_ROWS", 2)
    batches = []

    def counted(*arguments: Any, **options: Any) -> Any:
        for faces in iter_faces(*arguments, **options):
            batches.append(len(faces))
            yield faces

    monkeypatch.setattr(one_pass, "iter_faces", counted)
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images, emotion=[n % 7 for n in range(30)]))
    assert evaluate(data, exports, tmp_path / "scores", device="cpu", limit=3).n == 3
    assert len(batches) <= 2 + READ_AHEAD + 3 < 15


# For notebooks


def test_tables_are_data_frames(evaluation: Evaluation) -> None:
    classes, confusion = evaluation.to_pandas(), evaluation.to_pandas("confusion")
    assert classes.index.tolist() == confusion.index.tolist() == confusion.columns.tolist() == list(EXPRESSIONS)
    np.testing.assert_array_equal(confusion.to_numpy(), evaluation.confusion)
    happy = evaluation.classes[3]
    assert classes.loc["happy"].tolist() == [
        happy.precision,
        happy.recall,
        *happy.recall_wilson_95,  # type: ignore[misc]
        happy.f1,
        happy.support,
    ]
    assert classes["recall_low"].isna().tolist() == [score.support == 0 for score in evaluation.classes]
    with pytest.raises(ConfigError, match=r"^table: expected one of classes, confusion, found 'rows'$"):
        evaluation.to_pandas("rows")


def test_without_pandas_its_installation_is_named(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(FerError, match=r"^pandas is not installed; pip install pandas$"):
        evaluation.to_pandas()


def test_an_evaluation_shows_its_accuracy(evaluation: Evaluation) -> None:
    assert repr(evaluation) == f"Evaluation({evaluation.summary_lines()[0]})"
    found = replace(evaluation, n=3589, accuracy=0.5, wilson_95=(0.4, 0.6))
    assert repr(found) == "Evaluation(accuracy 50.00% of 3,589 faces, 95% interval 40.00% to 60.00%)"


def test_a_notebook_shows_figures_and_escapes_names() -> None:
    evaluation = evaluate_predictions([0, 1, 1], np.full((3, 2), 0.5), ["<b>&", "calm"])
    shown = evaluation._repr_html_()
    assert "<th>&lt;b&gt;&amp;</th>" in shown
    assert "<b>" not in shown
    assert "accuracy 33.33% of 3 faces, 95% interval" in shown
    assert "no better than chance: always predicting calm has an accuracy of 66.67%" in shown
    assert shown.count("<tr>") == 3

"""A card comes back as it went, and one that is incomplete or wrong is refused with its file's name."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_card import CARD

from fer_core import EXPRESSIONS, CardError, ModelCard

KEYS = [field.name for field in fields(ModelCard)]


def saved(folder: Path, table: Any) -> Path:
    path = folder / "card.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table), encoding="utf-8")
    return path


# Round trips


def test_a_card_comes_back_from_metadata() -> None:
    metadata = CARD.to_metadata()
    assert sorted(metadata) == sorted(KEYS)
    assert all(type(text) is str and json.loads(text) is not None for text in metadata.values())
    assert ModelCard.from_metadata(metadata, "model.onnx") == CARD


def test_a_card_comes_back_from_its_json_file(tmp_path: Path) -> None:
    CARD.save_json(tmp_path / "card.json")
    assert ModelCard.load_json(tmp_path / "card.json") == CARD
    assert json.loads((tmp_path / "card.json").read_bytes())["training_data"] == CARD.training_data


def test_metadata_and_json_file_hold_the_same(tmp_path: Path) -> None:
    CARD.save_json(tmp_path / "card.json")
    table = json.loads((tmp_path / "card.json").read_bytes())
    assert {key: json.loads(text) for key, text in CARD.to_metadata().items()} == table


def test_tables_are_at_once_what_a_reader_will_find() -> None:
    assert CARD.architecture_arguments["widths"] == [48, 96, 192]
    assert replace(CARD, scores={7: (1, 2)}).scores == {"7": [1, 2]}


def test_a_card_shares_no_table_with_its_maker() -> None:
    scores: dict[str, Any] = {"PublicTest": {"n": 1}}
    card = replace(CARD, scores=scores)
    scores["PublicTest"]["n"] = 2
    assert card.scores == {"PublicTest": {"n": 1}}


# What is refused


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named_with_its_file(tmp_path: Path, key: str) -> None:
    metadata = CARD.to_metadata()
    del metadata[key]
    with pytest.raises(CardError, match=rf"^model\.onnx: the model card has no {key}$"):
        ModelCard.from_metadata(metadata, "model.onnx")

    table = asdict(CARD)
    del table[key]
    path = saved(tmp_path, table)
    with pytest.raises(CardError) as failure:
        ModelCard.load_json(path)
    assert str(failure.value) == f"{path}: the model card has no {key}"


def test_all_missing_and_all_unknown_keys_are_named() -> None:
    with pytest.raises(CardError, match=f"^x: the model card has no {', '.join(sorted(KEYS))}$"):
        ModelCard.from_metadata({}, "x")
    with pytest.raises(CardError, match=r"^x: the model card has an unknown colour, onnx\.infer$"):
        ModelCard.from_metadata(CARD.to_metadata() | {"onnx.infer": '"q"', "colour": "1"}, "x")


FITTED = {
    "value": 1.25,
    "fitted_on": "PublicTest",
    "n": 3589,
    "nll_before": 1.1,
    "nll_after": 1.0,
    "ece_before": 0.1,
    "ece_after": 0.01,
}
TEMPERATURE = "value > 0, fitted_on and, if it was fitted, its figures"
TABLE = "a table that JSON can store"
WRONG_VALUES: list[tuple[str, Any, str]] = [
    ("schema_version", 1, "2"),
    ("schema_version", "2", "2"),
    ("schema_version", True, "2"),
    ("schema_version", 2.0, "2"),
    ("architecture", "", "a text"),
    ("architecture", 7, "a text"),
    ("selection", None, "a text"),
    ("git_commit", "", "a text"),
    ("architecture_arguments", [], TABLE),
    ("scores", "none", TABLE),
    ("versions", None, TABLE),
    ("labels", ["angry"], "two or more distinct names of columns other than id, label, source"),
    ("labels", ["angry", "angry"], "two or more distinct names of columns other than id, label, source"),
    ("labels", ["angry", ""], "two or more distinct names of columns other than id, label, source"),
    ("labels", ["angry", "sad\n"], "two or more distinct names of columns other than id, label, source"),
    ("labels", ["angry", "label"], "two or more distinct names of columns other than id, label, source"),
    ("labels", ["angry", 7], "two or more distinct names of columns other than id, label, source"),
    ("labels", [["angry"], ["sad"]], "two or more distinct names of columns other than id, label, source"),
    ("labels", "angry", "two or more distinct names of columns other than id, label, source"),
    ("input_size", [48], "(48, 48)"),
    ("input_size", [64, 64], "(48, 48)"),
    ("input_size", [48.0, 48.0], "(48, 48)"),
    ("input_size", 48, "(48, 48)"),
    ("standardization", [129.4, 65.1], TABLE),
    ("standardization", {"mean": 129.4}, "mean and std > 0"),
    ("standardization", {"mean": 129.4, "std": 0}, "mean and std > 0"),
    ("standardization", {"mean": 129.4, "std": -1.0}, "mean and std > 0"),
    ("standardization", {"mean": True, "std": 1.0}, "mean and std > 0"),
    ("standardization", {"mean": "129", "std": 1.0}, "mean and std > 0"),
    ("standardization", {"mean": 129.4, "std": 65.1, "gamma": 1.0}, "mean and std > 0"),
    ("temperature", 1.0, TABLE),
    ("temperature", {}, TEMPERATURE),
    ("temperature", {"value": 1.0}, TEMPERATURE),
    ("temperature", {"value": 1.2, "fitted_on": "none"}, TEMPERATURE),
    ("temperature", {"value": True, "fitted_on": "none"}, TEMPERATURE),
    ("temperature", {"value": 1.0, "fitted_on": "PublicTest"}, TEMPERATURE),
    ("temperature", FITTED | {"value": 0.0}, TEMPERATURE),
    ("temperature", FITTED | {"value": "1.2"}, TEMPERATURE),
    ("temperature", FITTED | {"fitted_on": "none"}, TEMPERATURE),
    ("temperature", FITTED | {"fitted_on": ""}, TEMPERATURE),
    ("temperature", FITTED | {"n": 0}, TEMPERATURE),
    ("temperature", FITTED | {"n": 2.5}, TEMPERATURE),
    ("temperature", FITTED | {"ece_after": None}, TEMPERATURE),
    ("temperature", FITTED | {"brier": 0.1}, TEMPERATURE),
    ("precision", "fp64", "one of fp32, int8, fp16"),
    ("precision", ["fp32"], "one of fp32, int8, fp16"),
    ("weights_sha256", "0" * 63, "64 hexadecimal digits"),
    ("weights_sha256", "G" * 64, "64 hexadecimal digits"),
    ("weights_sha256", "0" * 64 + "\n", "64 hexadecimal digits"),
    ("weights_sha256", 0, "64 hexadecimal digits"),
    ("seeds", [], "one or more integers"),
    ("seeds", [True], "one or more integers"),
    ("seeds", [1.5], "one or more integers"),
    ("seeds", 3, "one or more integers"),
]


@pytest.mark.parametrize(("key", "value", "expected"), WRONG_VALUES)
def test_a_wrong_value_is_named_with_its_file(tmp_path: Path, key: str, value: Any, expected: str) -> None:
    found = repr(tuple(value) if isinstance(value, list) else value)
    with pytest.raises(CardError) as failure:
        ModelCard.from_metadata(CARD.to_metadata() | {key: json.dumps(value)}, "model.onnx")
    assert str(failure.value) == f"model.onnx: model card, {key}: expected {expected}, found {found}"

    path = saved(tmp_path, asdict(CARD) | {key: value})
    with pytest.raises(CardError) as failure:
        ModelCard.load_json(path)
    assert str(failure.value) == f"{path}: model card, {key}: expected {expected}, found {found}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(0.5), {1, 2}])
def test_a_figure_that_no_json_file_can_hold_is_refused_when_the_card_is_made(value: Any) -> None:
    with pytest.raises(CardError, match=r"^scores: expected a table that JSON can store, found "):
        replace(CARD, scores={"accuracy": value})


@pytest.mark.parametrize(
    "text", ["", "fp32", "{", '{"a": 1, "a": 2}', "[" * 100_000, None], ids=lambda text: str(text)[:9]
)
def test_metadata_that_is_no_json_is_named_with_its_key(text: Any) -> None:
    with pytest.raises(CardError, match=r"^model\.onnx: model card, scores: expected JSON, found "):
        ModelCard.from_metadata(CARD.to_metadata() | {"scores": text}, "model.onnx")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"labels": [], "labels": []}', "a key is repeated: labels"),
        ('{"scores": {"n": 1, "n": 2}}', "a key is repeated: n"),
        ("[" * 100_000, "maximum recursion depth"),
    ],
    ids=["empty", "cut short", "key twice", "inner key twice", "endless"],
)
def test_a_file_that_is_no_card_is_named(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(CardError, match=rf"card\.json: cannot be read as a model card: {reason}"):
        ModelCard.load_json(saved(tmp_path, content))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError) as failure:
        ModelCard.load_json(tmp_path / "card.json")
    assert str(failure.value) == f"{tmp_path}/card.json: cannot be read as a model card: No such file or directory"
    (tmp_path / "card.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CardError, match="cannot be read as a model card: 'utf-8' codec can't decode"):
        ModelCard.load_json(tmp_path / "card.json")
    with pytest.raises(CardError, match=r"card\.json: expected a model card, found list$"):
        ModelCard.load_json(saved(tmp_path, []))


def test_a_card_tells_its_temperature_in_a_line() -> None:
    assert CARD.temperature_text() == "temperature 1, not fitted"
    assert replace(CARD, temperature=FITTED).temperature_text() == (
        "temperature 1.2500, fitted on 3,589 PublicTest faces: expected calibration error from 0.1000 to 0.0100, "
        "negative log likelihood from 1.1000 to 1.0000"
    )


# Comparison


def test_equal_cards_and_cards_of_another_precision_agree() -> None:
    CARD.require_equal(replace(CARD), "a", "b")
    CARD.require_equal(replace(CARD, precision="int8", selection="otherwise", scores={}), "a", "b")
    assert CARD.precision == "fp32"


@pytest.mark.parametrize("changes", [{"selection": "otherwise"}, {"scores": {}}])
def test_selection_and_scores_differ_between_precisions_only(changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(CardError, match=f"^a and b disagree on {key}"):
        CARD.require_equal(replace(CARD, **changes), "a", "b")


def test_cards_of_another_precision_are_of_the_same_weights() -> None:
    with pytest.raises(CardError, match=r"^a and b disagree on weights_sha256"):
        CARD.require_equal(replace(CARD, precision="int8", weights_sha256="1" * 64), "a", "b")


DIFFERENCES: list[tuple[str, Any, str]] = [
    ("architecture", "course-dnn", "architecture: 'course-cnn' and 'course-dnn'"),
    ("labels", ("a", "b"), f"labels: {EXPRESSIONS!r:.80} and ('a', 'b')"),
    ("weights_sha256", "1" * 64, f"weights_sha256: {CARD.weights_sha256!r} and {'1' * 64!r}"),
    ("seeds", (0,), "seeds: (0, 7) and (0,)"),
    ("git_commit", "abc", "git_commit: 'unknown' and 'abc'"),
    (
        "training_data",
        CARD.training_data | {"rows": {"Training": 28708, "PublicTest": 3589}},
        "training_data.rows.Training: 28709 and 28708",
    ),
    ("scores", {}, f"scores.PublicTest: {CARD.scores['PublicTest']!r:.80} and 'nothing'"),
    ("versions", {"torch": "2.13.0", "numpy": "2.4"}, "versions.numpy: 'nothing' and '2.4'"),
    ("versions", {"torch": None}, "versions.torch: '2.13.0' and None"),
    ("versions", {"torch": "2.13.0", "numpy": None}, "versions.numpy: 'nothing' and None"),
]


@pytest.mark.parametrize(("key", "value", "message"), DIFFERENCES)
def test_the_key_in_which_cards_differ_is_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(CardError) as failure:
        CARD.require_equal(replace(CARD, **{key: value}), "model.onnx", "card.json")
    assert str(failure.value) == f"model.onnx and card.json disagree on {message}"

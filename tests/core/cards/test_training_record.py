"""What a card says about training data and ancestors is checked, key by key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from example_card import CARD

from fer_core import CardError, ModelCard
from fer_core.cards.training_record import MAX_GENERATIONS

RECORD = CARD.training_data
NETWORK = {"architecture": "compact", "weights_sha256": "a" * 64, "seeds": [0], "training_data": RECORD}
EARLIER = {"architecture": "compact", "weights_sha256": "b" * 64}
EXPORTS = Path(__file__).parents[3] / "exports"

WHOLE = RECORD | {
    "validation_sha256": "e" * 64,
    "dropped": {"conflicts": 12, "leaks": 0},
    "held_out": {"fraction": 0.1, "seed": 3},
    "rows_left_out": 2,
    "initial": EARLIER,
    "teachers": [NETWORK | {"temperature": 0.97}, EARLIER | {"temperature": 1}, EARLIER],
    "members": [NETWORK, NETWORK | {"training_data": RECORD | {"initial": NETWORK}}],
}


def nested(generations: int) -> dict[str, Any]:
    record: dict[str, Any] = RECORD
    for _ in range(generations):
        record = RECORD | {"initial": NETWORK | {"training_data": record}}
    return record


@pytest.mark.parametrize("record", [RECORD, WHOLE, nested(MAX_GENERATIONS)])
def test_a_record_that_keeps_its_promises_comes_back(record: dict[str, Any]) -> None:
    card = replace(CARD, training_data=record)
    assert ModelCard.from_metadata(card.to_metadata(), "x").training_data == json.loads(json.dumps(record))


@pytest.mark.parametrize("folder", sorted(path.parent for path in EXPORTS.glob("*/card.json")), ids=lambda f: f.name)
def test_the_cards_of_the_shipped_models_load(folder: Path) -> None:
    assert ModelCard.load_json(folder / "card.json").training_data["rows"]["Training"] == 28709


def without(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


SHA = "expected 64 hexadecimal digits, found"
ROWS = ".rows: expected the number of rows of Training and other splits, found"
COUNTS = ".dropped: expected numbers of faces by reason, found"
DRAW = ".held_out: expected a fraction between 0 and 1 and a seed, found"
LIST = "expected a list of one or more networks, found"
SEEDS = "expected one or more integers, found"
WRONG = [
    ({}, ": expected source, sha256, rows, found no source"),
    (without(RECORD, "rows"), ": expected source, sha256, rows, found no rows"),
    (RECORD | {"teacher": [NETWORK]}, ": expected source, sha256, rows, found an unknown teacher"),
    (RECORD | {"source": ""}, ".source: expected a text, found ''"),
    (RECORD | {"source": 3}, ".source: expected a text, found 3"),
    (RECORD | {"sha256": "f" * 63}, f".sha256: {SHA} '{'f' * 63}'"),
    (RECORD | {"validation_sha256": None}, f".validation_sha256: {SHA} None"),
    (RECORD | {"rows": {}}, f"{ROWS} {{}}"),
    (RECORD | {"rows": {"PublicTest": 3}}, f"{ROWS} {{'PublicTest': 3}}"),
    (RECORD | {"rows": {"Training": 0}}, f"{ROWS} {{'Training': 0}}"),
    (RECORD | {"rows": {"Training": True}}, f"{ROWS} {{'Training': True}}"),
    (RECORD | {"rows": {"Training": 5, "PublicTest": -1}}, f"{ROWS} {{'Training': 5, 'PublicTest': -1}}"),
    (RECORD | {"rows": {"Training": "5"}}, f"{ROWS} {{'Training': '5'}}"),
    (RECORD | {"rows": [5]}, f"{ROWS} [5]"),
    (RECORD | {"dropped": {"conflicts": 1.5}}, f"{COUNTS} {{'conflicts': 1.5}}"),
    (RECORD | {"dropped": 3}, f"{COUNTS} 3"),
    (RECORD | {"held_out": {"fraction": 1.0, "seed": 0}}, f"{DRAW} {{'fraction': 1.0, 'seed': 0}}"),
    (RECORD | {"held_out": {"fraction": 0.5}}, f"{DRAW} {{'fraction': 0.5}}"),
    (RECORD | {"held_out": {"fraction": 0.5, "seed": -1}}, f"{DRAW} {{'fraction': 0.5, 'seed': -1}}"),
    (RECORD | {"held_out": None}, f"{DRAW} None"),
    (RECORD | {"rows_left_out": -1}, ".rows_left_out: expected a number of rows, found -1"),
    (RECORD | {"initial": [NETWORK]}, f".initial: expected a table that describes a network, found {[NETWORK]!r:.200}"),
    (RECORD | {"initial": {}}, ".initial: expected architecture, weights_sha256, found no architecture"),
    (RECORD | {"initial": EARLIER | {"architecture": None}}, ".initial.architecture: expected a text, found None"),
    (RECORD | {"initial": EARLIER | {"weights_sha256": "b"}}, f".initial.weights_sha256: {SHA} 'b'"),
    (
        RECORD | {"initial": EARLIER | {"temperature": 1.0}},
        ".initial: expected architecture, weights_sha256, found an unknown temperature",
    ),
    (
        RECORD | {"initial": EARLIER | {"seeds": [1]}},
        ".initial: expected architecture, weights_sha256, seeds, training_data, found no training_data",
    ),
    (
        RECORD | {"initial": EARLIER | {"training_data": RECORD}},
        ".initial: expected architecture, weights_sha256, seeds, training_data, found no seeds",
    ),
    (RECORD | {"teachers": []}, f".teachers: {LIST} []"),
    (RECORD | {"teachers": NETWORK}, f".teachers: {LIST} {NETWORK!r:.200}"),
    (RECORD | {"teachers": ["compact"]}, f".teachers: {LIST} ['compact']"),
    (RECORD | {"teachers": [EARLIER, NETWORK | {"seeds": []}]}, f".teachers[1].seeds: {SEEDS} []"),
    (RECORD | {"teachers": [NETWORK | {"seeds": [1.5]}]}, f".teachers[0].seeds: {SEEDS} [1.5]"),
    (
        RECORD | {"teachers": [EARLIER | {"temperature": 0}]},
        ".teachers[0].temperature: expected a number above 0, found 0",
    ),
    (
        RECORD | {"teachers": [EARLIER | {"temperature": True}]},
        ".teachers[0].temperature: expected a number above 0, found True",
    ),
    (
        RECORD | {"members": [NETWORK, EARLIER]},
        ".members[1]: expected architecture, weights_sha256, seeds, training_data, found no seeds",
    ),
    (
        RECORD | {"members": [NETWORK | {"training_data": without(RECORD, "sha256")}]},
        ".members[0].training_data: expected source, sha256, rows, found no sha256",
    ),
    (
        RECORD | {"members": [NETWORK | {"training_data": RECORD | {"initial": EARLIER | {"seeds": [1]}}}]},
        ".members[0].training_data.initial: expected architecture, weights_sha256, seeds, training_data, "
        "found no training_data",
    ),
]


@pytest.mark.parametrize(("record", "message"), WRONG)
def test_a_broken_promise_is_named_by_its_path(record: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError) as failure:
        ModelCard.from_metadata(CARD.to_metadata() | {"training_data": json.dumps(record)}, "model.onnx")
    assert str(failure.value) == f"model.onnx: model card, training_data{message}"


@pytest.mark.parametrize("generations", [MAX_GENERATIONS + 1, 200])
def test_an_endless_lineage_is_refused(generations: int) -> None:
    with pytest.raises(CardError, match=r"expected at most 16 generations of ancestors, found more$"):
        replace(CARD, training_data=nested(generations))

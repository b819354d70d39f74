"""The table that a notebook shows for a card."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from example_card import CARD
from report_page import Page

from fer_core import ModelCard

EXPORTS = Path(__file__).parents[3] / "exports"
HOSTILE = '<script>alert("1")</script>&amp;'


def rows_of(card: ModelCard) -> dict[str, str]:
    """The rows of the table, each tag balanced."""
    table = card._repr_html_()
    Page(table)
    rows = re.findall("<tr><th[^>]*>([^<]*)</th><td[^>]*>([^<]*)</td></tr>", table)
    assert len(rows) == table.count("<tr>")
    return {unescape(name): unescape(text) for name, text in rows}


def test_a_card_is_summarized() -> None:
    network = {"architecture": "compact", "weights_sha256": "a" * 64}
    member = network | {"seeds": [0], "training_data": CARD.training_data}
    data = CARD.training_data | {"initial": network, "teachers": [network, network], "members": [member]}
    scores = {
        "PublicTest": {"n": 3589, "accuracy": 0.7, "wilson_95": [0.685, 0.715], "tta": "none"},
        "test": {"n": 10, "accuracy": 1.0, "wilson_95": [0.7, 1], "tta": "flip"},
    }
    assert rows_of(replace(CARD, training_data=data, scores=scores)) == {
        "Architecture": "course-cnn (widths=[48, 96, 192], dropout=0.5, batch_norm=False)",
        "Classes": "angry, disgust, fear, happy, sad, surprise, neutral",
        "Precision": "fp32",
        "Accuracy on PublicTest": "70.00% (n = 3,589; 95% confidence interval 68.50% to 71.50%; "
        "test-time augmentation: none)",
        "Accuracy on test": "100.00% (n = 10; 95% confidence interval 70.00% to 100.00%; test-time augmentation: flip)",
        "Training data": "28,709 Training faces of fer2013.csv; validated on 3,589 PublicTest faces",
        "Lineage": "initialized with compact aaaaaaaaaaaa; taught by compact aaaaaaaaaaaa and compact aaaaaaaaaaaa; "
        "ensemble of compact aaaaaaaaaaaa",
        "Weights": "the last epoch; nothing was chosen — «é»",
        "sha256": "0123456789ab",
    }


def test_every_text_is_escaped() -> None:
    network = {"architecture": HOSTILE, "weights_sha256": "a" * 64}
    card = replace(
        CARD,
        architecture=HOSTILE,
        architecture_arguments={HOSTILE: HOSTILE},
        labels=(HOSTILE, "sad"),
        scores={HOSTILE: HOSTILE},
        selection=HOSTILE,
        training_data=CARD.training_data
        | {"source": HOSTILE, "rows": {"Training": 1, HOSTILE: 2}, "initial": network, "teachers": [network]},
    )
    rows = rows_of(card)
    assert "<script" not in card._repr_html_()
    assert rows["Classes"] == f"{HOSTILE}, sad"
    assert rows[f"Accuracy on {HOSTILE}"] == HOSTILE
    assert rows["Training data"] == f"1 Training faces of {HOSTILE}; validated on 2 {HOSTILE} faces"


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"PublicTest": 0.5},
        {"PublicTest": {}},
        {"PublicTest": {"accuracy": None}},
        {"PublicTest": {"accuracy": 0.5, "n": "many", "wilson_95": [0.1], "tta": 3}},
    ],
)
def test_scores_of_any_form_are_shown(scores: dict[str, object]) -> None:
    shown = rows_of(replace(CARD, scores=scores))
    assert [name for name in shown if name.startswith("Accuracy")] == [f"Accuracy on {name}" for name in scores]


@pytest.mark.parametrize("name", ["best", "compact", "course-cnn", "course-dnn"])
def test_the_shipped_cards_are_summarized(name: str) -> None:
    assert rows_of(ModelCard.load_json(EXPORTS / name / "card.json"))["Precision"] == "fp32"

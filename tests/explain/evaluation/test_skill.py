"""Whether a model is better than chance: by labels it was not trained on, else by its card."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import DNN, make_card, make_network

from fer_core import Faces, TrainingWarning
from fer_explain.evaluation.skill import assess_skill

CARD = replace(make_card(make_network("course-dnn", DNN), "course-dnn", DNN), scores={})


def make_faces(labels: np.ndarray, split: str | None = None) -> Faces:
    n = len(labels)
    split = None if split is None else np.full(n, split)
    return Faces(np.zeros((n, 48, 48), np.uint8), np.arange(n), labels, splits=split)


def predict(labels: np.ndarray, sure: float = 0.9) -> np.ndarray:
    probabilities = np.full((len(labels), 7), (1 - sure) / 6, np.float32)
    probabilities[np.arange(len(labels)), labels] = sure
    return probabilities


def with_score(accuracy: float, n: int, **more: object) -> object:
    return replace(CARD, scores={"PublicTest": {"accuracy": accuracy, "n": n, **more}})


def test_a_model_that_beats_the_most_frequent_class_is_better_than_chance() -> None:
    labels = np.arange(70) % 7
    skill = assess_skill(CARD, make_faces(labels), predict(np.where(np.arange(70) < 35, labels, (labels + 1) % 7)))
    assert (skill.shown, skill.title) == (True, "better than chance")
    assert "Its accuracy on 70 labeled faces is 50.0%; always predicting angry would reach 14.3%" in skill.evidence


@pytest.mark.parametrize("answer", ["shuffled", "constant"])
def test_guesses_and_a_constant_answer_are_no_better_than_chance_whatever_the_card_says(answer: str) -> None:
    labels = np.repeat(np.arange(7), [40, 10, 30, 60, 30, 20, 30])
    said = np.random.default_rng(0).permutation(labels) if answer == "shuffled" else np.full(len(labels), 3)
    skill = assess_skill(with_score(0.7, 3589), make_faces(labels), predict(said))  # type: ignore[arg-type]
    assert (skill.shown, skill.title) == (False, "no better than chance")
    assert "always predicting happy would reach 27.3%" in skill.evidence


def test_an_accuracy_above_the_most_frequent_class_but_not_significantly_is_not_called_chance() -> None:
    labels = np.arange(70) % 7
    said = np.where(np.arange(70) < 16, labels, (labels + 1) % 7)
    skill = assess_skill(with_score(0.7, 3589), make_faces(labels), predict(said))  # type: ignore[arg-type]
    assert (skill.shown, skill.title) == (False, "not shown to be better than chance")
    assert "Its accuracy on 70 labeled faces is 22.9%" in skill.evidence


def test_a_few_labels_that_show_nothing_leave_the_answer_to_the_card() -> None:
    labels, said = np.arange(14) % 7, np.zeros(14, np.int64)
    faces, probabilities = make_faces(labels), predict(said)
    assert assess_skill(with_score(0.7, 3589), faces, probabilities).shown  # type: ignore[arg-type]
    assert not assess_skill(CARD, faces, probabilities).shown
    one_class = make_faces(np.zeros(90, np.int64))
    assert assess_skill(with_score(0.7, 3589), one_class, predict(np.zeros(90, np.int64))).shown  # type: ignore[arg-type]


def test_labels_that_the_model_was_trained_on_do_not_count() -> None:
    labels = np.arange(140) % 7
    assert assess_skill(CARD, make_faces(labels, "PublicTest"), predict(labels)).shown
    assert not assess_skill(CARD, make_faces(labels, "Training"), predict(labels)).shown


@pytest.mark.parametrize(
    ("score", "shown", "title"),
    [
        ({"accuracy": 0.6659, "n": 3589}, True, "better than chance"),
        ({"accuracy": 0.2494, "n": 3589}, False, "not shown to be better than chance"),
        ({"accuracy": 0.47, "n": 20}, False, "not shown to be better than chance"),
        ({"accuracy": 0.3, "n": 700, "chance": {"accuracy": 0.15, "beaten": True}}, True, "better than chance"),
        ({"accuracy": 0.7, "n": 700, "chance": {"accuracy": 0.7, "beaten": False}}, False, "no better than chance"),
        ({"accuracy": 0.0, "n": 700}, False, "not shown to be better than chance"),
        ({"accuracy": "0.9", "n": 700}, False, "not shown to be better than chance"),
        ({"accuracy": 7.0, "n": 700}, False, "not shown to be better than chance"),
        ({"n": 700}, False, "not shown to be better than chance"),
        ("0.9", False, "not shown to be better than chance"),
    ],
)
def test_without_labels_the_card_decides(score: object, shown: bool, title: str) -> None:
    faces = Faces(np.zeros((3, 48, 48), np.uint8), np.arange(3))
    skill = assess_skill(replace(CARD, scores={"PublicTest": score}), faces, predict(np.zeros(3, np.int64)))
    assert (skill.shown, skill.title) == (shown, title)


def test_a_card_of_training_faces_alone_shows_nothing() -> None:
    faces = Faces(np.zeros((3, 48, 48), np.uint8), np.arange(3))
    card = replace(CARD, scores={"Training": {"accuracy": 0.99, "n": 28709}})
    skill = assess_skill(card, faces, predict(np.zeros(3, np.int64)))
    assert not skill.shown
    with pytest.warns(TrainingWarning, match=r"^runs/mine: not shown to be better than chance\. Neither labels"):
        skill.warn("runs/mine")

"""Whether a model has learned anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from fer_infer.evaluation.chance import Chance, chance_note, class_frequencies_nll, compare_with_chance
from fer_infer.evaluation.metrics import evaluate_predictions

NAMES = ("a", "b", "c")


def probabilities_of(predicted: Any, sure: float = 0.8) -> Any:
    given = np.full((len(predicted), len(NAMES)), (1 - sure) / 2)
    given[np.arange(len(predicted)), predicted] = sure
    return given


@pytest.mark.parametrize(("correct", "n"), [(0, 30), (10, 30), (15, 30), (30, 30), (1500, 3589), (1000, 3589)])
def test_the_probability_of_an_accuracy_is_that_of_the_exact_binomial_test(correct: int, n: int) -> None:
    counts = [n // 3, n - n // 3 - n // 4, n // 4]
    found = compare_with_chance(counts, correct, 0.0, 1.0, NAMES)
    expected = stats.binomtest(correct, n, max(counts) / n, alternative="greater").pvalue
    assert found.p_accuracy == pytest.approx(expected, rel=1e-9)
    assert found.accuracy == max(counts) / n
    assert found.majority == "b"
    assert found.nll == pytest.approx(stats.entropy(counts))


def test_the_probability_of_a_likelihood_is_that_of_the_paired_normal_test() -> None:
    excess = np.random.default_rng(0).normal(-0.05, 0.4, 200)
    found = compare_with_chance([100, 60, 40], 0, excess.mean(), excess.std(), NAMES)
    expected = stats.norm.cdf(excess.mean() / (excess.std() / np.sqrt(200)))
    assert found.p_nll == pytest.approx(expected, rel=1e-9)


def test_the_likelihood_of_the_class_frequencies_leaves_out_absent_classes() -> None:
    np.testing.assert_allclose(class_frequencies_nll([0, 0, 2, 2], 4), [np.log(2), 0, np.log(2), 0])


def test_always_predicting_the_majority_does_not_beat_chance_and_the_evaluation_says_so() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    evaluation = evaluate_predictions(labels, probabilities_of(np.zeros(100, int), sure=0.5), NAMES)
    assert not evaluation.chance.beaten
    assert evaluation.summary_lines()[1] == "no better than chance: always predicting a has an accuracy of 50.00%"


def test_a_model_that_knows_something_beats_chance_by_its_likelihood_alone() -> None:
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    given = np.full((1000, 3), 0.0)
    given[:] = [0.5, 0.3, 0.2]
    given[labels == 2] = [0.5, 0.2, 0.3]  # never the most probable class, yet more probable where it is true
    evaluation = evaluate_predictions(labels, given, NAMES)
    assert evaluation.accuracy == 0.5
    assert evaluation.chance.p_accuracy > 0.4
    assert evaluation.chance.beaten
    assert not [line for line in evaluation.summary_lines() if "chance" in line]


def test_an_overconfident_model_beats_chance_by_its_accuracy_alone() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 400)
    predicted = np.where(generator.random(400) < 0.5, labels, generator.integers(0, 3, 400))
    chance = evaluate_predictions(labels, probabilities_of(predicted, sure=0.9999), NAMES).chance
    assert chance.p_nll > 0.5
    assert chance.beaten


def test_guesses_count_as_better_than_chance_about_as_rarely_as_stated() -> None:
    generator = np.random.default_rng(2)
    beaten = 0
    for _ in range(1000):
        labels = generator.integers(0, 3, 150)
        given = generator.dirichlet([5, 5, 5], 150)
        beaten += evaluate_predictions(labels, given, NAMES).chance.beaten
    assert beaten <= 20  # 1% of 1,000, and three standard deviations


def test_faces_of_one_class_say_nothing_about_chance() -> None:
    assert evaluate_predictions([1, 1, 1], probabilities_of([1, 1, 0]), NAMES).chance is None


def test_a_card_is_asked_for_chance() -> None:
    at_chance = Chance("fear", 0.152, 1.94, 0.9, 0.5, False)
    score = {"n": 500, "accuracy": 0.124, "chance": vars(at_chance)}
    expected = (
        "no better than chance: always predicting fear has an accuracy of 15.20%, "
        "this model 12.40% of 500 PublicTest faces"
    )
    assert chance_note({"PublicTest": score}) == expected
    assert chance_note({"PublicTest": {**score, "chance": {**vars(at_chance), "beaten": True}}}) == ""
    assert chance_note({"PublicTest": {"n": 500, "accuracy": 0.124}}) == ""  # a card from before chance was tested

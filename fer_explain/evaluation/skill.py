"""Evidence that a model is better than chance; otherwise evaluations of its attribution maps are meaningless."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces, ModelCard, TrainingWarning
from fer_infer.evaluation.chance import LEVEL
from fer_infer.evaluation.metrics import evaluate_predictions

ENOUGH_LABELS: Final = 50
"""Number of labeled faces from which on a model that does not beat chance counts as no better than chance. With fewer
faces a good model may not be distinguishable from chance, and the card decides."""
LARGEST_MAJORITY: Final = 0.5
"""Frequency of the most frequent class up to which this applies: if nearly all faces are of one class, a good model
need not be more accurate than a constant prediction."""
UNSTATED_MAJORITY: Final = 0.4
"""Accuracy that the card must exceed if it does not state the frequency of the most frequent class; above those of
FER2013 (25%), FER+ (36%) and balanced data."""


@dataclass(frozen=True)
class Skill:
    """Whether a model has been shown to be better than chance.

    Attributes
    ----------
    shown : bool
        Whether it has.
    title : str
        ``better than chance``, ``no better than chance`` or ``not shown to be better than chance``.
    evidence : str
        A sentence with the numbers.
    """

    shown: bool
    title: str
    evidence: str

    def warn(self, model: str) -> None:
        """Issue a `TrainingWarning` about a model that has not been shown to be better than chance."""
        if not self.shown:
            remark = "Attribution maps of such a model are meaningless."
            warnings.warn(f"{model}: {self.title}. {self.evidence} {remark}", TrainingWarning, stacklevel=3)


def assess_skill(card: ModelCard, faces: Faces, probabilities: NDArray[np.float32]) -> Skill:
    """Decide by held-out labels, else by the model card.

    A model passes if it beats the most frequent class in an exact binomial test, or the class frequencies in negative
    log likelihood (`fer_infer.evaluation.chance`). Labels decide if the model passes; otherwise they
    decide only if there are at least `ENOUGH_LABELS`, at most a fraction of `LARGEST_MAJORITY` of one class.

    Parameters
    ----------
    card : ModelCard
        Card of the model.
    faces : Faces
        N faces. Labels of the split Training are ignored.
    probabilities : ndarray of float32, shape (N, classes)
        Predictions of the model.

    Returns
    -------
    Skill
    """
    if faces.labels is not None:
        held_out = np.full(len(faces), True) if faces.splits is None else np.asarray(faces.splits) != "Training"
        skill = _by_labels(faces.labels[held_out], probabilities[held_out], card.labels)
        if skill is not None:
            return skill
    for split, score in card.scores.items():
        if split != "Training" and isinstance(score, Mapping):
            skill = _by_card(split, score)
            if skill is not None:
                return skill
    return Skill(
        False,
        "not shown to be better than chance",
        "Neither labels of these faces nor the model card state an accuracy on held-out faces that can be compared "
        "with chance.",
    )


def _by_labels(labels: NDArray[np.int64], probabilities: NDArray[np.float32], names: tuple[str, ...]) -> Skill | None:
    if not len(labels):
        return None
    evaluation = evaluate_predictions(labels, probabilities, names)
    chance = evaluation.chance
    if chance is None:
        return None
    figures = (
        f"Its accuracy on {evaluation.n:,} labeled faces is {evaluation.accuracy:.1%}; always predicting "
        f"{chance.majority} would reach {chance.accuracy:.1%} (exact binomial test, p = {chance.p_accuracy:.2g})."
    )
    if chance.beaten:
        return Skill(True, "better than chance", figures)
    if evaluation.n < ENOUGH_LABELS or chance.accuracy > LARGEST_MAJORITY:
        return None
    # More accurate than the most frequent class, but not significantly: no evidence for either.
    undecided = evaluation.accuracy > chance.accuracy
    return Skill(False, "not shown to be better than chance" if undecided else "no better than chance", figures)


def _by_card(split: str, score: Mapping[str, Any]) -> Skill | None:
    from scipy.special import betainc

    accuracy, n, chance = score.get("accuracy"), score.get("n"), score.get("chance")
    if not isinstance(accuracy, int | float) or not isinstance(n, int) or not 0 <= accuracy <= 1 or n < 1:
        return None
    figures = f"The model card states an accuracy of {accuracy:.1%} on {n:,} {split} faces"
    if isinstance(chance, Mapping) and isinstance(chance.get("beaten"), bool):
        majority = chance.get("accuracy")
        of_majority = f", and {majority:.1%} for the most frequent class" if isinstance(majority, int | float) else ""
        title = "better than chance" if chance["beaten"] else "no better than chance"
        return Skill(chance["beaten"], title, f"{figures}{of_majority}.")
    correct = round(accuracy * n)
    p = float(betainc(correct, n - correct + 1, UNSTATED_MAJORITY)) if correct else 1.0
    bound = (
        f"{UNSTATED_MAJORITY:.0%}, the bound used if the card does not state the frequency of the most frequent class"
    )
    if p < LEVEL:
        return Skill(True, "better than chance", f"{figures}, above {bound} (exact binomial test, p = {p:.2g}).")
    return Skill(False, "not shown to be better than chance", f"{figures}, not significantly above {bound}.")

"""Page sections that need labels: accuracy, confusion matrix, confused pairs, and likely label errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fer_explain.report.page.faces import FaceCard
from fer_explain.report.page.picture import thumbnail
from fer_explain.report.predictions import ScoredFaces
from fer_explain.report.selection import Selection
from fer_infer.evaluation.metrics import Evaluation, wilson_interval


def evaluation_view(scored: ScoredFaces, selection: Selection) -> dict[str, Any] | None:
    """Return accuracy and confusion matrix; None without labels."""
    evaluation = scored.evaluation
    if evaluation is None:
        return None
    low, high = evaluation.wilson_95
    return {
        "accuracy": f"{evaluation.accuracy:.1%}",
        "low": f"{low:.1%}",
        "high": f"{high:.1%}",
        "n": evaluation.n,
        "macro_f1": f"{evaluation.macro_f1:.3f}",
        "cells": _matrix(evaluation, scored, selection),
        "classes": [_class_line(evaluation, c) for c in range(len(evaluation.classes))],
        "most_confused": evaluation.most_confused[:3],
        "pairs": evaluation.most_confused_pairs[:3],
        "includes_training": scored.faces.splits is not None and "Training" in scored.faces.splits,
    }


def _class_line(evaluation: Evaluation, c: int) -> dict[str, Any]:
    """Return the scores of a class; the interval is None for a class without faces."""
    score, correct = evaluation.classes[c], int(evaluation.confusion[c, c])
    interval = wilson_interval(correct, score.support) if score.support else None
    return {"score": score, "interval": interval}


def _matrix(
    evaluation: Evaluation, scored: ScoredFaces, selection: Selection
) -> list[tuple[str, list[dict[str, Any]]]]:
    shares = evaluation.confusion / np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    names = [score.name for score in evaluation.classes]
    rows = []
    for i, label in enumerate(names):
        cells = []
        for j, predicted in enumerate(names):
            positions = selection.cells.get((i, j), ())
            cells.append(
                {
                    "count": int(evaluation.confusion[i, j]),
                    "percent": 100 * float(shares[i, j]),
                    "predicted": predicted,
                    "faces": [thumbnail(scored.faces, p, f", {_confidence(scored, p):.0f}%") for p in positions],
                    "rows": [int(scored.faces.rows[position]) for position in positions],
                }
            )
        rows.append((label, cells))
    return rows


def _confidence(scored: ScoredFaces, position: int) -> float:
    return 100 * float(scored.probabilities[position].max())


def confused_view(scored: ScoredFaces, selection: Selection, cards: Mapping[int, FaceCard]) -> list[dict[str, Any]]:
    """Return the most confused pairs of classes, each with the faces of both directions."""
    if scored.evaluation is None:
        return []
    evaluation = scored.evaluation
    names = [score.name for score in evaluation.classes]
    directions = [
        {
            "label": names[label],
            "predicted": names[predicted],
            "count": int(evaluation.confusion[label, predicted]),
            "cards": [cards[int(scored.faces.rows[position])] for position in positions],
        }
        for (label, predicted), positions in selection.confused.items()
    ]
    pairs = zip(directions[::2], directions[1::2], strict=True)
    return [{"name": f"{one['label']} and {one['predicted']}", "directions": (one, other)} for one, other in pairs]


def label_errors_view(scored: ScoredFaces, selection: Selection, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the faces whose label is likely wrong."""
    faces, probabilities = scored.faces, scored.probabilities
    if faces.labels is None:
        return []
    views = []
    for position, counted_as in selection.label_errors:
        label = int(faces.labels[position])
        views.append(
            {
                "picture": thumbnail(faces, position, ""),
                "label": names[label],
                "label_percent": 100 * float(probabilities[position, label]),
                "counted_as": names[counted_as],
                "counted_as_percent": 100 * float(probabilities[position, counted_as]),
            }
        )
    return views

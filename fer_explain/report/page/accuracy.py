"""What the page says of the labels: accuracy, confusion with its faces, confused pairs, and labels likely wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_explain.report.page.faces import FaceCard
from fer_explain.report.page.picture import Picture, thumbnail
from fer_explain.report.selection import Selection
from fer_infer.evaluation.metrics import Evaluation, wilson_interval


def evaluation_view(
    evaluation: Evaluation | None, faces: Faces, selection: Selection, probabilities: NDArray[np.float32]
) -> dict[str, Any] | None:
    """Describe accuracy and confusion; None without labels."""
    if evaluation is None:
        return None
    low, high = evaluation.wilson_95
    return {
        "accuracy": f"{evaluation.accuracy:.1%}",
        "low": f"{low:.1%}",
        "high": f"{high:.1%}",
        "n": evaluation.n,
        "macro_f1": f"{evaluation.macro_f1:.3f}",
        "cells": _matrix(evaluation, faces, selection, probabilities),
        "classes": [_class_line(evaluation, c) for c in range(len(evaluation.classes))],
        "most_confused": evaluation.most_confused[:3],
        "pairs": evaluation.most_confused_pairs[:3],
        "seen_in_training": faces.splits is not None and "Training" in faces.splits,
    }


def _class_line(evaluation: Evaluation, c: int) -> dict[str, Any]:
    """Describe a class; the interval is None where it has no face."""
    score, right = evaluation.classes[c], int(evaluation.confusion[c, c])
    interval = wilson_interval(right, score.support) if score.support else None
    return {"score": score, "interval": interval}


def _matrix(
    evaluation: Evaluation, faces: Faces, selection: Selection, probabilities: NDArray[np.float32]
) -> list[tuple[str, list[dict[str, Any]]]]:
    shares = evaluation.confusion / np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    names = [score.name for score in evaluation.classes]
    return [
        (
            label,
            [
                {
                    "count": int(evaluation.confusion[i, j]),
                    "percent": 100 * float(shares[i, j]),
                    "predicted": predicted,
                    "faces": _thumbnails(faces, selection.cells.get((i, j), ()), probabilities),
                    "rows": [int(faces.rows[place]) for place in selection.cells.get((i, j), ())],
                }
                for j, predicted in enumerate(names)
            ],
        )
        for i, label in enumerate(names)
    ]


def _thumbnails(faces: Faces, places: tuple[int, ...], probabilities: NDArray[np.float32]) -> list[Picture]:
    return [thumbnail(faces, place, f", {100 * probabilities[place].max():.0f}%") for place in places]


def confused_view(
    evaluation: Evaluation | None, faces: Faces, selection: Selection, cards: Mapping[int, FaceCard]
) -> list[dict[str, Any]]:
    """Describe the pairs of classes confused most: for each, the faces one way beside those the other way."""
    if evaluation is None:
        return []
    names = [score.name for score in evaluation.classes]
    ways = [
        {
            "label": names[label],
            "predicted": names[predicted],
            "count": int(evaluation.confusion[label, predicted]),
            "cards": [cards[int(faces.rows[place])] for place in places],
        }
        for (label, predicted), places in selection.confused.items()
    ]
    return [
        {"pair": f"{one['label']} and {one['predicted']}", "ways": (one, other)} for one, other in _two_by_two(ways)
    ]


def _two_by_two(ways: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(ways[::2], ways[1::2], strict=True))


def suspects_view(
    faces: Faces, selection: Selection, probabilities: NDArray[np.float32], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Describe the faces whose labels are likely wrong."""
    if faces.labels is None:
        return []
    views = []
    for place, counted_as in selection.suspects:
        label = int(faces.labels[place])
        views.append(
            {
                "picture": thumbnail(faces, place, ""),
                "label": names[label],
                "label_percent": 100 * float(probabilities[place, label]),
                "counted_as": names[counted_as],
                "counted_as_percent": 100 * float(probabilities[place, counted_as]),
            }
        )
    return views

"""Predictions for the faces of a report, computed once and used by all sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces, ModelError
from fer_core.terminal.progress import progress
from fer_explain.verification import VerifiedModel
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions
from fer_train.prediction import predict_logits, softmax

BATCH_SIZE: Final = 512
"""Faces per forward pass."""


@dataclass(frozen=True)
class ScoredFaces:
    """All N faces of the data and their predictions.

    Attributes
    ----------
    faces : Faces
        The faces.
    probabilities : ndarray of float32, shape (N, classes)
        Predicted probabilities.
    evaluation : Evaluation or None
        Accuracy and confusion; None without labels.
    """

    faces: Faces
    probabilities: NDArray[np.float32]
    evaluation: Evaluation | None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes, int64 (N,)."""
        classes: NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return classes


def require_known_labels(faces: Faces, verified: VerifiedModel) -> None:
    """Raise ModelError if a label is not a class of the model."""
    classes = len(verified.card.labels)
    if faces.labels is not None and faces.labels.max() >= classes:
        raise ModelError(
            f"{verified.weights_file}: has {classes} classes, but {faces.source} contains label {faces.labels.max()}"
        )


def score_faces(verified: VerifiedModel, faces: Faces) -> ScoredFaces:
    """Predict the probabilities of faces and, with labels, evaluate them."""
    probabilities = predict_probabilities(verified, faces.images)
    evaluation = None
    if faces.labels is not None:
        evaluation = evaluate_predictions(faces.labels, probabilities, verified.card.labels)
    return ScoredFaces(faces, probabilities, evaluation)


def predict_probabilities(verified: VerifiedModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities of the ONNX graph, float32 (N, classes), or of the PyTorch network without a graph."""
    parts = []
    with progress("score", len(images)) as advance:
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            if verified.scorer is not None:
                parts.append(verified.scorer.run(batch)[1])
            else:
                parts.append(softmax(predict_logits(verified.network, batch), verified.temperature))
            advance(len(batch))
    return np.concatenate(parts)

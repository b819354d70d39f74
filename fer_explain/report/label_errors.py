"""Likely label errors, found by confident learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def likely_label_errors(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find faces whose label is likely wrong.

    Northcutt, Jiang and Chuang 2021, Confident Learning, equations 1 and 2: the threshold of a class is the mean
    probability of the class over the faces labeled with it. A face is counted as the most probable class among those
    whose probability reaches their threshold. If this class is not the label, the label is likely wrong. Faces are
    ranked by self-confidence, the probability of the label.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
        Given labels.
    probabilities : ndarray of float32, shape (N, classes)
        Probabilities of a model that was not trained on these faces; a model reproduces the wrong labels that it was
        trained on.

    Returns
    -------
    positions, classes : ndarray of int64, shape (K,)
        Positions of the faces in ascending order of self-confidence, and the class that each face is counted as, which
        need not be the predicted class.
    """
    values = probabilities.astype(np.float64)
    present = np.unique(labels)
    thresholds = np.full(values.shape[1], np.inf)
    thresholds[present] = [values[labels == c, c].mean() for c in present]
    confident = np.where(values >= thresholds, values, -1.0)
    confident_in_label = confident[np.arange(len(labels)), labels]
    found = np.flatnonzero(confident.max(axis=1) > confident_in_label)
    self_confidence = values[found, labels[found]]
    positions = found[np.argsort(self_confidence, kind="stable")]
    return positions, confident[positions].argmax(axis=1)

"""Labels that are likely wrong, found by what the model says of the faces of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def likely_label_errors(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find faces whose label the model contradicts with at least the certainty that is usual for the other class.

    Northcutt, Jiang and Chuang 2021, Confident Learning, equations 1 and 2: a face labelled i counts as one of class
    j, the most probable of the classes whose probability reaches the mean that the faces labelled with them are
    given. Where j is not i, the label is likely wrong. They are ranked by self-confidence, the probability of the
    label itself.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
        As given.
    probabilities : ndarray of float32, shape (N, classes)
        Of a model that was not trained on these faces; one that was has learned their labels, wrong ones too.

    Returns
    -------
    places, classes : ndarray of int64, shape (K,)
        Positions, the least probable label first, and the class that each face counts as, which need not be its most
        probable one.
    """
    given = probabilities.astype(np.float64)
    there = np.unique(labels)
    usual = np.full(given.shape[1], np.inf)
    usual[there] = [given[labels == c, c].mean() for c in there]
    confident = np.where(given >= usual, given, -1.0)
    own_confidence = confident[np.arange(len(labels)), labels]
    found = np.flatnonzero(confident.max(axis=1) > own_confidence)
    own = given[found, labels[found]]
    places = found[np.argsort(own, kind="stable")]
    return places, confident[places].argmax(axis=1)

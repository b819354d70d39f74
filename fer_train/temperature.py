"""Temperature scaling: one number that makes a network as sure as it is right, and changes none of its predictions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_infer.evaluation.metrics import evaluate_predictions
from fer_train.prediction import softmax

SEARCHED: Final = (0.05, 20.0)
"""Temperatures from which to which is searched; the ends are met where all, or none, is right of a few faces."""


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature by which to divide logits: the one of least negative log likelihood.

    Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2. The likelihood is
    convex in the inverse temperature b: its slope, the mean of E[z] - z_label, where z has probabilities
    softmax(b z), never falls. So the zero of the slope is halved down to, in logarithmic steps.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, classes)
        Of faces that the network was not trained on.
    labels : ndarray of int64, shape (N,)
        Their classes.

    Returns
    -------
    float
        Within `SEARCHED`.
    """
    z = logits.astype(np.float64)
    of_label = z[np.arange(len(z)), labels]
    cold, hot = np.log(SEARCHED)
    for _ in range(60):  # of an interval of 6, less than float64 tells apart is left
        middle = (cold + hot) / 2
        if np.mean((softmax(z, np.exp(middle)) * z).sum(axis=1) - of_label) > 0:
            cold = middle  # surer than right
        else:
            hot = middle
    return float(np.exp((cold + hot) / 2))


def temperature_record(logits: NDArray[np.float32], labels: NDArray[np.int64], split: str) -> dict[str, Any]:
    """Fit a temperature; return what a model card states of it (`fer_core.ModelCard`).

    Parameters
    ----------
    logits, labels
        As for `fit_temperature`.
    split : str
        That they are of.
    """
    value = fit_temperature(logits, labels)
    classes = list(map(str, range(logits.shape[1])))
    before, after = (evaluate_predictions(labels, softmax(logits, each), classes) for each in (1.0, value))
    return {
        "value": value,
        "fitted_on": split,
        "n": len(labels),
        "nll_before": before.nll,
        "nll_after": after.nll,
        "ece_before": before.ece,
        "ece_after": after.ece,
    }

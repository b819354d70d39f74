"""Temperature scaling: calibrate probabilities by one number, without changing predictions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_infer.evaluation.metrics import evaluate_predictions
from fer_train.prediction import softmax

SEARCHED: Final = (0.05, 20.0)
"""Range of temperatures that is searched; its ends are reached only if few faces are all right or all wrong."""


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature that minimizes the negative log likelihood.

    Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2. The negative log
    likelihood is convex in the inverse temperature b: its slope, the mean of E[z] - z_label, where z has probabilities
    softmax(b z), never decreases. The zero of the slope is found by bisection of the logarithm.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, classes)
        Logits of faces that the network was not trained on.
    labels : ndarray of int64, shape (N,)
        Their classes.

    Returns
    -------
    float
        Temperature within `SEARCHED`.
    """
    z = logits.astype(np.float64)
    of_label = z[np.arange(len(z)), labels]
    cold, hot = np.log(SEARCHED)
    for _ in range(60):  # the interval of 6 shrinks below the resolution of float64
        middle = (cold + hot) / 2
        if np.mean((softmax(z, np.exp(middle)) * z).sum(axis=1) - of_label) > 0:
            cold = middle  # overconfident
        else:
            hot = middle
    return float(np.exp((cold + hot) / 2))


def temperature_record(logits: NDArray[np.float32], labels: NDArray[np.int64], split: str) -> dict[str, Any]:
    """Fit a temperature; return the `temperature` of a model card.

    Parameters
    ----------
    logits, labels
        Parameters of `fit_temperature`.
    split : str
        Split of the faces.
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

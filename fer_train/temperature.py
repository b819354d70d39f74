"""The temperature that makes a network as sure as it is right."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fer_train.prediction import softmax


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Find the temperature by which to divide logits: the one of least negative log-likelihood.

    Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", section 4.2. It changes no
    prediction, for it keeps the order of the classes. The likelihood is convex in the inverse of the temperature.

    Parameters
    ----------
    logits : ndarray of float32, shape (N, classes)
        Of faces that the network was not trained on.
    labels : ndarray of int64, shape (N,)
        Their classes.

    Returns
    -------
    float
        In 0.05 to 20, the ends of the search.
    """
    from scipy.optimize import minimize_scalar

    at = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        probabilities = softmax(logits.astype(np.float64) / math.exp(log_temperature))
        return -float(np.log(np.maximum(probabilities[at, labels], 1e-300)).mean())

    widest = math.log(20)
    found = minimize_scalar(
        negative_log_likelihood, bounds=(-widest, widest), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(float(found.x))

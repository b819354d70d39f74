"""Sparsity: how few pixels a map is concentrated on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_explain.evaluation.compared_maps import require_maps


def gini(attributions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Gini index of the absolute values of each map.

    Chalasani, Chen, Chowdhury, Jha and Wu 2020, Concise Explanations of Neural Networks using Adversarial Training,
    equation 12, after Hurley and Rickard 2009.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.

    Returns
    -------
    ndarray of float64, shape (N,)
        0 if all pixels are equal, close to 1 if only one is nonzero; 0 for a map of zeros.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    """
    require_maps(attributions)
    values = np.sort(np.abs(attributions.astype(np.float64)).reshape(len(attributions), -1), axis=1)
    n = values.shape[1]
    total = values.sum(axis=1)
    weighted = ((2 * np.arange(1, n + 1) - n - 1) * values).sum(axis=1)
    index: NDArray[np.float64] = np.divide(weighted, n * total, out=np.zeros_like(total), where=total > 0)
    return index

"""Errors of attribution maps: convergence deltas, and maps that stay above the error at which they are finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_explain.attribution.registry import Method
from fer_explain.config import AttributionConfig
from fer_infer.attribution.differentiable import DELTAS, ERRORS


def missed_shares(attributions: NDArray[np.float32], deltas: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the convergence deltas relative to the differences of outputs that the maps should sum to.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    deltas : ndarray of float32, shape (N,)
        Convergence deltas; NaN for a method without a defined sum.

    Returns
    -------
    ndarray of float64, shape (N,)
        ``|delta| / |sum - delta|``; NaN without a delta, or if the difference is zero.
    """
    difference = np.abs(attributions.sum(axis=(1, 2), dtype=np.float64) - deltas)
    shares: NDArray[np.float64] = np.abs(deltas) / np.where(difference == 0, np.nan, difference)
    return shares


def deltas_missed(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the relative convergence deltas of maps, (N,), see `missed_shares`; empty if the method has none."""
    return missed_shares(arrays["attributions"], arrays[DELTAS]) if DELTAS in arrays else np.empty(0)


def median_of(shares: NDArray[np.float64]) -> float:
    """Return the median of the finite values; NaN if there are none."""
    finite = shares[np.isfinite(shares)]
    return float(np.median(finite)) if len(finite) else float("nan")


def unfinished_maps(method: Method, config: AttributionConfig, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which maps, (N,) or (N, K), have a larger error than the setting at which the method stops.

    Parameters
    ----------
    method : Method
        The method.
    config : AttributionConfig
        Its settings.
    arrays : mapping of str to ndarray
        As `attributions_of` returns them.
    """
    bound = method.bound(config)
    if bound is None or ERRORS not in arrays:
        return np.zeros(arrays["attributions"].shape[:-2], np.bool_)
    unfinished: NDArray[np.bool_] = ~(arrays[ERRORS] <= bound)
    return unfinished


def error_text(method: Method, error: float) -> str:
    """Return the error of a map in words, such as ``sum off by 12%``."""
    share = f"{error:.0%}" if error >= 0.01 else f"{error:.1%}"
    if "tolerance" in method.uses:
        return f"sum off by {share}"
    return f"standard error {share}" if np.isfinite(error) else "only noise"

"""Groups of faces with the same pixels, and whether their labels or splits agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import PIXELS


def first_equal(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return for each face the position of the first one with the same pixels, which may be its own.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels.

    Returns
    -------
    ndarray of int64, shape (N,)
    """
    whole = np.ascontiguousarray(images).reshape(len(images), PIXELS).view(f"V{PIXELS}").ravel()
    _, first, number = np.unique(whole, return_index=True, return_inverse=True)
    return first[number].astype(np.int64)


def disagreeing(group: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which faces are in a group whose members have different values, such as labels.

    Parameters
    ----------
    group : ndarray of int64, shape (N,)
        Position of the first face of the group, for each face.
    values : ndarray, shape (N,)
        Value of each face.

    Returns
    -------
    ndarray of bool, shape (N,)
    """
    different = np.zeros(len(group), np.bool_)
    different[group[values != values[group]]] = True
    return different[group]

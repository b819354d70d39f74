"""Pictures without a face that are recognizable by their flat pixels: blank ones, signs and lines of text."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FLAT_RANGE: Final = 2
"""Largest range of the 3x3 pixels around a flat one, in gray levels; grain and shading of photographs exceed it."""

FLAT_SHARE: Final = 0.45
"""Smallest fraction of flat pixels of a faceless picture; `docs/concepts/honesty-protocol.md` describes its choice."""


def flat_shares(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the fraction of flat pixels.

    A pixel is flat if the 3x3 pixels around it span at most `FLAT_RANGE` gray levels. Border pixels do not count.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels.

    Returns
    -------
    ndarray of float64, shape (N,)
        Fractions in 0 to 1; 1 for a blank picture.
    """
    shares = np.empty(len(images))
    block = 1024
    for start in range(0, len(images), block):
        some = images[start : start + block]
        # Separable: over three rows first, then over three columns.
        rows = some[:, :-2], some[:, 1:-1], some[:, 2:]
        highest, lowest = np.maximum.reduce(rows), np.minimum.reduce(rows)
        highest = np.maximum.reduce([highest[:, :, :-2], highest[:, :, 1:-1], highest[:, :, 2:]])
        lowest = np.minimum.reduce([lowest[:, :, :-2], lowest[:, :, 1:-1], lowest[:, :, 2:]])
        shares[start : start + block] = (highest - lowest <= FLAT_RANGE).mean(axis=(1, 2))
    return shares

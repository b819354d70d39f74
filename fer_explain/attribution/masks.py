"""From an attribution map to what a reader sees: its share of strong pixels, and the face reduced to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_explain.plots import is_flat


def require_share(share: float) -> None:
    """Raise ConfigError unless a share of pixels is above 0 and at most 1."""
    if not 0 < share <= 1:
        raise ConfigError(f"share: expected above 0 and at most 1, found {share}")


def salient_mask(attributions: NDArray[np.float32], share: float = 0.2) -> NDArray[np.bool_]:
    """Mark the pixels that the output depends on most.

    Parameters
    ----------
    attributions : ndarray of float32, shape (..., 48, 48)
        Maps of any scale; the sign does not matter here.
    share : float
        Share of the pixels to mark, above 0 and at most 1.

    Returns
    -------
    ndarray of bool, the same shape
        Exactly ``round(share * 2304)`` pixels a map, ties broken in reading order; fewer where fewer are
        different from zero, and none in a flat map.

    Raises
    ------
    ConfigError
        If `share` is outside its range.
    """
    require_share(share)
    strength = np.abs(attributions).reshape(-1, attributions.shape[-2] * attributions.shape[-1])
    keep = round(share * strength.shape[1])
    strongest = np.argsort(-strength, axis=1, kind="stable")[:, :keep]
    mask = np.zeros(strength.shape, np.bool_)
    np.put_along_axis(mask, strongest, True, axis=1)
    salient: NDArray[np.bool_] = mask.reshape(attributions.shape) & (attributions != 0) & ~is_flat(attributions)
    return salient


def masked_face(images: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Keep the marked pixels of each face and set all others to the face's mean gray.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., 48, 48)
        Faces, 0..255.
    mask : ndarray of bool, the same shape
        Pixels to keep.

    Returns
    -------
    ndarray of uint8, the same shape
        0..255.
    """
    gray = np.rint(images.mean(axis=(-2, -1), keepdims=True)).astype(np.uint8)
    return np.where(mask, images, gray)

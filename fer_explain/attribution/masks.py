"""From an attribution map to what a reader sees: its share of strong pixels, and the face reduced to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError


def normalize(attributions: NDArray[np.float32], percentile: float = 99.0) -> NDArray[np.float32]:
    """Scale each map so that its strong pixels reach 1, and its strong negative ones -1.

    Parameters
    ----------
    attributions : ndarray of float32, shape (..., 48, 48)
        Maps of any scale.
    percentile : float
        Percentile of a map's absolute values that becomes 1, 0..100; what is stronger is cut off there, lest
        one pixel darken all others. A map whose percentile is zero is scaled by its maximum instead.

    Returns
    -------
    ndarray of float32, the same shape
        -1..1; all zero for a flat map, which tells nothing, whatever its value.
    """
    strength = np.abs(attributions)
    flat = _is_flat(attributions)
    pixels = strength.reshape(*strength.shape[:-2], strength.shape[-2] * strength.shape[-1])
    full = np.percentile(pixels, percentile, axis=-1)[..., None, None]
    full = np.where(full > 0, full, strength.max(axis=(-2, -1), keepdims=True))
    scaled = np.clip(attributions / np.where(flat, 1.0, full), -1.0, 1.0)
    return np.where(flat, 0.0, scaled).astype(np.float32)


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
    salient: NDArray[np.bool_] = mask.reshape(attributions.shape) & (attributions != 0) & ~_is_flat(attributions)
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


def _is_flat(attributions: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each map has one value everywhere, shape (..., 1, 1)."""
    lowest, highest = attributions.min(axis=(-2, -1), keepdims=True), attributions.max(axis=(-2, -1), keepdims=True)
    flat: NDArray[np.bool_] = lowest == highest
    return flat

"""The most salient pixels of an attribution map, and faces reduced to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_core.outputs.map_colors import is_flat


def require_share(share: float) -> None:
    """Raise ConfigError unless a fraction of pixels is above 0 and at most 1."""
    if not 0 < share <= 1:
        raise ConfigError(f"expected above 0 and at most 1, found {share}", parameter="share")


def salient_mask(attributions: NDArray[np.float32], share: float = 0.2) -> NDArray[np.bool_]:
    """Return the mask of the pixels that the output depends on most.

    Parameters
    ----------
    attributions : ndarray of float32, shape (..., 48, 48)
        Maps of any scale; only absolute values count.
    share : float
        Fraction of the pixels to mark, above 0 and at most 1.

    Returns
    -------
    ndarray of bool, the same shape
        Exactly ``round(share * 2304)`` pixels per map, ties broken in reading order; fewer if fewer are nonzero, and
        none in a flat map.

    Raises
    ------
    ConfigError
        If `share` is outside its range.

    Examples
    --------
    >>> attributions = np.zeros((48, 48), np.float32)
    >>> attributions[20:24, 10:20] = 1
    >>> int(salient_mask(attributions, share=0.01).sum())
    23
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
    """Return faces whose unmarked pixels are set to the face's mean gray level.

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

    Examples
    --------
    >>> from fer_core import read_faces
    >>> faces = read_faces("faces.csv")
    >>> mask = np.zeros(faces.images.shape, bool)
    >>> len(np.unique(masked_face(faces.images, mask)[0]))
    1
    """
    gray = np.rint(images.mean(axis=(-2, -1), keepdims=True)).astype(np.uint8)
    return np.where(mask, images, gray)

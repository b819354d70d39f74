"""Localization: how much of a map lies within the regions of the ground truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_explain.evaluation.compared_maps import require_maps


def mass_share(attributions: NDArray[np.float32], regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the fraction of each map's absolute values that lies within its region.

    Arras, Osman and Samek 2022, CLEVR-XAI, equation 2 (relevance mass accuracy). For the positive fraction,
    pass maps whose negative values are set to 0.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    regions : ndarray of bool, shape (N, 48, 48)
        Regions of the ground truth.

    Returns
    -------
    ndarray of float64, shape (N,)
        0..1; for a map of zeros the region's fraction of the area, which is the value at chance.

    Raises
    ------
    ConfigError
        If maps or regions have other shapes or types, or a map is not finite.
    """
    _require_regions(attributions, regions)
    strength = np.abs(attributions.astype(np.float64))
    total = strength.sum(axis=(1, 2))
    within = (strength * regions).sum(axis=(1, 2))
    share: NDArray[np.float64] = np.divide(within, total, out=area_share(regions), where=total > 0)
    return share


def pointing_hits(attributions: NDArray[np.float32], regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return whether the highest value of each map lies within its region (pointing game).

    Zhang, Lin, Brandt, Shen and Sclaroff 2016, Top-down Neural Attention by Excitation Backprop, section 4.1, without
    a tolerance around the region.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps, with their sign.
    regions : ndarray of bool, shape (N, 48, 48)
        Regions of the ground truth.

    Returns
    -------
    ndarray of float64, shape (N,)
        1 for a hit, 0 for a miss; if several pixels are highest, the fraction of them that hits, which for a constant
        map is the region's fraction of the area.

    Raises
    ------
    ConfigError
        If maps or regions have other shapes or types, or a map is not finite.
    """
    _require_regions(attributions, regions)
    highest = attributions == attributions.max(axis=(1, 2), keepdims=True)
    hits: NDArray[np.float64] = (highest & regions).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))
    return hits


def area_share(regions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the fraction of the image that each region covers, float64 (N,), which is the score at chance."""
    share: NDArray[np.float64] = regions.mean(axis=(1, 2))
    return share


def _require_regions(attributions: NDArray[np.float32], regions: NDArray[np.bool_]) -> None:
    require_maps(attributions)
    if regions.shape != attributions.shape or regions.dtype != np.bool_:
        found = f"{regions.dtype} {regions.shape}"
        raise ConfigError(f"expected bool {attributions.shape}, found {found}", parameter="regions")

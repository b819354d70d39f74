"""Maps of the methods under evaluation and of the controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.attribution.attributions import BATCH_SIZE, attributions_of
from fer_explain.attribution.preflight import require_suited
from fer_explain.attribution.registry import METHODS, find_method
from fer_explain.config import AttributionConfig
from fer_explain.evaluation.method_names import CENTER

CENTER_SIGMA: Final = IMAGE_SIZE / 4
"""Standard deviation of the bell of the control ``center``, in pixels."""

Explain = Callable[[nn.Module, NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""(model, images (N, 48, 48), targets (N,), rows (N,)) to maps (N, 48, 48)."""


def cautions_about(model: nn.Module, methods: Sequence[str]) -> dict[str, list[str]]:
    """Return the cautions about each method on a network; raise ModelError if the maps of one would be wrong."""
    known = [name for name in methods if name != CENTER]
    cautions = {name: require_suited(model, METHODS[name], AttributionConfig()) for name in known}
    return {name: [each.message for each in about] for name, about in cautions.items() if about}


def maps_of(
    method: str,
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    advance: Advance | None = None,
) -> NDArray[np.float32]:
    """Explain faces by a method of the registry or by the control ``center``.

    Parameters
    ----------
    method : str
        Name in `METHODS`, or ``center``.
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose logit is explained.
    rows : ndarray of int64, shape (N,)
        Row numbers, which seed random numbers together with `seed`.
    seed : int
        Random seed.
    batch_size : int
        Images that pass through the network together; it affects speed and memory, not the result.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    ndarray of float32, shape (N, 48, 48)

    Raises
    ------
    ConfigError, ModelError
        As for `fer_explain.attribution.attributions_of`.
    """
    if method == CENTER:
        if advance is not None:
            advance(len(images))
        return np.broadcast_to(center_map(), images.shape)
    chosen = find_method(method)
    config = AttributionConfig(seed=seed) if "seed" in chosen.uses else AttributionConfig()
    return attributions_of(
        model, chosen, images, targets, rows=rows, config=config, batch_size=batch_size, advance=advance
    )["attributions"]


def center_map() -> NDArray[np.float32]:
    """Return the bell over the center of the image, float32 (48, 48), 1 at its maximum."""
    squared = (np.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2) ** 2
    bell: NDArray[np.float32] = np.exp(-(squared[:, None] + squared) / (2 * CENTER_SIGMA**2)).astype(np.float32)
    return bell


def require_maps(attributions: NDArray[Any], shape: tuple[int, ...] | None = None) -> None:
    """Raise ConfigError unless maps are finite and of shape (N, 48, 48), or of `shape`."""
    expected = shape or (len(attributions), IMAGE_SIZE, IMAGE_SIZE)
    if attributions.shape != expected:
        raise ConfigError(f"expected shape {expected}, found {attributions.shape}", parameter="attributions")
    finite = np.isfinite(attributions).all(axis=(1, 2))
    if not finite.all():
        found = f"NaN or Inf in map {int(np.argmin(finite))}"
        raise ConfigError(f"expected finite values, found {found}", parameter="attributions")

"""The maps that are measured: of the methods asked for, and of two controls that know nothing of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.attribution import BATCH_SIZE, METHODS, AttributionConfig, attributions_of, find_method
from fer_explain.attribution.preflight import require_suited

CENTRE: Final = "centre"
CONTROLS: Final = ("random", CENTRE)
"""What every method is compared with: noise, and a bell over the middle of the image, where faces are."""
CENTRE_SIGMA: Final = IMAGE_SIZE / 4
"""Standard deviation of the bell, in pixels."""

Explain = Callable[[nn.Module, NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""(model, images (N, 48, 48), targets (N,), rows (N,)) to maps (N, 48, 48)."""


def parse_methods(text: str) -> tuple[str, ...]:
    """Read names of methods such as ``saliency,occlusion``; ConfigError where one is none, or is named twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name != CENTRE:
            find_method(name)
    if len(set(names)) < len(names):
        raise ConfigError(f"methods: expected each one once, found {text!r}")
    return names


def with_controls(methods: Sequence[str]) -> tuple[str, ...]:
    """Return methods followed by those controls that are not among them."""
    return (*methods, *(control for control in CONTROLS if control not in methods))


def cautions_about(model: nn.Module, methods: Sequence[str]) -> dict[str, list[str]]:
    """Return what makes methods less than exact on a network; ModelError where the maps of one would be wrong."""
    known = [name for name in methods if name != CENTRE]
    found = {name: require_suited(model, METHODS[name], AttributionConfig()) for name in known}
    return {name: [finding.message for finding in findings] for name, findings in found.items() if findings}


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
    """Explain faces by a method of the registry or by the control ``centre``.

    Parameters
    ----------
    method : str
        Name in `METHODS`, or ``centre``.
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose logit is explained.
    rows : ndarray of int64, shape (N,)
        Row numbers, which with the seed decide what is random.
    seed : int
        Of all chance.
    batch_size : int
        Images that pass through the network together; it changes speed and memory, not the result.
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
    if method == CENTRE:
        if advance is not None:
            advance(len(images))
        return np.broadcast_to(centre_map(), images.shape)
    chosen = find_method(method)
    settings = AttributionConfig(seed=seed) if "seed" in chosen.uses else AttributionConfig()
    return attributions_of(
        model, chosen, images, targets, rows=rows, config=settings, batch_size=batch_size, advance=advance
    )["attributions"]


def centre_map() -> NDArray[np.float32]:
    """Return the bell over the middle of the image, float32 (48, 48), 1 at its top."""
    squared = (np.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2) ** 2
    bell: NDArray[np.float32] = np.exp(-(squared[:, None] + squared) / (2 * CENTRE_SIGMA**2)).astype(np.float32)
    return bell


def require_maps(attributions: NDArray[Any], shape: tuple[int, ...] | None = None) -> None:
    """Raise ConfigError unless maps are finite and of shape (N, 48, 48), or of `shape`."""
    expected = shape or (len(attributions), IMAGE_SIZE, IMAGE_SIZE)
    if attributions.shape != expected:
        raise ConfigError(f"attributions: expected shape {expected}, found {attributions.shape}")
    finite = np.isfinite(attributions).all(axis=(1, 2))
    if not finite.all():
        raise ConfigError(f"attributions: expected finite values, found others in map {int(np.argmin(finite))}")

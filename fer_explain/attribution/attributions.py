"""Faces to maps: batch after batch through one method, in a given amount of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, ModelError
from fer_core.terminal.progress import Advance
from fer_explain.attribution.registry import METHODS, Method
from fer_explain.attribution.settings import Batch, Settings
from fer_explain.attribution.targets import require_targets
from fer_explain.layers.structure import device_of, evaluation_mode, find_layer

BATCH_SIZE: Final = 64
"""Images that pass through the network together: enough to keep two cores or a GPU busy with the course CNN."""
LARGEST_BATCH: Final = 256
"""Beyond this nothing becomes faster, however much memory there is."""
MARGIN: Final = 1.3
"""What the memory of a process grows by, at most, for each byte counted: convolutions and allocator take the rest."""


def saliency(
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    *,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float32]:
    """Take the gradient of a logit with respect to each pixel, without its sign.

    Simonyan, Vedaldi and Zisserman 2013, section 3: ``|d logit[target] / d pixel|``, through Captum's `Saliency`
    with its default ``abs=True``. The values say how strongly a pixel matters, not whether it speaks for or
    against the class; 0 means that a small change of the pixel alone changes nothing.

    Parameters
    ----------
    model, images, targets, batch_size
        As for `attributions_of`.

    Returns
    -------
    ndarray of float32, shape (N, 48, 48)
        At least 0, in logits per gray level.

    Raises
    ------
    ConfigError, ModelError
        As for `attributions_of`.
    """
    return attributions_of(model, METHODS["saliency"], images, targets, batch_size=batch_size)["attributions"]


def attributions_of(
    model: nn.Module,
    method: Method,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    *,
    rows: NDArray[np.int64] | None = None,
    settings: Settings | None = None,
    batch_size: int = BATCH_SIZE,
    advance: Advance | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Explain faces by one method.

    The maps of a face do not depend on the faces beside it, on their order or on `batch_size`, but for the rounding
    of float32 sums: what chance a method needs is drawn from `settings.seed` and the face's row number.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It is explained in evaluation mode and
        left in its own, without hooks, and its parameters gather no gradient.
    method : Method
        Of the registry. Whether it suits the network is asked by `fer_explain.attribution.preflight`, not here.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose output is explained.
    rows : ndarray of int64, shape (N,), optional
        Row numbers of the faces, 0 or more; without them their positions.
    settings : Settings, optional
        How the method goes about it.
    batch_size : int
        Images that pass through the network together; it changes speed and memory, not the result. A method that
        looks at many images of a face explains fewer faces at once.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    dict of ndarray of float32
        `attributions`, shape (N, 48, 48), and the method's own extras, first axis N; `deltas`, (N,), where a method
        promises a sum: how far it is missed, in units of what is explained.

    Raises
    ------
    ConfigError
        If `targets` or `rows` are not one a face, `batch_size` is below 1, or a setting is nothing to the method.
    ModelError
        If a value is not finite.
    """
    settings = settings or Settings()
    method.require(settings)
    if batch_size < 1:
        raise ConfigError(f"batch_size: expected at least 1, found {batch_size}")
    rows = np.arange(len(images)) if rows is None else rows
    if rows.shape != (len(images),):
        raise ConfigError(f"rows: expected ({len(images)},), one a face, found {rows.shape}")
    faces_at_once = max(1, batch_size // method.points(settings))
    parts: dict[str, list[NDArray[np.float32]]] = {"attributions": []}
    if settings.of == "probabilities" and settings.layer is not None:
        # By number, since with a softmax behind it the network calls its layers by other names.
        settings = replace(settings, layer=find_layer(model, settings.layer).index)
    with explainable(model, settings) as network:
        require_targets(network, images, targets)
        for start in range(0, len(images), faces_at_once):
            some = slice(start, start + faces_at_once)
            pixels, classes = _tensors(network, images[some], targets[some])
            found = method.function(Batch(network, pixels, classes, rows[some], settings, batch_size))
            for name, values in found.items():
                parts.setdefault(name, []).append(values.detach().float().cpu().numpy())
            if not np.isfinite(parts["attributions"][-1]).all():
                raise ModelError(f"{method.name}: found values that are not finite; are the weights?")
            if advance is not None:
                advance(len(pixels))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}
    joined["attributions"] = joined.get("attributions", np.empty(0, np.float32)).reshape(images.shape)
    return joined


def missed_shares(attributions: NDArray[np.float32], deltas: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return by how much maps miss the sum that their method promises, as shares of that sum.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    deltas : ndarray of float32, shape (N,)
        Their sums minus what they should be; NaN where nothing is promised.

    Returns
    -------
    ndarray of float64, shape (N,)
        ``|delta| / |sum - delta|``; NaN where nothing is promised, or zero.
    """
    promised = np.abs(attributions.sum(axis=(1, 2), dtype=np.float64) - deltas)
    shares: NDArray[np.float64] = np.abs(deltas) / np.where(promised == 0, np.nan, promised)
    return shares


def batch_size_for(model: nn.Module, method: Method, memory_mb: float) -> int:
    """Measure how many images may pass through a network together.

    One image is passed through, and what PyTorch keeps of it for the gradient is counted; to that come its three
    largest tensors, which the backward pass holds for a moment, and a margin of 30 %. Weights and libraries are not
    counted.

    Parameters
    ----------
    model : torch.nn.Module
        As for `attributions_of`.
    method : Method
        Of the registry; its `memory` says how much more than a plain gradient it holds.
    memory_mb : float
        What may be used, in MiB.

    Returns
    -------
    int
        1 to 256.

    Raises
    ------
    ConfigError
        If not even one fits.
    """
    if not 0 < memory_mb < math.inf:
        raise ConfigError(f"memory_mb: expected a positive number of MiB, found {memory_mb:g}")
    needed_mb = method.memory * _bytes_of_a_pass(model) / 2**20
    if needed_mb > memory_mb:
        raise ConfigError(f"memory_mb: {method.name} needs {needed_mb:.1f} MiB for one pass, found {memory_mb:g}")
    return min(LARGEST_BATCH, int(memory_mb / needed_mb))


def _bytes_of_a_pass(model: nn.Module) -> int:
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # the tensors themselves, lest a storage be freed and its place be taken by another

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor
        return tensor

    with explainable(model, Settings()), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        image = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model), requires_grad=True)
        model(image)
    sizes = sorted((tensor.untyped_storage().nbytes() for tensor in kept.values()), reverse=True)
    return int(MARGIN * (image.nbytes + sum(sizes) + sum(sizes[:3])))


@contextmanager
def explainable(model: nn.Module, settings: Settings) -> Iterator[nn.Module]:
    """Yield what is explained, in evaluation mode, gradients on but those of the weights, and undo it all."""
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluation_mode(model), torch.enable_grad():
        try:
            model.requires_grad_(False)
            yield model if settings.of == "logits" else _with_softmax(model, settings.temperature).eval()
        finally:
            for parameter, gradient in wanted:
                parameter.requires_grad_(gradient)


class _Divide(nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.temperature


def _with_softmax(model: nn.Module, temperature: float) -> nn.Module:
    return nn.Sequential(model, _Divide(temperature), nn.Softmax(dim=1))


def _tensors(model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return images (B, 1, 48, 48), which ask for a gradient, and targets (B,), on the network's device."""
    device = device_of(model)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).float().unsqueeze(1).requires_grad_()
    return pixels, torch.from_numpy(targets).to(device)

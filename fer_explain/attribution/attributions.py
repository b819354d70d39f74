"""Compute attribution maps batch by batch, within a given amount of memory."""

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
from fer_explain.attribution.methods.batch import Batch
from fer_explain.attribution.registry import Method
from fer_explain.attribution.targets import require_targets
from fer_explain.config import AttributionConfig
from fer_explain.layers.structure import device_of, evaluation_mode, find_layer

BATCH_SIZE: Final = 64
"""Images that pass through the network together; enough to keep two cores or a GPU busy with the course CNN."""
LARGEST_BATCH: Final = 256
"""Larger batches are not faster."""
MARGIN: Final = 1.3
"""Upper bound of the process memory per counted byte; convolutions and the allocator take the rest."""


def attributions_of(
    model: nn.Module,
    method: Method,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    *,
    rows: NDArray[np.int64] | None = None,
    config: AttributionConfig | None = None,
    batch_size: int = BATCH_SIZE,
    advance: Advance | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Compute the attribution maps of faces by one method.

    The map of a face does not depend on the other faces, their order or `batch_size`, up to the rounding of float32
    sums: random numbers are seeded by `config.seed` and the face's row number.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It is explained in evaluation mode;
        its mode, hooks and gradients are restored.
    method : Method
        Method of the registry; `fer_explain.attribution.preflight` decides whether it suits the network.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose output is explained.
    rows : ndarray of int64, shape (N,), optional
        Row numbers of the faces, 0 or more; by default their positions.
    config : AttributionConfig, optional
        Settings of the method.
    batch_size : int
        Images that pass through the network together; it affects speed and memory, not the result. A method that
        needs many images per face explains fewer faces at once.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    dict of ndarray of float32
        `attributions`, shape (N, 48, 48), and for methods whose values have a defined sum also `deltas`, shape (N,):
        the convergence delta, in units of the explained output.

    Raises
    ------
    ConfigError
        If `targets` or `rows` do not have one entry per face, `batch_size` is below 1, or a setting is not used by the
        method.
    ModelError
        If a value is not finite.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_explain import METHODS
    >>> from fer_train import load_model
    >>> faces = read_faces("faces.csv").take(slice(2))
    >>> targets = np.array([3, 3])
    >>> found = attributions_of(load_model("exports/compact"), METHODS["saliency"], faces.images, targets)
    >>> found["attributions"].shape
    (2, 48, 48)
    """
    config = config or AttributionConfig()
    method.require(config)
    if batch_size < 1:
        raise ConfigError(f"expected at least 1, found {batch_size}", parameter="batch_size")
    rows = np.arange(len(images)) if rows is None else rows
    if rows.shape != (len(images),):
        raise ConfigError(f"expected ({len(images)},), one row number per face, found {rows.shape}", parameter="rows")
    faces_at_once = max(1, batch_size // method.points(config))
    parts: dict[str, list[NDArray[np.float32]]] = {"attributions": []}
    if config.of == "probabilities" and config.layer is not None:
        # By index, because the names of the layers change when a softmax is appended.
        config = replace(config, layer=find_layer(model, config.layer).index)
    with explainable(model, config) as network:
        require_targets(network, images, targets)
        for start in range(0, len(images), faces_at_once):
            chunk = slice(start, start + faces_at_once)
            pixels, classes = _tensors(network, images[chunk], targets[chunk])
            found = method.function(Batch(network, pixels, classes, rows[chunk], config, batch_size))
            for name, values in found.items():
                parts.setdefault(name, []).append(values.detach().float().cpu().numpy())
            if not np.isfinite(parts["attributions"][-1]).all():
                raise ModelError(f"{method.name}: attributions contain NaN or Inf; check the model's weights")
            if advance is not None:
                advance(len(pixels))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}
    joined["attributions"] = joined.get("attributions", np.empty(0, np.float32)).reshape(images.shape)
    return joined


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


def batch_size_for(model: nn.Module, method: Method, memory_mb: float) -> int:
    """Measure how many images may pass through a network together.

    The estimate is the memory of the tensors that PyTorch saves for the gradient of one image, plus the three largest
    ones, which the backward pass holds temporarily, plus a margin of 30%. Weights and libraries are not counted.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    method : Method
        Method of the registry; its `memory` is relative to that of a plain gradient.
    memory_mb : float
        Memory limit, in MiB.

    Returns
    -------
    int
        1 to 256.

    Raises
    ------
    ConfigError
        If not even one image fits.
    """
    if not 0 < memory_mb < math.inf:
        raise ConfigError(f"expected a positive number of MiB, found {memory_mb:g}", parameter="memory_mb")
    needed_mb = method.memory * _bytes_of_a_pass(model) / 2**20
    if needed_mb > memory_mb:
        needed = f"{method.name} needs {needed_mb:.1f} MiB for one pass"
        raise ConfigError(f"{needed}, found {memory_mb:g}", parameter="memory_mb")
    return min(LARGEST_BATCH, int(memory_mb / needed_mb))


def _bytes_of_a_pass(model: nn.Module) -> int:
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # the tensors themselves, so that no storage is freed and its address reused

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor
        return tensor

    with explainable(model, AttributionConfig()), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        image = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model), requires_grad=True)
        model(image)
    sizes = sorted((tensor.untyped_storage().nbytes() for tensor in kept.values()), reverse=True)
    return int(MARGIN * (image.nbytes + sum(sizes) + sum(sizes[:3])))


@contextmanager
def explainable(model: nn.Module, config: AttributionConfig) -> Iterator[nn.Module]:
    """Yield the network with the explained output, in evaluation mode, with gradients only of inputs; restore it."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluation_mode(model), torch.enable_grad():
        try:
            model.requires_grad_(False)
            yield model if config.of == "logits" else _with_softmax(model, config.temperature).eval()
        finally:
            for parameter, gradient in before:
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
    """Return images (B, 1, 48, 48), which require a gradient, and targets (B,), on the network's device."""
    device = device_of(model)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).float().unsqueeze(1).requires_grad_()
    return pixels, torch.from_numpy(targets).to(device)

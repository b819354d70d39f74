"""Compute attribution maps batch by batch, within a given amount of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

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
from fer_train.prediction import softmax

BATCH_SIZE: Final = 64
"""Images that pass through the network together; enough to keep two cores or a GPU busy with the course CNN."""
FACES_AT_ONCE: Final = 64
"""Faces that share batches in a method that needs many passes per face."""
LARGEST_BATCH: Final = 256
"""Larger batches are not faster."""
MARGIN: Final = 1.3
"""Upper bound of the process memory per counted byte; convolutions and the allocator take the rest."""


def attributions_of(  # noqa: PLR0913 - options of a public function
    model: nn.Module,
    method: Method,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    *,
    rows: NDArray[np.int64] | None = None,
    config: AttributionConfig | None = None,
    batch_size: int = BATCH_SIZE,
    logits: NDArray[np.float32] | None = None,
    advance: Advance | None = None,
) -> dict[str, NDArray[Any]]:
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
    targets : ndarray of int64, shape (N,) or (N, K)
        The class of each face whose output is explained, or K classes per face. All K share the passes of a method
        that needs no gradient.
    rows : ndarray of int64, shape (N,), optional
        Row numbers of the faces, 0 or more; by default their positions.
    config : AttributionConfig, optional
        Settings of the method.
    batch_size : int
        Images that pass through the network together; it affects speed and memory, not the result.
    logits : ndarray of float32, shape (N, classes), optional
        Logits of the faces, if they are known; methods that compare outputs then need one pass per face less.
    advance : callable, optional
        Called with the number of faces whose maps are complete.

    Returns
    -------
    dict of ndarray
        `attributions`, float32 (N, 48, 48). For methods whose values have a defined sum, `deltas`, float32 (N,): the
        convergence delta, in units of the explained output. For methods that average gradients, `samples`, int64 (N,):
        their number for each map; and `errors`, float32 (N,): the delta of integrated gradients relative to the
        difference that the map should sum to, and the standard error of SmoothGrad and gradient SHAP relative to the
        norm of the map. With K classes per face the arrays have shape (N, K, ...).

    Raises
    ------
    ConfigError
        If `targets`, `rows` or `logits` do not have one entry per face, `batch_size` is below 1, or a setting is not
        used by the method.
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
    if targets.ndim == 2 and method.needs_gradient:
        shared: dict[str, Any] = {"rows": rows, "config": config, "batch_size": batch_size, "logits": logits}
        found = [attributions_of(model, method, images, each, advance=advance, **shared) for each in targets.T]
        return {name: np.stack([each[name] for each in found], axis=1) for name in found[0]}
    parts: dict[str, list[NDArray[Any]]] = {"attributions": []}
    if config.of == "probabilities" and config.layer is not None:
        # By index, because the names of the layers change when a softmax is appended.
        config = replace(config, layer=find_layer(model, config.layer).index)
    outputs = _known_outputs(logits, targets, config)
    faces_at_once = FACES_AT_ONCE if method.fills_batches else batch_size
    with explainable(model, config) as network:
        require_targets(network, images, targets)
        for start in range(0, len(images), faces_at_once):
            chunk = slice(start, start + faces_at_once)
            pixels, classes = _tensors(network, images[chunk], targets[chunk])
            known = None if outputs is None else outputs[chunk].to(pixels.device)
            progress = advance if method.fills_batches else None
            batch = Batch(network, pixels, classes, rows[chunk], config, batch_size, known, progress)
            for name, values in method.function(batch).items():
                parts.setdefault(name, []).append(_array(values))
            if not np.isfinite(parts["attributions"][-1]).all():
                raise ModelError(f"{method.name}: attributions contain NaN or Inf; check the model's weights")
            if advance is not None and not method.fills_batches:
                advance(len(pixels))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}
    maps = joined.get("attributions", np.empty(0, np.float32))
    joined["attributions"] = maps.reshape(*targets.shape, *images.shape[1:])
    return joined


def _known_outputs(
    logits: NDArray[np.float32] | None, targets: NDArray[np.int64], config: AttributionConfig
) -> Tensor | None:
    """Return the explained outputs (N,) of faces whose logits are known."""
    if logits is None:
        return None
    if len(logits) != len(targets):
        expected = f"({len(targets)}, classes), one row per face"
        raise ConfigError(f"expected {expected}, found {logits.shape}", parameter="logits")
    values = softmax(logits, config.temperature) if config.of == "probabilities" else logits
    chosen = targets if targets.ndim == 2 else targets[:, None]
    return torch.from_numpy(np.take_along_axis(values, chosen, axis=1).reshape(targets.shape))


def _array(values: Tensor) -> NDArray[Any]:
    """Return integers as they are, and other values as float32."""
    found: NDArray[Any] = (values.float() if values.is_floating_point() else values).detach().cpu().numpy()
    return found


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

"""Saliency and Grad-CAM of the PyTorch network, and the same with the choices of another program at its kinks.

A ReLU whose input is 0 and a max pooling with several maxima are kinks: left and right of them the gradient differs. In
float32, two correct programs can round such a value to different sides. Their maps then differ visibly, but are equal
again if one of them takes the other's side: `Choices` imposes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_core import IMAGE_SIZE, ModelError


@dataclass(frozen=True, eq=False)
class NetworkMaps:
    """Maps of N faces by PyTorch.

    Attributes
    ----------
    logits : ndarray of float32, shape (N, classes)
        Logits.
    saliency : ndarray of float32, shape (N, 48, 48)
        Signed gradient of the target's logit.
    grad_cam : ndarray of float32, shape (N, 48, 48), or None
        Grad-CAM of the last convolution; None without one.
    cam_scales : ndarray of float32, shape (N,), or None
        Largest sum of the absolute contributions of the channels to Grad-CAM, in which rounding is measured: where
        they cancel, the map itself can be much smaller.
    gaps : ndarray of float64, shape (N,)
        Largest distance to a kink at which an imposed choice differs from the network's own, relative to the largest
        value of the layer; 0 without imposed choices.
    places : list of str
        Layer of that kink for each face; empty where no choice differs.
    """

    logits: NDArray[np.float32]
    saliency: NDArray[np.float32]
    grad_cam: NDArray[np.float32] | None
    cam_scales: NDArray[np.float32] | None
    gaps: NDArray[np.float64]
    places: list[str]

    def first(self, n: int) -> NetworkMaps:
        """Return the maps of the first n faces."""
        grad_cam, scales = (None if each is None else each[:n] for each in (self.grad_cam, self.cam_scales))
        return NetworkMaps(self.logits[:n], self.saliency[:n], grad_cam, scales, self.gaps[:n], self.places[:n])

    @classmethod
    def joined(cls, parts: Sequence[NetworkMaps]) -> NetworkMaps:
        """Join the maps of several batches."""
        arrays = {
            name: None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])
            for name in ("logits", "saliency", "grad_cam", "cam_scales", "gaps")
        }
        return cls(**arrays, places=[place for part in parts for place in part.places])  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Choices:
    """Sides of the kinks that a program took, in the order of execution.

    Attributes
    ----------
    active : list of ndarray of bool
        Whether each unit of each ReLU is active, in the shape of its output.
    maxima : list of ndarray of int64
        Place of the maximum of each window of each max pooling, in the whole input, as ONNX's MaxPool numbers it.
    """

    active: list[NDArray[np.bool_]]
    maxima: list[NDArray[np.int64]]

    def of(self, face: int) -> Choices:
        """Return the sides for one face, as a batch of one."""
        one = slice(face, face + 1)
        return Choices([each[one] for each in self.active], [each[one] for each in self.maxima])


def maps_of(
    model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64], choices: Choices | None = None
) -> NetworkMaps:
    """Compute saliency and Grad-CAM by PyTorch's gradients.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) to logits, in evaluation mode, with `nn.ReLU` and `nn.MaxPool2d` modules.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces; all of them pass at once.
    targets : ndarray of int64, shape (N,)
        Classes; -1 for the predicted one.
    choices : Choices, optional
        Sides of the kinks to take.

    Raises
    ------
    ModelError
        If `choices` are not those of a graph of this network.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float().unsqueeze(1).requires_grad_()
    record = _Record(len(images), choices)
    with torch.enable_grad(), _hooked(model, record):
        logits = model(pixels)
    record.require_all_taken()
    classes = torch.from_numpy(np.where(targets < 0, logits.detach().numpy().argmax(axis=1), targets))
    cam = record.cam
    inputs = [pixels] if cam is None else [pixels, cam]
    gradients = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), inputs)
    grad_cam, scales = (None, None) if cam is None else _grad_cam(cam.detach(), gradients[1])
    return NetworkMaps(
        logits.detach().numpy(), gradients[0][:, 0].numpy(), grad_cam, scales, record.gaps, record.places
    )


def _grad_cam(activations: Tensor, gradients: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) and its scales."""
    contributions = activations * gradients.mean((2, 3), keepdim=True)
    maps = functional.interpolate(contributions.sum(1, keepdim=True).relu(), (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
    return maps[:, 0].numpy(), contributions.abs().sum(1).amax((1, 2)).numpy()


class _Record:
    """What hooks see of one pass: the value that Grad-CAM explains, and the kinks."""

    def __init__(self, n: int, choices: Choices | None) -> None:
        self.cam: Tensor | None = None
        self.gaps = np.zeros(n)
        self.places = [""] * n
        self._active = None if choices is None else iter(choices.active)
        self._maxima = None if choices is None else iter(choices.maxima)
        self._awaits_activation = False

    def convolution(self, name: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if output.shape[2] > 1:
            self.cam, self._awaits_activation = output, True

    def relu(self, name: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        (values,) = inputs
        if self._active is not None:
            active = torch.from_numpy(_next(self._active, name, tuple(values.shape)))
            self._note(name, active != (values > 0), values.abs(), values)
            output = values * active
        if self._awaits_activation and output.ndim == 4 and output.shape[2] > 1:
            self.cam, self._awaits_activation = output, False
        return output

    def max_pool(self, name: str, module: nn.MaxPool2d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        if self._maxima is None:
            return output
        (values,) = inputs
        own = functional.max_pool2d(values, module.kernel_size, module.stride, module.padding, return_indices=True)[1]
        places = torch.from_numpy(_next(self._maxima, name, tuple(output.shape))) % values[0, 0].numel()
        chosen = values.flatten(2).gather(2, places.flatten(2)).view_as(output)
        self._note(name, places != own, output - chosen, values)
        return chosen

    def require_all_taken(self) -> None:
        for rest in (self._active, self._maxima):
            if rest is not None and next(rest, None) is not None:
                raise ModelError("the graph has more ReLU or max pooling nodes than the network")

    def _note(self, name: str, differs: Tensor, gaps: Tensor, values: Tensor) -> None:
        scale = values.abs().flatten(1).amax(1).clamp_min(torch.finfo(torch.float32).tiny)
        largest = ((gaps * differs).flatten(1).amax(1) / scale).detach().double().numpy()
        for face in np.flatnonzero(differs.flatten(1).any(1).numpy()).tolist():
            if not self.places[face] or largest[face] > self.gaps[face]:
                self.gaps[face], self.places[face] = largest[face], name


def _next(choices: Iterator[NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    found = next(choices, None)
    if found is None or found.shape != shape:
        there = "none" if found is None else found.shape
        raise ModelError(f"{name}: expected a node of the graph with output {shape}, found {there}")
    return found


@contextmanager
def _hooked(model: nn.Module, record: _Record) -> Iterator[None]:
    hooks = {nn.Conv2d: record.convolution, nn.ReLU: record.relu, nn.MaxPool2d: record.max_pool}
    handles = [
        module.register_forward_hook(partial(hooks[type(module)], name))
        for name, module in model.named_modules()
        if type(module) in hooks
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

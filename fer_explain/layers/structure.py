"""The layers of a network in the order in which a face passes through them, and what goes in and comes out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, ModelError

KINDS: Final = (nn.Conv2d, nn.Linear, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
"""Modules that count as layers. Flattening, dropout and normalization change no picture worth looking at."""


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes
    ----------
    index : int
        Position in forward order, from 0.
    name : str
        Dotted name, as `torch.nn.Module.get_submodule` takes it.
    kind : str
        Name of its class, such as ``Conv2d``.
    shape : tuple of int
        Of its output for one face: (channels, height, width) or (units,).
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def unit(self) -> str:
        """What its output is divided into: channels of a picture, or units."""
        return "channel" if len(self.shape) == 3 else "unit"

    def __str__(self) -> str:
        return f"{self.index}: {self.name} ({self.kind}, {'x'.join(map(str, self.shape))})"


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into its own mode at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's weights; the CPU for one without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def list_layers(model: nn.Module) -> tuple[Layer, ...]:
    """List a network's layers in forward order.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) to logits (batch, classes).

    Returns
    -------
    tuple of Layer
        Its modules of one of the `KINDS`, in the order in which they first see a face.
    """
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules() if isinstance(module, KINDS)}
    layers: dict[str, Layer] = {}

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        name = names[module]
        layers.setdefault(name, Layer(len(layers), name, type(module).__name__, tuple(output.shape[1:])))

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(layers.values())


def logits_layer(model: nn.Module) -> Layer | None:
    """Find the layer whose outputs are the logits; None where something follows the last one, as in an ensemble."""
    last = list_layers(model)[-1]
    gray = torch.full((1, 1, IMAGE_SIZE, IMAGE_SIZE), 127.5, device=device_of(model))
    with evaluation_mode(model), torch.no_grad():
        _, outputs = run_to(model, last, gray)
        return last if torch.equal(outputs, model(gray)) else None


def find_layer(model: nn.Module, layer: str | int) -> Layer:
    """Find a layer by its dotted name or by its index.

    Parameters
    ----------
    model : torch.nn.Module
        As for `list_layers`.
    layer : str or int
        A name such as ``features.0``, or an index, 0 being the first convolution or dense layer. Text of digits
        alone is an index.

    Raises
    ------
    ConfigError
        If there is no such layer; the message lists those that there are.
    """
    layers = list_layers(model)
    for known in layers:
        if str(layer) in (known.name, str(known.index)) and (str(layer) == str(known.index) or not _is_index(layer)):
            return known
    listed = "; ".join(map(str, layers))
    raise ConfigError(f"layer: found {str(layer)!r}, expected one of these by index or name: {listed}")


def _is_index(layer: str | int) -> bool:
    return isinstance(layer, int) or layer.isdecimal()


class _LayerReached(Exception):  # noqa: N818 - a way out, not an error
    """Carries a layer's input and output out of a forward pass that need not go on."""


def run_to(model: nn.Module, layer: Layer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pass images through a network as far as a layer; what lies behind the layer is not computed.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode.
    layer : Layer
        Of this network.
    images : Tensor
        float32 (batch, 1, 48, 48) in 0..255.

    Returns
    -------
    inputs, outputs : Tensor
        What the layer was given and what it made of it, float32 (batch, ...), with their gradient graph if
        gradients are on.
    """

    def stop(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        raise _LayerReached(args[0], output)

    hook = model.get_submodule(layer.name).register_forward_hook(stop)
    try:
        model(images)
    except _LayerReached as reached:
        inputs, outputs = reached.args
        return inputs, outputs
    finally:
        hook.remove()
    raise ModelError(f"layer {layer.name}: no face passes through it")

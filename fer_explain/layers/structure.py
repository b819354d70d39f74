"""The layers of a network in forward order, and forward passes that stop at a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, ModelError

KINDS: Final = (nn.Conv2d, nn.Linear, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
"""Modules listed as layers. Flattening, dropout and normalization are omitted."""


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
        Class name of the module, such as ``Conv2d``.
    shape : tuple of int
        Output shape for one face: (channels, height, width) or (units,).
    parameters : int
        Number of the layer's own parameters.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int = 0

    @property
    def unit(self) -> str:
        """Name of one element of the output: ``channel`` of a convolutional layer, ``unit`` of a dense one."""
        return "channel" if len(self.shape) == 3 else "unit"

    @property
    def shape_text(self) -> str:
        """Output shape such as ``32x24x24``."""
        return "x".join(map(str, self.shape))

    def __str__(self) -> str:
        return f"{self.index}: {self.name} ({self.kind}, {self.shape_text})"


class Layers(tuple[Layer, ...]):
    """The layers of a network in forward order: a tuple that is printed as a table, also in notebooks."""

    HEADINGS: Final = ("index", "name", "kind", "output", "units", "parameters")

    def cells(self) -> list[tuple[str, ...]]:
        """Return the table as text, one row per layer, in the order of `HEADINGS`."""
        return [
            (str(each.index), each.name, each.kind, each.shape_text, f"{each.shape[0]:,}", f"{each.parameters:,}")
            for each in self
        ]

    def __repr__(self) -> str:
        rows = [self.HEADINGS, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{heading}</th>" for heading in self.HEADINGS)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in self.cells())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode; restore the mode of each of its modules at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's parameters; the CPU for a network without parameters."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def output_shapes(model: nn.Module, names: Mapping[nn.Module, str]) -> dict[str, tuple[int, ...]]:
    """Run one forward pass and record the output shapes of some modules.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) to logits (batch, classes).
    names : mapping of torch.nn.Module to str
        Modules of the network to record, and their names.

    Returns
    -------
    dict of str to tuple of int
        Name -> output shape for one face, in forward order; a module that is not called is absent.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(module: nn.Module, _: Any, output: Tensor) -> None:
        shapes.setdefault(names[module], tuple(output.shape[1:]))

    hooks = [module.register_forward_hook(record) for module in names]
    try:
        with evaluation_mode(model), torch.no_grad():
            model(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def list_layers(model: nn.Module) -> Layers:
    """List the layers of a network in forward order.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) to logits (batch, classes).

    Returns
    -------
    Layers
        Tuple of `Layer`, one per convolution, dense, ReLU and pooling layer, in the order in which they are called.

    Examples
    --------
    >>> from fer_explain import list_layers
    >>> from fer_train import load_model
    >>> layers = list_layers(load_model("exports/course-cnn"))
    >>> layers[0].name, layers[0].kind, layers[0].shape
    ('features.0', 'Conv2d', (48, 48, 48))
    """
    modules: dict[nn.Module, str] = {m: name for name, m in model.named_modules() if isinstance(m, KINDS)}
    by_name = {name: module for module, name in modules.items()}
    return Layers(
        Layer(index, name, type(by_name[name]).__name__, shape, _own_parameters(by_name[name]))
        for index, (name, shape) in enumerate(output_shapes(model, modules).items())
    )


def _own_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def logits_layer(model: nn.Module) -> Layer | None:
    """Return the layer whose outputs are the logits; None if other operations follow the last layer."""
    last = list_layers(model)[-1]
    gray = torch.full((1, 1, IMAGE_SIZE, IMAGE_SIZE), 127.5, device=device_of(model))
    with evaluation_mode(model), torch.no_grad():
        _, outputs = run_to(model, last, gray)
        return last if torch.equal(outputs, model(gray)) else None


def find_layer(model: nn.Module, layer: str | int) -> Layer:
    """Find a layer by its dotted name or index.

    Parameters
    ----------
    model : torch.nn.Module
        As for `list_layers`.
    layer : str or int
        Name such as ``features.0``, or index in forward order. A string of digits is an index.

    Raises
    ------
    ConfigError
        If there is no such layer; the message lists the layers of the network.
    """
    layers = list_layers(model)
    for known in layers:
        if str(layer) in (known.name, str(known.index)) and (str(layer) == str(known.index) or not _is_index(layer)):
            return known
    names = "; ".join(map(str, layers))
    raise ConfigError(f"found {str(layer)!r}, expected one of these by index or name: {names}", parameter="layer")


def find_named_layer(
    model: nn.Module, layer: str | int, labels: tuple[str, ...]
) -> tuple[Layer, tuple[str, ...] | None]:
    """Find a layer as `find_layer` does, and return it with the class names of its units, see `class_names_of`."""
    found = find_layer(model, layer)
    return found, class_names_of(found, labels)


def class_names_of(layer: Layer, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the labels for a dense layer with one unit per class, else None."""
    return labels if layer.kind == "Linear" and layer.shape == (len(labels),) else None


def _is_index(layer: str | int) -> bool:
    return isinstance(layer, int) or layer.isdecimal()


class _LayerReached(Exception):  # noqa: N818 - control flow, not an error
    """Carries the input and output of a layer out of a forward pass that ends there."""


def run_to(model: nn.Module, layer: Layer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run a forward pass up to a layer; later layers are not computed.

    Parameters
    ----------
    model : torch.nn.Module
        Network in evaluation mode.
    layer : Layer
        One of its layers.
    images : Tensor
        float32 (batch, 1, 48, 48) in 0..255.

    Returns
    -------
    inputs, outputs : Tensor
        Input and output of the layer, float32 (batch, ...), with their autograd graph if gradients are enabled.
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
    raise ModelError(f"layer {layer.name}: not reached in the forward pass")

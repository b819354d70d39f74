"""The operations of a network and the modules that perform them, read from its gradient graph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fer_core import IMAGE_SIZE
from fer_explain.attribution.attributions import explainable
from fer_explain.config import AttributionConfig
from fer_explain.layers.structure import device_of

AFFINE: Final = frozenset(
    {
        "AdaptiveAvgPool2D",
        "Add",
        "Addmm",
        "Alias",
        "AsStrided",
        "AvgPool2D",
        "Baddbmm",
        "Bmm",
        "Cat",
        "Clone",
        "ConstantPadNd",
        "Convolution",
        "Copy",
        "CudnnBatchNorm",
        "Div",
        "Expand",
        "Index",
        "Mean",
        "Mm",
        "Mul",
        "NativeBatchNorm",
        "Neg",
        "Permute",
        "PixelShuffle",
        "PixelUnshuffle",
        "Repeat",
        "ReshapeAlias",
        "Select",
        "Slice",
        "Squeeze",
        "Stack",
        "Sub",
        "Sum",
        "T",
        "ToCopy",
        "Transpose",
        "UnsafeView",
        "Unsqueeze",
        "UpsampleBilinear2D",
        "UpsampleNearest2D",
        "View",
    }
)
"""Operations that are linear in each of their inputs, up to a constant, in evaluation mode."""
OWN_STATISTICS: Final = "InstanceNorm"
"""Normalization of a face by its own mean and deviation, which PyTorch computes as a BatchNorm in training mode."""
PRODUCTS: Final = frozenset({"Mul", "Div", "Mm", "Bmm", "Addmm", "Baddbmm", "Convolution"})
"""Those of them that multiply two operands; linear only if one of the two does not depend on the face."""


@dataclass(frozen=True)
class Operation:
    """One operation between the face and the logits.

    Attributes
    ----------
    kind : str
        PyTorch's name, e.g. ``Relu`` or ``Convolution``.
    module : str
        Dotted name of the innermost module that performs it; empty for the network itself.
    module_type : type
        Type of that module.
    product : bool
        Whether it multiplies or divides two operands that both depend on the face.
    """

    kind: str
    module: str
    module_type: type[nn.Module]
    product: bool

    @property
    def affine(self) -> bool:
        """Whether the operation is affine in its input."""
        return self.kind in AFFINE and not self.product

    def __str__(self) -> str:
        return f"{'product' if self.product else self.kind} in {self.module or 'the network itself'}"


@dataclass(frozen=True)
class GradientGraph:
    """All operations between a face and the logits.

    Attributes
    ----------
    operations : tuple of Operation
        Operations that depend on the face; empty if no gradient reaches it.
    reused : frozenset of str
        Modules that are called more than once per face.
    overwritten : frozenset of str
        Modules whose output another operation changes in place.
    """

    operations: tuple[Operation, ...]
    reused: frozenset[str]
    overwritten: frozenset[str]


def gradient_graph(model: nn.Module) -> GradientGraph:
    """Read the operations of a network from the gradient graph of one gray image.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).

    Returns
    -------
    GradientGraph
        Operations in evaluation mode.
    """
    owners: dict[Node, nn.Module] = {}
    calls: Counter[nn.Module] = Counter()
    outputs: list[tuple[nn.Module, Tensor, int]] = []
    before: list[set[Node | None]] = []

    def begin(_: nn.Module, args: tuple[Any, ...]) -> None:
        before.append({arg.grad_fn for arg in args if isinstance(arg, Tensor)})

    def end(module: nn.Module, _: Any, output: Any) -> None:
        calls[module] += 1
        given = before.pop()
        if isinstance(output, Tensor):
            outputs.append((module, output, output._version))
            # Inner modules end first, so their operations already have an owner.
            for node in _walk(output.grad_fn, given):
                owners.setdefault(node, module)

    with explainable(model, AttributionConfig()), _hooked(model, begin, end):
        model(torch.full((1, 1, IMAGE_SIZE, IMAGE_SIZE), 127.5, device=device_of(model), requires_grad=True))
    names = {module: name for name, module in model.named_modules()}
    return GradientGraph(
        tuple(_operations(owners, names)),
        frozenset(names[module] for module, count in calls.items() if count > 1),
        frozenset(names[module] for module, output, version in outputs if output._version != version),
    )


def _operations(owners: dict[Node, nn.Module], names: dict[nn.Module, str]) -> Iterator[Operation]:
    for node, module in owners.items():
        kind = re.sub(r"Backward\d*$", "", node.name())
        if getattr(node, "_saved_training", False):  # normalizes by its input in either mode
            kind = OWN_STATISTICS
        by_face = [edge[0] is not None for edge in node.next_functions]
        if kind in ("Addmm", "Baddbmm"):
            del by_face[0]  # the summand
        # A constant divided by a value that depends on the face counts as a product.
        product = kind in PRODUCTS and (sum(by_face) > 1 or (kind == "Div" and not by_face[0]))
        yield Operation(kind, names[module], type(module), product)


def _walk(start: Node | None, stop: set[Node | None]) -> Iterator[Node]:
    """Yield the nodes that lead to `start` without passing one of `stop`, each once, without leaves."""
    seen, waiting = set(stop) | {None}, [start]
    while waiting:
        node = waiting.pop()
        if node in seen or node is None or node.name().endswith("AccumulateGrad"):
            continue
        seen.add(node)
        waiting += [edge[0] for edge in node.next_functions]
        yield node


@contextmanager
def _hooked(model: nn.Module, begin: Any, end: Any) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(begin) for module in model.modules()]
    handles += [module.register_forward_hook(end) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

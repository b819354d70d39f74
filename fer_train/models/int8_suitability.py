"""How well an architecture suits int8 on a CPU, read from its graph before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from fer_core import IMAGE_SIZE

_LAYERS: Final = (nn.Conv2d, nn.Linear)
_FREE: Final = (nn.Dropout, nn.Flatten, nn.Identity)
"""Modules without computation at inference."""


@dataclass(frozen=True)
class Int8Suitability:
    """Share of a network that runs in fast int8 kernels.

    Attributes
    ----------
    multiply_adds : int
        Multiply-adds of convolutions and dense layers per face.
    full : int
        Multiply-adds in layers that mix all their channels. Depthwise and grouped convolutions move as many values for
        few multiply-adds, which int8 hardly speeds up.
    batch_norms, folded : int
        BatchNorm layers, and those that fold into the weights of the convolution before them, because nothing else
        reads its output (Jacob et al. 2018, section 3.2).
    values : int
        Values that all operators after the standardization write per face.
    fused : int
        Values written by a convolution or dense layer together with BatchNorm and ReLU. Other operators, such as
        shortcuts, attention and pools, read and write the memory once more.
    """

    multiply_adds: int
    full: int
    batch_norms: int
    folded: int
    values: int
    fused: int

    def to_text(self) -> str:
        """Return the shares in one line."""
        norms = f"{self.folded} of {self.batch_norms} BatchNorms fold" if self.batch_norms else "no BatchNorm"
        full, fused = self.full / self.multiply_adds, self.fused / self.values
        return f"{full:.0%} of multiply-adds in full int8 kernels, {norms}, {fused:.0%} of values fused"


class _Tracer(fx.Tracer):
    """Trace the standardization as one operator."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return name == "standardize" or super().is_leaf_module(module, name)


def int8_suitability(model: nn.Module) -> Int8Suitability:
    """Analyze the operators of a network.

    Parameters
    ----------
    model : Module
        Network from `build_model`, whose first layer is `standardize`.
    """
    was_training = model.training
    try:
        graph = fx.GraphModule(model, _Tracer().trace(model.eval()))
        ShapeProp(graph).propagate(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    finally:
        model.train(was_training)
    modules = dict(graph.named_modules())
    counts = {"multiply_adds": 0, "full": 0, "batch_norms": 0, "folded": 0, "values": 0, "fused": 0}
    for node in graph.graph.nodes:
        if node.op not in ("call_module", "call_function", "call_method") or node.target == "standardize":
            continue
        module = modules.get(node.target) if node.op == "call_module" else None
        written = _written(node)
        folds = isinstance(module, nn.BatchNorm2d) and isinstance(_only_input_of(node, modules), nn.Conv2d)
        if isinstance(module, _LAYERS):
            multiply_adds = written * module.weight[0].numel()
            counts["multiply_adds"] += multiply_adds
            counts["full"] += 0 if getattr(module, "groups", 1) > 1 else multiply_adds
            counts["values"] += written
            counts["fused"] += written
        elif isinstance(module, nn.BatchNorm2d):
            counts["batch_norms"] += 1
            counts["folded"] += folds
            counts["values"] += 0 if folds else written
        elif not (isinstance(module, _FREE) or _fuses(node, module, modules)):
            counts["values"] += written
    return Int8Suitability(**counts)


def _written(node: fx.Node) -> int:
    """Return how many values an operator writes; 0 if it does not return one tensor."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", ())
    return int(torch.Size(shape).numel()) if shape else 0


def _only_input_of(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    """Return the module whose output an operator reads, if nothing else reads it."""
    before = node.args[0]
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
        return None
    return modules[str(before.target)]


def _fuses(node: fx.Node, module: nn.Module | None, modules: dict[str, nn.Module]) -> bool:
    """Return whether an operator is a ReLU that fuses with the layer before it."""
    return isinstance(module, nn.ReLU) and isinstance(_only_input_of(node, modules), (*_LAYERS, nn.BatchNorm2d))

"""How well an architecture is made for int8 on a CPU, told from its graph before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from fer_core import IMAGE_SIZE

_LAYERS: Final = (nn.Conv2d, nn.Linear)
_FREE: Final = (nn.Dropout, nn.Flatten, nn.Identity)
"""Modules that compute nothing when a face is scored."""


@dataclass(frozen=True)
class Int8Friendliness:
    """What of a network runs in the fast int8 kernels.

    Attributes
    ----------
    multiply_adds : int
        Of one face, in convolutions and dense layers.
    full : int
        Of these, in layers that mix all their channels; a depthwise or grouped convolution moves as many values for
        few multiply-adds, which int8 hardly speeds up.
    batch_norms, folded : int
        BatchNorm layers, and those that directly follow a convolution which nothing else reads, so that they become
        part of its weights (Jacob et al. 2018, section 3.2).
    values : int
        That all operators write for one face, behind the first layer, which stays in float32.
    fused : int
        Of these, written by a convolution or dense layer with what folds into it, BatchNorm and ReLU. The others are
        written by operators that stand alone, such as shortcuts, attention and pools: each reads and writes the
        memory once more.
    """

    multiply_adds: int
    full: int
    batch_norms: int
    folded: int
    values: int
    fused: int

    def to_text(self) -> str:
        """Return the shares in words."""
        norms = f"{self.folded} of {self.batch_norms} BatchNorms fold" if self.batch_norms else "no BatchNorm"
        full, fused = self.full / self.multiply_adds, self.fused / self.values
        return f"{full:.0%} of multiply-adds in full int8 kernels, {norms}, {fused:.0%} of values fused"


class _Tracer(fx.Tracer):
    """Take the first layer as one operator."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return name == "standardize" or super().is_leaf_module(module, name)


def int8_friendliness(model: nn.Module) -> Int8Friendliness:
    """Look through the operators of a network.

    Parameters
    ----------
    model : Module
        From `build_model`, so that its first layer is `standardize`.
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
        folds = isinstance(module, nn.BatchNorm2d) and isinstance(_alone_before(node, modules), nn.Conv2d)
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
        elif not (isinstance(module, _FREE) or _joins(node, module, modules)):
            counts["values"] += written
    return Int8Friendliness(**counts)


def _written(node: fx.Node) -> int:
    """Return how many values an operator writes; of one that returns no single tensor, none."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", ())
    return int(torch.Size(shape).numel()) if shape else 0


def _alone_before(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    """Return the module that an operator reads, if nothing else reads it."""
    before = node.args[0]
    if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
        return None
    return modules[str(before.target)]


def _joins(node: fx.Node, module: nn.Module | None, modules: dict[str, nn.Module]) -> bool:
    """Whether an operator is a ReLU that the layer before it takes in."""
    return isinstance(module, nn.ReLU) and isinstance(_alone_before(node, modules), (*_LAYERS, nn.BatchNorm2d))

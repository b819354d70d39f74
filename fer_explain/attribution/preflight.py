"""Check which attribution methods suit a network before any map is computed.

Hook-based methods change how gradients pass through activation *modules*. They silently ignore what a network computes
otherwise, by a function or a product, and their maps would be wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import nn

from fer_core import ConfigError, ModelError
from fer_core.errors import listed
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.attribution.attributions import attributions_of, explainable
from fer_explain.attribution.gradient_graph import OWN_STATISTICS, GradientGraph, Operation, gradient_graph
from fer_explain.attribution.methods.batch import baseline_of
from fer_explain.attribution.methods.captum_methods import SUPPORTED_NON_LINEAR
from fer_explain.attribution.methods.hooks import cam_layer
from fer_explain.attribution.registry import METHODS, Method
from fer_explain.config import AttributionConfig
from fer_explain.layers.structure import Layer, device_of, evaluation_mode
from fer_train.prediction import predict_logits

GUIDED: Final = ("guided-backprop", "guided-grad-cam")
CAM: Final = ("grad-cam", "guided-grad-cam")
LIFT: Final = ("deeplift",)
FROM_GRAY: Final = ("integrated-gradients", "gradient-shap")
EVERY: Final = tuple(name for name, method in METHODS.items() if method.uses_network)
BY_GRADIENT: Final = tuple(name for name in EVERY if METHODS[name].needs_gradient)

PROBES: Final = 4
"""Number of drawn faces on which a network's behavior is measured."""
CLOSE: Final = 1e-3
"""Difference of logits up to which they count as equal."""
MISSED: Final = 0.01
"""Relative convergence delta up to which DeepLIFT counts as exact."""
LOST: Final = 0.5
"""Relative convergence delta from which on DeepLIFT is refused."""


@dataclass(frozen=True)
class Caution:
    """A property of a network that makes the maps of some methods wrong or inexact.

    Attributes
    ----------
    verdict : {"refused", "approximate", "note"}
        ``refused`` if the maps would be wrong, ``approximate`` if they are inexact, ``note`` if they are not affected.
    methods : tuple of str
        Affected methods.
    message : str
        The property, and the modules that have it.
    """

    verdict: Literal["refused", "approximate", "note"]
    methods: tuple[str, ...]
    message: str


def find_cautions(
    model: nn.Module, layer: str | int | None = None, methods: Collection[str] = tuple(METHODS)
) -> tuple[Caution, ...]:
    """Check which methods suit a network.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : str or int, optional
        Layer of Grad-CAM; by default the activation after the last convolution.
    methods : collection of str
        Names of the methods to check.

    Returns
    -------
    tuple of Caution
        Notes, and the cautions about `methods`; empty if all of them suit.
    """
    graph = gradient_graph(model)
    cautions = [*_training(model), *_behavior(model), *_gradient(graph), *_guided(graph), *_lift_refusals(graph)]
    cautions += [*_from_gray(graph), *_cam(model, graph, layer)]
    if "deeplift" in methods and not any(each.verdict == "refused" and "deeplift" in each.methods for each in cautions):
        cautions += _lift_measured(model, graph)
    return tuple(each for each in cautions if each.verdict == "note" or not set(methods).isdisjoint(each.methods))


def require_suited(model: nn.Module, method: Method, config: AttributionConfig) -> tuple[Caution, ...]:
    """Return the cautions about a method on a network; raise ModelError if its maps would be wrong."""
    cautions = find_cautions(model, config.layer, (method.name,))
    for caution in cautions:
        if caution.verdict == "refused":
            raise ModelError(f"{method.name}: {caution.message}")
    return tuple(caution for caution in cautions if caution.verdict == "approximate")


def verdict_lines(cautions: tuple[Caution, ...]) -> list[str]:
    """Return one line per note and at least one per method: ``fine``, or its cautions."""
    lines = [f"note: {caution.message}" for caution in cautions if caution.verdict == "note"]
    for name in METHODS:
        about = [f"{each.verdict}: {each.message}" for each in cautions if name in each.methods]
        lines += [f"{name}: {judgement}" for judgement in about or ["fine"]]
    return lines


def _training(model: nn.Module) -> Iterator[Caution]:
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    names = [name for name, module in model.named_modules() if module.training and isinstance(module, kinds)]
    if names:
        yield Caution("note", (), f"in training mode: {', '.join(names)}; explained in evaluation mode nevertheless")


def _behavior(model: nn.Module) -> Iterator[Caution]:
    faces = draw_faces(PROBES, seed=0).images
    with evaluation_mode(model):
        first, second = (predict_logits(model, faces) for _ in range(2))
        one_by_one = predict_logits(model, faces, batch_size=1)
    if np.abs(first - second).max() > CLOSE:
        yield Caution("refused", EVERY, "the logits change from pass to pass, even in evaluation mode")
    elif np.abs(first - one_by_one).max() > CLOSE:
        yield Caution(
            "refused", EVERY, "a face's logits depend on the other faces of the batch, even in evaluation mode"
        )
    if first.min() >= 0 and np.abs(first.sum(axis=1) - 1).max() < CLOSE:
        yield Caution("refused", EVERY, "the network ends in a softmax; expected logits as its outputs")
    elif np.abs(np.exp(np.minimum(first, 1)).sum(axis=1) - 1).max() < CLOSE:
        yield Caution("note", (), "the logits are log-probabilities: one also rises when other classes fall")


def _gradient(graph: GradientGraph) -> Iterator[Caution]:
    if not graph.operations:
        yield Caution("refused", BY_GRADIENT, "no gradient of the logits reaches the face")


def _guided(graph: GradientGraph) -> Iterator[Caution]:
    relus = [each for each in graph.operations if each.kind == "Relu"]
    functional = [each for each in relus if each.module_type is not nn.ReLU]
    if functional:
        yield Caution("refused", GUIDED, f"guided backpropagation needs nn.ReLU modules, found {_named(functional)}")
    others = [each for each in graph.operations if not each.affine and each.kind != "Relu" and "Pool" not in each.kind]
    if others:
        yield Caution("approximate", GUIDED, f"gradients pass unmodified through {_named(others)}")


def _lift_refusals(graph: GradientGraph) -> Iterator[Caution]:
    curved = [each for each in graph.operations if not each.affine and not each.product]
    ruled = [each for each in curved if each.module_type in SUPPORTED_NON_LINEAR]
    unruled = [each for each in curved if each not in ruled]
    if unruled:
        yield Caution("refused", LIFT, f"the rescale rule needs supported activation modules, found {_named(unruled)}")
    reused = [each for each in ruled if each.module in graph.reused]
    if reused:
        yield Caution(
            "refused",
            LIFT,
            f"the rescale rule needs modules that are used once, found used more than once: {_named(reused)}",
        )


def _from_gray(graph: GradientGraph) -> Iterator[Caution]:
    own = [each for each in graph.operations if each.kind == OWN_STATISTICS]
    if own:
        yield Caution(
            "approximate",
            FROM_GRAY,
            f"{_named(own)} normalizes the contrast of each face, so that nearly all changes between uniform gray and "
            "the face happen in the first few percent of the path, which few samples cover; the sums are inexact",
        )


def _lift_measured(model: nn.Module, graph: GradientGraph) -> Iterator[Caution]:
    """Compare the sum of DeepLIFT's values with the difference of logits, both summed over faces."""
    faces = draw_faces(PROBES, seed=0).images
    blank = np.full_like(faces[:1], round(baseline_of(model, AttributionConfig())))
    with evaluation_mode(model):
        logits, blank_logits = predict_logits(model, faces), predict_logits(model, blank)
    targets = logits.argmax(axis=1)
    config = AttributionConfig(baseline=float(blank[0, 0, 0]))
    deltas = attributions_of(model, METHODS["deeplift"], faces, targets, config=config)["deltas"]
    difference = np.take_along_axis(logits - blank_logits, targets[:, None], axis=1)
    missed, expected = float(np.abs(deltas).sum()), float(np.abs(difference).sum())
    share = missed / expected if expected else float("inf" if missed > CLOSE else 0)
    products = [each for each in graph.operations if each.product]
    if products or share > MISSED:
        cause = f"; no rule for {_named(products)}" if products else ""
        message = f"the values miss the difference of logits by {share:.1%} on {PROBES} drawn faces{cause}"
        yield Caution("approximate" if share < LOST else "refused", LIFT, message)


def _cam(model: nn.Module, graph: GradientGraph, layer: str | int | None) -> Iterator[Caution]:
    try:
        found = cam_layer(model, layer)
    except ConfigError as error:
        if layer is not None:
            raise  # the given layer is wrong, not the network
        yield Caution("refused", CAM, str(error))
        return
    if found.name in graph.reused:
        yield Caution("refused", CAM, f"layer {found.name} is used more than once")
    if found.name in graph.overwritten:
        yield Caution("refused", CAM, f"the output of layer {found.name} is changed in place by the next layer")
    if _is_bypassed(model, found):
        verdict: Literal["refused", "approximate"] = "refused" if layer is None else "approximate"
        yield Caution(verdict, CAM, f"part of the network bypasses layer {found.name} and is missing from the map")


def _is_bypassed(model: nn.Module, layer: Layer) -> bool:
    """Return whether a face also influences the logits by a path that bypasses a layer."""
    face = torch.from_numpy(draw_faces(1, seed=0).images).float().unsqueeze(1).to(device_of(model)).requires_grad_()
    hook = model.get_submodule(layer.name).register_forward_hook(lambda module, inputs, output: output.detach())
    try:
        with explainable(model, AttributionConfig()) as network:
            logits = network(face)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.square().sum(), face, allow_unused=True)
    finally:
        hook.remove()
    return gradient is not None and bool(gradient.any())


def _named(operations: list[Operation]) -> str:
    return listed(list(dict.fromkeys(map(str, operations))), 3)

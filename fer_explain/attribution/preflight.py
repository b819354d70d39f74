"""Which attribution methods suit a network, asked before any map is drawn that would be wrong without a sign of it.

Hook-based methods change how gradients pass through activation *modules*. What a network computes in another way, by
a function or a product, they pass over in silence.
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
from fer_explain.attribution import METHODS, Method, Settings, attributions_of, baseline_of, cam_layer, explainable
from fer_explain.attribution.captum_methods import SUPPORTED_NON_LINEAR
from fer_explain.attribution.gradient_graph import OWN_STATISTICS, GradientGraph, Operation, gradient_graph
from fer_explain.layers.structure import Layer, device_of, evaluation_mode
from fer_train.prediction import predict_logits

GUIDED: Final = ("guided-backprop", "guided-grad-cam")
CAM: Final = ("grad-cam", "guided-grad-cam")
LIFT: Final = ("deeplift",)
FROM_GRAY: Final = ("integrated-gradients", "gradient-shap")
EVERY: Final = tuple(name for name, method in METHODS.items() if method.passes != (0, 0))
BY_GRADIENT: Final = tuple(name for name in EVERY if METHODS[name].passes[1])

PROBES: Final = 4
"""Drawn faces by which a network's behaviour is measured."""
CLOSE: Final = 1e-3
"""Difference of logits that counts as none."""
MISSED: Final = 0.01
"""Share of a difference of logits that DeepLIFT may miss and still count as adding up to it."""
LOST: Final = 0.5
"""Share from which on its values tell little of the difference."""


@dataclass(frozen=True)
class Finding:
    """Something about a network that a method's maps suffer from.

    Attributes
    ----------
    verdict : {"refused", "approximate", "note"}
        Whether the maps would be wrong, are not quite what the method promises, or are not touched by it.
    methods : tuple of str
        Which methods.
    message : str
        What it is and where.
    """

    verdict: Literal["refused", "approximate", "note"]
    methods: tuple[str, ...]
    message: str


def preflight(
    model: nn.Module, layer: str | int | None = None, methods: Collection[str] = tuple(METHODS)
) -> tuple[Finding, ...]:
    """Find out which methods suit a network.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : str or int, optional
        That of Grad-CAM; without it, Grad-CAM's own choice.
    methods : collection of str
        Which methods to ask about.

    Returns
    -------
    tuple of Finding
        Notes, and what one of `methods` suffers from; empty if all of them suit.
    """
    graph = gradient_graph(model)
    findings = [*_training(model), *_behaviour(model), *_gradient(graph), *_guided(graph), *_lift_refusals(graph)]
    findings += [*_from_gray(graph), *_cam(model, graph, layer)]
    if "deeplift" in methods and not any(each.verdict == "refused" and "deeplift" in each.methods for each in findings):
        findings += _lift_measured(model, graph)
    return tuple(each for each in findings if each.verdict == "note" or not set(methods).isdisjoint(each.methods))


def require_suited(model: nn.Module, method: Method, settings: Settings) -> tuple[Finding, ...]:
    """Return what makes a method less than exact on a network; raise ModelError where its maps would be wrong."""
    findings = preflight(model, settings.layer, (method.name,))
    for finding in findings:
        if finding.verdict == "refused":
            raise ModelError(f"{method.name}: {finding.message}")
    return tuple(finding for finding in findings if finding.verdict == "approximate")


def judgements(findings: tuple[Finding, ...]) -> list[str]:
    """Return a line on each method, ``fine`` or what is wrong with it, and one on each note."""
    lines = [f"note: {finding.message}" for finding in findings if finding.verdict == "note"]
    for name in METHODS:
        about = [f"{each.verdict}: {each.message}" for each in findings if name in each.methods]
        lines += [f"{name}: {judgement}" for judgement in about or ["fine"]]
    return lines


def _training(model: nn.Module) -> Iterator[Finding]:
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    names = [name for name, module in model.named_modules() if module.training and isinstance(module, kinds)]
    if names:
        yield Finding("note", (), f"in training mode: {', '.join(names)}; explained in evaluation mode all the same")


def _behaviour(model: nn.Module) -> Iterator[Finding]:
    faces = draw_faces(PROBES, seed=0).images
    with evaluation_mode(model):
        first, second = (predict_logits(model, faces) for _ in range(2))
        alone = predict_logits(model, faces, batch_size=1)
    if np.abs(first - second).max() > CLOSE:
        yield Finding("refused", EVERY, "the network gives other logits each time, even in evaluation mode")
    elif np.abs(first - alone).max() > CLOSE:
        yield Finding("refused", EVERY, "a face's logits depend on the faces beside it, even in evaluation mode")
    if first.min() >= 0 and np.abs(first.sum(axis=1) - 1).max() < CLOSE:
        yield Finding("refused", EVERY, "the network ends in a softmax; expected logits, whose softmax is not its own")
    elif np.abs(np.exp(np.minimum(first, 1)).sum(axis=1) - 1).max() < CLOSE:
        yield Finding("note", (), "the logits are logarithms of probabilities: one also rises as other classes fall")


def _gradient(graph: GradientGraph) -> Iterator[Finding]:
    if not graph.operations:
        yield Finding("refused", BY_GRADIENT, "no gradient of the logits reaches the face")


def _guided(graph: GradientGraph) -> Iterator[Finding]:
    relus = [each for each in graph.operations if each.kind == "Relu"]
    functional = [each for each in relus if each.module_type is not nn.ReLU]
    if functional:
        yield Finding("refused", GUIDED, f"only nn.ReLU modules are guided, found {_named(functional)}")
    others = [each for each in graph.operations if not each.affine and each.kind != "Relu" and "Pool" not in each.kind]
    if others:
        yield Finding("approximate", GUIDED, f"plain gradients pass unguided through {_named(others)}")


def _lift_refusals(graph: GradientGraph) -> Iterator[Finding]:
    curved = [each for each in graph.operations if not each.affine and not each.product]
    ruled = [each for each in curved if each.module_type in SUPPORTED_NON_LINEAR]
    unruled = [each for each in curved if each not in ruled]
    if unruled:
        yield Finding("refused", LIFT, f"the rescale rule needs a known activation module, found {_named(unruled)}")
    reused = [each for each in ruled if each.module in graph.reused]
    if reused:
        yield Finding("refused", LIFT, f"a module may be used once, found more than once {_named(reused)}")


def _from_gray(graph: GradientGraph) -> Iterator[Finding]:
    own = [each for each in graph.operations if each.kind == OWN_STATISTICS]
    if own:
        yield Finding(
            "approximate",
            FROM_GRAY,
            f"{_named(own)} makes a face of any contrast the same: on the way from an even gray all happens in the "
            "first few percent, which few samples meet, and the sums are missed",
        )


def _lift_measured(model: nn.Module, graph: GradientGraph) -> Iterator[Finding]:
    """Compare what DeepLIFT shares out with what there is to share: the sum over faces of both."""
    faces = draw_faces(PROBES, seed=0).images
    blank = np.full_like(faces[:1], round(baseline_of(model, Settings())))
    with evaluation_mode(model):
        logits, nothing = predict_logits(model, faces), predict_logits(model, blank)
    targets = logits.argmax(axis=1)
    settings = Settings(baseline=float(blank[0, 0, 0]))
    deltas = attributions_of(model, METHODS["deeplift"], faces, targets, settings=settings)["deltas"]
    difference = np.take_along_axis(logits - nothing, targets[:, None], axis=1)
    missed, whole = float(np.abs(deltas).sum()), float(np.abs(difference).sum())
    share = missed / whole if whole else float("inf" if missed > CLOSE else 0)
    products = [each for each in graph.operations if each.product]
    if products or share > MISSED:
        cause = f"; no rule for {_named(products)}" if products else ""
        message = f"the values miss the sum they promise by {share:.1%} on {PROBES} drawn faces{cause}"
        yield Finding("approximate" if share < LOST else "refused", LIFT, message)


def _cam(model: nn.Module, graph: GradientGraph, layer: str | int | None) -> Iterator[Finding]:
    try:
        found = cam_layer(model, layer)
    except ConfigError as error:
        if layer is not None:
            raise  # what was asked for is wrong, not the network
        yield Finding("refused", CAM, str(error))
        return
    if found.name in graph.reused:
        yield Finding("refused", CAM, f"layer {found.name} is used more than once")
    if found.name in graph.overwritten:
        yield Finding("refused", CAM, f"the output of layer {found.name} is overwritten in place by the next")
    if _is_passed_by(model, found):
        verdict: Literal["refused", "approximate"] = "refused" if layer is None else "approximate"
        yield Finding(verdict, CAM, f"part of the network does not go through layer {found.name}; a map is of the rest")


def _is_passed_by(model: nn.Module, layer: Layer) -> bool:
    """Whether a face reaches the logits on another way than through a layer."""
    face = torch.from_numpy(draw_faces(1, seed=0).images).float().unsqueeze(1).to(device_of(model)).requires_grad_()
    hook = model.get_submodule(layer.name).register_forward_hook(lambda module, inputs, output: output.detach())
    try:
        with explainable(model, Settings()) as network:
            logits = network(face)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.square().sum(), face, allow_unused=True)
    finally:
        hook.remove()
    return gradient is not None and bool(gradient.any())


def _named(operations: list[Operation]) -> str:
    return listed(list(dict.fromkeys(map(str, operations))), 3)

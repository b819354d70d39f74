"""Methods that use hooks: to read activations, or to change how gradients pass through them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_core import IMAGE_SIZE, ConfigError
from fer_explain.attribution.methods.batch import Batch, MethodOutput
from fer_explain.attribution.methods.captum_methods import DeepLift, GuidedBackprop, LayerGradCam
from fer_explain.layers.structure import Layer, find_layer, list_layers
from fer_infer.attribution.differentiable import DELTAS

SAME: Final = 1e-6
"""Difference of two activations below which they count as equal in float32."""


def guided_backprop(batch: Batch) -> MethodOutput:
    """Pass only positive gradients back through each ReLU: Springenberg et al. 2015, section 3.4."""
    with _no_notice_of_hooks():
        return {"attributions": _GuidedBackprop(batch.model).attribute(batch.images, target=batch.targets)}


def grad_cam(batch: Batch) -> MethodOutput:
    """Weight a layer's channels by their mean gradient: Selvaraju et al. 2017, equations 1 and 2."""
    layer = cam_layer(batch.model, batch.config.layer)
    cam = LayerGradCam(batch.model, batch.model.get_submodule(layer.name))
    maps = cam.attribute(batch.images, target=batch.targets, relu_attributions=True)
    return {"attributions": functional.interpolate(maps, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")}


def guided_grad_cam(batch: Batch) -> MethodOutput:
    """Multiply guided backpropagation by Grad-CAM: Selvaraju et al. 2017, section 3.2."""
    return {"attributions": guided_backprop(batch)["attributions"] * grad_cam(batch)["attributions"]}


def deeplift(batch: Batch) -> MethodOutput:
    """Distribute the difference from the baseline by the rescale rule: Shrikumar et al. 2017, section 3.5.1."""
    lift = _DeepLift(batch.model, eps=SAME)
    try:
        with _no_notice_of_hooks():
            attributions, deltas = lift.attribute(
                batch.images, baselines=batch.baseline, target=batch.targets, return_convergence_delta=True
            )
    finally:
        # Captum leaves these behind where no gradient arrived, and everywhere after an error.
        for module in batch.model.modules():
            for name in ("input", "output"):
                module.__dict__.pop(name, None)
    return {"attributions": attributions, DELTAS: deltas}


def cam_layer(model: nn.Module, layer: str | int | None) -> Layer:
    """Return the layer whose channels Grad-CAM weights.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) to (batch, classes).
    layer : str, int or None
        Name or index. None: the activation after the last convolution with spatial outputs, or that convolution if
        no activation follows.

    Raises
    ------
    ConfigError
        If there is no such layer, or its outputs are not spatial.
    """
    if layer is not None:
        found = find_layer(model, layer)
        if not _is_spatial(found):
            raise ConfigError(f"Grad-CAM needs a layer with spatial outputs, found {found}", parameter="layer")
        return found
    spatial = [known for known in list_layers(model) if _is_spatial(known)]
    last = max((known.index for known in spatial if known.kind == "Conv2d"), default=None)
    if last is None:
        raise ConfigError("Grad-CAM needs a convolution; the network has none")
    after = [known for known in spatial if known.index >= last]
    return next((known for known in after if known.kind == "ReLU"), after[0])


def _is_spatial(layer: Layer) -> bool:
    return len(layer.shape) == 3 and layer.shape[1] > 1


class _GuidedBackprop(GuidedBackprop):  # type: ignore[misc] # Captum ships no types
    """Captum's guided backpropagation, without clipping gradients that bypass a ReLU."""

    def _register_hooks(self, module: nn.Module) -> None:
        if isinstance(module, nn.ReLU):
            self.backward_hooks.append(module.register_forward_pre_hook(_own_input))
        super()._register_hooks(module)


class _DeepLift(DeepLift):  # type: ignore[misc] # Captum ships no types
    """Captum's DeepLift with three corrections.

    An activation that directly follows another, as pooling follows a ReLU, passes it multipliers instead of plain
    gradients; paths that bypass an activation keep their own multipliers; and where a face does not differ from its
    baseline in front of a max pooling, its own plain gradient is used, not that of the first face of the batch.
    """

    def _forward_pre_hook(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        super()._forward_pre_hook(module, inputs)
        return _own_input(module, inputs)

    def _backward_hook(self, module: nn.Module, grad_input: Tensor, grad_output: Tensor) -> Tensor:
        difference = torch.sub(*module.input.chunk(2))  # type: ignore[operator]
        multipliers: Tensor = super()._backward_hook(module, grad_input, grad_output)
        of_face, _ = grad_input.chunk(2)
        return torch.where(torch.cat([difference] * 2).abs() < self.eps, torch.cat([of_face] * 2), multipliers)


def _own_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Give a module a copy of its input, so that a hook on its gradient does not affect other uses of the input."""
    return inputs[0].clone()


@contextmanager
def _no_notice_of_hooks() -> Iterator[None]:
    """Silence Captum's warning about hooks, which it removes afterwards."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks", UserWarning)
        yield

"""Activation maximization: gradient ascent on images, for all objectives in one batch.

Erhan, Bengio, Courville and Vincent 2009, Visualizing Higher-Layer Features of a Deep Network, section 3.1;
Simonyan, Vedaldi and Zisserman 2013, equation 1, whose L2 penalty is the decay towards the start image here. Total
variation keeps images smooth (Mahendran and Vedaldi 2016). Random transforms, a decorrelated parametrization and, for
several images per objective, the diversity term are those of Olah, Mordvintsev and Schubert 2017, Feature
Visualization.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fer_core import IMAGE_SIZE, ConfigError, ModelError
from fer_core.terminal.progress import Advance
from fer_explain.config import AscentConfig
from fer_explain.layers.structure import Layer, device_of, evaluation_mode, find_layer, list_layers, run_to
from fer_explain.maximization.objectives import Objectives, channel_objectives
from fer_explain.maximization.parametrization import MID_GRAY, NO_GRADIENT, SPACES, unit_rms
from fer_explain.maximization.transforms import draw_transform

MIN_ACTIVE_FRACTION: Final = 0.1
"""Fraction of active positions above which a ReLU channel is optimized directly."""


@dataclass(frozen=True)
class Maximization:
    """Result of activation maximization: M images, grouped by objective.

    Attributes
    ----------
    objectives : Objectives
        Objective of each image.
    config : AscentConfig
        Settings in effect: without random transforms for dense layers.
    images : ndarray of float32, shape (M, 48, 48)
        0..255; mid gray for a dead channel.
    start, reached : ndarray of float32, shape (M,)
        Objective of the noisy start image and of the final image, averaged over positions.
    dead : ndarray of bool, shape (M,)
        Whether the gradient was always zero, or a ReLU channel was inactive at the end; real faces may activate such a
        channel nevertheless.
    """

    objectives: Objectives
    config: AscentConfig
    images: NDArray[np.float32]
    start: NDArray[np.float32]
    reached: NDArray[np.float32]
    dead: NDArray[np.bool_]

    @property
    def layer(self) -> Layer:
        """Layer of the objectives."""
        return self.objectives.layer

    @property
    def channels(self) -> NDArray[np.int64]:
        """Channel numbers, int64 (M,)."""
        return self.objectives.channels


def maximize_channels(
    model: nn.Module,
    layer: str | int,
    channels: Sequence[int] | None = None,
    config: AscentConfig | None = None,
    *,
    batch_size: int = 256,
    advance: Advance | None = None,
) -> Maximization:
    """Synthesize images that maximize channels of a layer, starting from mid gray with noise.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
    layer : str or int
        Dotted name or index, see `fer_explain.list_layers`.
    channels : sequence of int, optional
        Channel or unit numbers. Default: all.
    config, batch_size, advance
        As for `maximize_objectives`.

    Returns
    -------
    Maximization

    Raises
    ------
    ConfigError
        If there is no such layer or channel.
    ModelError
        If an activation is not finite.

    Examples
    --------
    >>> from fer_explain import AscentConfig, maximize_channels
    >>> from fer_train import load_model
    >>> network = load_model("exports/course-cnn")
    >>> found = maximize_channels(network, "features.0", [0, 5], AscentConfig(steps=8))
    >>> found.images.shape, bool((found.reached > found.start).all())
    ((2, 48, 48), True)
    """
    objectives = channel_objectives(find_layer(model, layer), channels)
    return maximize_objectives(model, objectives, config, batch_size=batch_size, advance=advance)


def maximize_objectives(
    model: nn.Module,
    objectives: Objectives,
    config: AscentConfig | None = None,
    *,
    start: NDArray[np.float32] | None = None,
    batch_size: int = 256,
    advance: Advance | None = None,
) -> Maximization:
    """Synthesize images that maximize objectives, by gradient ascent.

    Each step evaluates a random transform of the images, scales the gradient of the objective to RMS 1, adds the
    gradients of total variation and diversity, takes a step of the configured size, and decays towards the start image.
    The gradient of a ReLU is zero where it is inactive. Therefore an inactive ReLU channel is optimized through its
    maximum input, and a channel that is active in less than a tenth of its positions through the highest tenth of its
    inputs. The reported activations are those of the untransformed images.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its own mode
        is restored, and its parameters accumulate no gradients.
    objectives : Objectives
        Objectives of one of its layers.
    config : AscentConfig, optional
        Steps, parametrization, penalties, transforms and seed.
    start : ndarray of float32, shape (48, 48), optional
        Start image, 0..255, before noise is added. Default: mid gray.
    batch_size : int
        Images per forward pass. The result does not depend on it, nor on the other objectives.
    advance : callable, optional
        Called with the number of images after each step.

    Returns
    -------
    Maximization

    Raises
    ------
    ConfigError
        If `start` is not one image.
    ModelError
        If an activation is not finite.
    """
    config = config or AscentConfig()
    start_image = np.full((IMAGE_SIZE, IMAGE_SIZE), MID_GRAY, np.float32) if start is None else start
    if start_image.shape != (IMAGE_SIZE, IMAGE_SIZE) or not (start_image.min() >= 0 and start_image.max() <= 255):
        raise ConfigError(f"expected one 48x48 image in 0..255, found shape {start_image.shape}", parameter="start")
    layer = objectives.layer
    if not any(known.kind == "Conv2d" for known in list_layers(model)[: layer.index + 1]):
        # Without convolutions a unit responds to a pattern at a fixed position: transforms would blur the image.
        config = replace(config, jitter=0, rotation=0.0, zoom=0.0)
    per_batch = max(1, batch_size // config.images)
    parts = []
    with evaluation_mode(model), torch.enable_grad():
        for first in range(0, len(objectives), per_batch):
            index = np.arange(first, min(first + per_batch, len(objectives)))
            batch = objectives.take(np.repeat(index, config.images))
            parts.append(_ascend(model, batch, config, start_image, advance))
    images, before, after, dead = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ModelError(f"layer {layer.name}: activations contain NaN or Inf; check the model's weights")
    repeated = objectives.take(np.repeat(np.arange(len(objectives)), config.images))
    return Maximization(repeated, config, images, before, after, dead)


def _ascend(
    model: nn.Module,
    objectives: Objectives,
    config: AscentConfig,
    start_image: NDArray[np.float32],
    advance: Advance | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return images (M, 48, 48), activations before and after (M,), and which objectives are dead (M,)."""
    device = device_of(model)
    space = SPACES[config.space]
    start = space.latents(torch.from_numpy(start_image).to(device))
    latents = space.bounded(start + config.noise * space.noise(_white_noise(objectives, config).to(device)))
    moved = torch.zeros(len(objectives), dtype=torch.bool, device=device)
    before = _activations(model, objectives, space.images(latents))
    # One transform for the whole batch, so that the result for an image does not depend on the other images.
    rng = np.random.default_rng(config.seed)
    for step in range(config.steps):
        transform = draw_transform(rng, config.jitter, config.rotation, config.zoom)
        images = space.images(latents).requires_grad_()
        gradients, has_gradient = _gradients(model, objectives, config, images, transform(images))
        moved |= has_gradient
        length = config.step_size * (1 - 0.9 * step / config.steps)
        latents = latents + length * has_gradient.view(-1, 1, 1, 1) * space.steps(latents, gradients)
        latents = space.bounded(start + (1 - config.decay) * (latents - start))
        if advance is not None:
            advance(len(objectives))
    images = space.images(latents)
    after = _activations(model, objectives, images)
    dead = ~moved
    if objectives.layer.kind == "ReLU":
        dead |= (after <= 0) & _of_channels(objectives, device)
    images[dead] = MID_GRAY
    return images[:, 0].cpu().numpy(), before.cpu().numpy(), after.cpu().numpy(), dead.cpu().numpy()


def _gradients(
    model: nn.Module, objectives: Objectives, config: AscentConfig, images: Tensor, transformed: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sum of all gradients (M, 1, 48, 48), and whether the objective has a gradient at all (M,)."""
    outputs = run_to(model, objectives.layer, transformed)
    (of_objective,) = torch.autograd.grad(
        _maximized(objectives, *outputs).sum(), images, retain_graph=config.images > 1
    )
    has_gradient = of_objective.square().mean((1, 2, 3)).sqrt() > NO_GRADIENT
    gradients = unit_rms(of_objective) - config.total_variation * _total_variation_gradient(images.detach())
    if config.images > 1:
        (of_similarity,) = torch.autograd.grad(_similarity(*outputs, config.images), images)
        gradients -= config.diversity * unit_rms(of_similarity)
    return gradients, has_gradient


def _white_noise(objectives: Objectives, config: AscentConfig) -> Tensor:
    """Draw noise, float32 (M, 1, 48, 48), that depends only on seed, channel and image number within the channel."""
    drawn = [
        np.random.default_rng([config.seed, channel + 1, i % config.images]).standard_normal(
            (1, IMAGE_SIZE, IMAGE_SIZE), np.float32
        )
        for i, channel in enumerate(objectives.channels.tolist())
    ]
    return torch.from_numpy(np.stack(drawn))


@torch.no_grad()
def _activations(model: nn.Module, objectives: Objectives, images: Tensor) -> Tensor:
    """Return objective i of image i, averaged over positions (M,)."""
    return objectives.at_positions(run_to(model, objectives.layer, images)[1]).mean(1)


def _maximized(objectives: Objectives, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Return the quantity to maximize (M,): the objective, or the inputs of a ReLU channel that is mostly inactive."""
    activations = objectives.at_positions(outputs)
    mean = activations.mean(1)
    if objectives.layer.kind != "ReLU":
        return mean
    relu_inputs = objectives.at_positions(inputs)
    k = max(1, round(MIN_ACTIVE_FRACTION * activations.shape[1]))
    active = (activations > 0).sum(1)
    # A direction may be negative although its channels are active.
    inactive = (active < k) & _of_channels(objectives, activations.device)
    surrogate = torch.where(active > 0, relu_inputs.topk(k, dim=1).values.mean(1), relu_inputs.amax(1))
    return torch.where(inactive, surrogate, mean)


def _of_channels(objectives: Objectives, device: torch.device) -> Tensor:
    """Return which objectives are single channels or units, bool (M,), rather than directions."""
    return torch.from_numpy(objectives.channels >= 0).to(device)


def _similarity(inputs: Tensor, outputs: Tensor, group: int) -> Tensor:
    """Return the mean cosine similarity between the images of each objective, summed over the objectives.

    Images are compared by the Gram matrix of the layer's output, which is invariant to position, and for a dense layer
    by the layer's input (Olah et al. 2017, appendix, "Diversity").
    """
    if outputs.ndim == 4:
        flat = outputs.flatten(2)
        features = (flat @ flat.transpose(1, 2)).flatten(1)
    else:
        features = inputs
    unit = functional.normalize(features, dim=1, eps=1e-8).reshape(-1, group, features.shape[1])
    cosines = unit @ unit.transpose(1, 2)
    pairs = cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)
    return pairs.sum() / (group * (group - 1))


def _total_variation_gradient(images: Tensor) -> Tensor:
    """Return the gradient of sum(sqrt(dx^2 + dy^2 + 1)), the total variation smoothed within one gray level."""
    down = torch.zeros_like(images)
    right = torch.zeros_like(images)
    down[:, :, :-1] = images[:, :, 1:] - images[:, :, :-1]
    right[:, :, :, :-1] = images[:, :, :, 1:] - images[:, :, :, :-1]
    length = (down.square() + right.square() + 1).sqrt()
    down, right = down / length, right / length
    gradient = -down - right
    gradient[:, :, 1:] += down[:, :, :-1]
    gradient[:, :, :, 1:] += right[:, :, :, :-1]
    return gradient

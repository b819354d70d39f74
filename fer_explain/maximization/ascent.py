"""Images that a layer answers to most, found by gradient ascent, all channels at once.

Erhan, Bengio, Courville and Vincent 2009, Visualizing Higher-Layer Features of a Deep Network, section 3.1;
Simonyan, Vedaldi and Zisserman 2013, equation 1, whose L2 penalty is the decay towards the start here. Total variation
keeps the images readable (Mahendran and Vedaldi 2016), as do random transforms, a decorrelated space and, for several
images of one channel, the diversity term (all Olah, Mordvintsev and Schubert 2017, Feature Visualization).
"""

from __future__ import annotations

import math
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
from fer_explain.layers.structure import Layer, device_of, evaluation_mode, find_layer, list_layers, run_to
from fer_explain.maximization.objectives import Objectives, channel_objectives
from fer_explain.maximization.parametrization import MID_GRAY, NO_GRADIENT, SPACES, unit_rms
from fer_explain.maximization.transforms import draw_transform

WOKEN: Final = 0.1
"""Share of its places in which a ReLU channel must speak before its own gradient is enough to follow."""


@dataclass(frozen=True)
class AscentConfig:
    """How images are climbed to."""

    steps: int = 64
    """Gradient steps."""
    space: str = "fourier"
    """Where the steps are taken: fourier or pixel, see `fer_explain.maximization.parametrization`."""
    step_size: float = 12.0
    """Root mean square of the first step, in gray levels in pixel space and in the scaled coefficients of Fourier
    space, where the image moves by as much or several times that; it falls linearly to a tenth."""
    noise: float = 12.0
    """Standard deviation of the noise added to the start, in gray levels."""
    decay: float = 0.01
    """Share of the way back to the start, without its noise, that each step gives up (the L2 penalty)."""
    total_variation: float = 0.1
    """Weight of the pull against total variation, relative to the pull along the activation."""
    jitter: int = 2
    """Largest shift before a step, in whole pixels along each axis; behind convolutions only, as are the next two."""
    rotation: float = 5.0
    """Largest turn before a step either way, in degrees."""
    zoom: float = 0.05
    """Largest change of the scale before a step either way, as a share."""
    images: int = 1
    """Images for each objective."""
    diversity: float = 0.5
    """Weight of the pull that drives the images of one objective apart, relative to the pull along the activation."""
    seed: int = 0
    """Of noise and transforms."""

    def __post_init__(self) -> None:
        limits = {"steps": 1, "step_size": 0, "noise": 0, "jitter": 0, "rotation": 0, "images": 1, "diversity": 0}
        for name, low in {**limits, "seed": 0}.items():
            if not low <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: expected at least {low}, found {getattr(self, name)}")
        for name in ("decay", "total_variation", "zoom"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 0 to below 1, found {getattr(self, name)}")
        if self.rotation > 180:
            raise ConfigError(f"rotation: expected at most 180, found {self.rotation}")
        if self.space not in SPACES:
            raise ConfigError(f"space: expected {' or '.join(SPACES)}, found {self.space!r}")


@dataclass(frozen=True)
class Maximization:
    """What a layer answers to: M images, those of one objective beside each other.

    Attributes
    ----------
    objectives : Objectives
        One for each image.
    config : AscentConfig
        As it was used: no transforms before a dense layer.
    images : ndarray of float32, shape (M, 48, 48)
        0..255; mid gray for a dead channel.
    start, reached : ndarray of float32, shape (M,)
        The objective, averaged over its places, of the noisy start and of the end; a dead channel's end is not shown.
    dead : ndarray of bool, shape (M,)
        No gradient led anywhere, or a ReLU channel stayed at zero to the end; a face may still wake the latter.
    """

    objectives: Objectives
    config: AscentConfig
    images: NDArray[np.float32]
    start: NDArray[np.float32]
    reached: NDArray[np.float32]
    dead: NDArray[np.bool_]

    @property
    def layer(self) -> Layer:
        """Whose output was raised."""
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
    """Climb from mid gray for each channel of a layer; as `maximize_objectives`, all channels without `channels`."""
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
    """Climb, for each objective, to images that raise it.

    Each step looks at a random view of the images, scales the gradient of the objective to a root mean square of 1,
    adds what total variation and diversity pull, and goes along the sum as far as the step size says; then it
    gives up a little of the way from the start. A ReLU passes no gradient where it is silent: while it speaks nowhere,
    the ascent raises the most that the ReLU is given, and while it speaks in less than a tenth of its places, the
    highest tenth of that. What is reported of an image is of the image as it is, without a transform.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); evaluation mode while it is climbed, and
        left in its own. Its parameters gather no gradient.
    objectives : Objectives
        Of one of its layers.
    config : AscentConfig, optional
        Steps, space, penalties, transforms and seed.
    start : ndarray of float32, shape (48, 48), optional
        The image, 0..255, to which the noise is added and which decay leads back to; mid gray without it.
    batch_size : int
        Images climbed together. The way of an image does not depend on it, nor on which other objectives there are.
    advance : callable, optional
        Called with the number of finished steps times images.

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
    home = np.full((IMAGE_SIZE, IMAGE_SIZE), MID_GRAY, np.float32) if start is None else start
    if home.shape != (IMAGE_SIZE, IMAGE_SIZE) or not (home.min() >= 0 and home.max() <= 255):
        raise ConfigError(f"start: expected one image of 48x48 in 0..255, found shape {home.shape}")
    layer = objectives.layer
    if not any(known.kind == "Conv2d" for known in list_layers(model)[: layer.index + 1]):
        # A dense layer answers to a pattern in its place: moving it would only average its answers away.
        config = replace(config, jitter=0, rotation=0.0, zoom=0.0)
    together = max(1, batch_size // config.images)
    parts = []
    with evaluation_mode(model), torch.enable_grad():
        for first in range(0, len(objectives), together):
            index = np.arange(first, min(first + together, len(objectives)))
            each = objectives.take(np.repeat(index, config.images))
            parts.append(_climb(model, each, config, home, advance))
    images, before, after, dead = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ModelError(f"layer {layer.name}: found activations that are not finite; are the weights?")
    repeated = objectives.take(np.repeat(np.arange(len(objectives)), config.images))
    return Maximization(repeated, config, images, before, after, dead)


def _climb(
    model: nn.Module, objectives: Objectives, config: AscentConfig, home: NDArray[np.float32], advance: Advance | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return images (M, 48, 48), activations before and after (M,), and which are dead (M,)."""
    device = device_of(model)
    space = SPACES[config.space]
    start = space.latents(torch.from_numpy(home).to(device))
    latents = space.bounded(start + config.noise * space.noise(_white_noise(objectives, config).to(device)))
    moved = torch.zeros(len(objectives), dtype=torch.bool, device=device)
    before = _activations(model, objectives, space.images(latents))
    # One view for all, so that an image takes the same way whichever others are climbed beside it.
    rng = np.random.default_rng(config.seed)
    for step in range(config.steps):
        view = draw_transform(rng, config.jitter, config.rotation, config.zoom)
        images = space.images(latents).requires_grad_()
        outputs = run_to(model, objectives.layer, view(images))
        (uphill,) = torch.autograd.grad(_climbed(objectives, *outputs).sum(), images, retain_graph=config.images > 1)
        found = uphill.square().mean((1, 2, 3)).sqrt() > NO_GRADIENT
        moved |= found
        pull = unit_rms(uphill) - config.total_variation * _total_variation_gradient(images.detach())
        if config.images > 1:
            (alike,) = torch.autograd.grad(_likeness(*outputs, config.images), images)
            pull -= config.diversity * unit_rms(alike)
        length = config.step_size * (1 - 0.9 * step / config.steps)
        latents = latents + length * found.view(-1, 1, 1, 1) * space.steps(latents, pull)
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


def _white_noise(objectives: Objectives, config: AscentConfig) -> Tensor:
    """Draw noise for each image, float32 (M, 1, 48, 48), from seed, channel and its number in the channel alone."""
    drawn = [
        np.random.default_rng([config.seed, channel + 1, i % config.images]).standard_normal(
            (1, IMAGE_SIZE, IMAGE_SIZE), np.float32
        )
        for i, channel in enumerate(objectives.channels.tolist())
    ]
    return torch.from_numpy(np.stack(drawn))


@torch.no_grad()
def _activations(model: nn.Module, objectives: Objectives, images: Tensor) -> Tensor:
    """Return objective i of image i, averaged over its places (M,)."""
    return objectives.places(run_to(model, objectives.layer, images)[1]).mean(1)


def _climbed(objectives: Objectives, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Return what to raise (M,): the objective, or what wakes a ReLU channel that is silent in most of its places."""
    places = objectives.places(outputs)
    activation = places.mean(1)
    if objectives.layer.kind != "ReLU":
        return activation
    given = objectives.places(inputs)
    few = max(1, round(WOKEN * places.shape[1]))
    speaking = (places > 0).sum(1)
    # A direction may well be below zero where channels speak.
    silent = (speaking < few) & _of_channels(objectives, places.device)
    wake = torch.where(speaking > 0, given.topk(few, dim=1).values.mean(1), given.amax(1))
    return torch.where(silent, wake, activation)


def _of_channels(objectives: Objectives, device: torch.device) -> Tensor:
    """Return which objectives are channels or units, bool (M,), and not directions among them."""
    return torch.from_numpy(objectives.channels >= 0).to(device)


def _likeness(inputs: Tensor, outputs: Tensor, group: int) -> Tensor:
    """Return the mean cosine between the images of each objective, summed over the objectives.

    Images are compared by the Gram matrix of the layer's output, which does not see where a pattern is, and at a
    dense layer by what it is given (Olah et al. 2017, appendix, "Diversity").
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
    """Return the gradient of sum(sqrt(dx^2 + dy^2 + 1)), the total variation, smooth within one gray level."""
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

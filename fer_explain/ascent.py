"""Images that a channel answers to most, found by gradient ascent in pixel space, all channels of a layer at once.

Erhan, Bengio, Courville and Vincent 2009, Visualizing Higher-Layer Features of a Deep Network, section 3.1;
Simonyan, Vedaldi and Zisserman 2013, equation 1, whose L2 penalty is the decay towards mid gray here. Total variation
and jitter keep the images readable (Mahendran and Vedaldi 2016; Olah, Mordvintsev and Schubert 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, ModelError
from fer_core.progress import Advance
from fer_explain.layers import Layer, device_of, evaluation_mode, find_layer, list_layers, run_to

MID_GRAY: Final = 127.5
WOKEN: Final = 0.1
"""Share of its places in which a ReLU channel must speak before its own gradient is enough to follow."""
NO_GRADIENT: Final = 1e-12
"""Root mean square of a gradient, per gray level, below which it has no direction worth following."""


@dataclass(frozen=True)
class AscentConfig:
    """How images are climbed to."""

    steps: int = 64
    """Gradient steps."""
    step_size: float = 8.0
    """Root mean square change of the first step, in gray levels; it falls linearly to a tenth of that."""
    noise: float = 12.0
    """Standard deviation of the start around mid gray, in gray levels."""
    decay: float = 0.01
    """Share of the way back to mid gray that each step gives up (the L2 penalty)."""
    total_variation: float = 0.15
    """Weight of the step against total variation, relative to the step along the activation."""
    jitter: int = 2
    """Largest shift of all images before a step, in pixels along each axis; behind convolutions only."""
    seed: int = 0
    """Of noise and jitter."""

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("step_size", 0), ("noise", 0), ("jitter", 0), ("seed", 0)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name}: expected at least {low}, found {getattr(self, name)}")
        for name in ("decay", "total_variation"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 0 to below 1, found {getattr(self, name)}")


@dataclass(frozen=True)
class Maximization:
    """What each channel of a layer answers to.

    Attributes
    ----------
    layer : Layer
        Whose channels.
    channels : ndarray of int64, shape (C,)
        Their numbers.
    images : ndarray of float32, shape (C, 48, 48)
        0..255; mid gray for a dead channel.
    start, reached : ndarray of float32, shape (C,)
        Activation, averaged over the places of the channel, of the noise and of the image.
    dead : ndarray of bool, shape (C,)
        No gradient led anywhere, or a ReLU channel stayed at zero all the way; a face may still wake the latter.
    """

    layer: Layer
    channels: NDArray[np.int64]
    images: NDArray[np.float32]
    start: NDArray[np.float32]
    reached: NDArray[np.float32]
    dead: NDArray[np.bool_]


def maximize_channels(
    model: nn.Module,
    layer: str | int,
    channels: Sequence[int] | None = None,
    config: AscentConfig | None = None,
    *,
    batch_size: int = 256,
    advance: Advance | None = None,
) -> Maximization:
    """Climb, for each channel of a layer, to an image that raises its mean activation.

    Each step adds the gradient, scaled to a root mean square in gray levels, minus that of the total variation, pulls
    the image a little towards mid gray and clamps it to 0..255; the best image on the way is kept. A ReLU passes no
    gradient where it is silent: while a channel speaks nowhere, the ascent raises the most that its ReLU is given, and
    while it speaks in less than a tenth of its places, the highest tenth of that.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); evaluation mode while it is climbed, and
        left in its own. Its parameters gather no gradient.
    layer : str or int
        Dotted name or index of a convolution, activation, pooling or dense layer; the last one is the logits.
    channels : sequence of int, optional
        Channel or unit numbers; all without it. The start and course of a channel do not depend on which others
        are asked for.
    config : AscentConfig, optional
        Steps, sizes, penalties and seed.
    batch_size : int
        Channels climbed together.
    advance : callable, optional
        Called with the number of finished steps times channels.

    Returns
    -------
    Maximization

    Raises
    ------
    ConfigError
        If there is no such layer or channel.
    ModelError
        If an activation is not finite.
    """
    config = config or AscentConfig()
    found = find_layer(model, layer)
    chosen = require_channels(found, channels)
    if not any(known.kind == "Conv2d" for known in list_layers(model)[: found.index + 1]):
        # A dense layer answers to a pattern in its place: shifting it would only average its answers away.
        config = replace(config, jitter=0)
    parts = []
    with evaluation_mode(model), torch.enable_grad():
        for start in range(0, len(chosen), batch_size):
            parts.append(_climb(model, found, chosen[start : start + batch_size], config, advance))
    images, before, after, dead = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ModelError(f"layer {found.name}: found activations that are not finite; are the weights?")
    return Maximization(found, chosen, images, before, after, dead)


def require_channels(layer: Layer, channels: Sequence[int] | None) -> NDArray[np.int64]:
    """Return channel numbers of a layer, int64 (C,), all for None; raise ConfigError where it has no such channel."""
    chosen = np.arange(layer.shape[0]) if channels is None else np.array(channels, np.int64)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= layer.shape[0]:
        found = "none" if not len(chosen) else ", ".join(str(c) for c in chosen if not 0 <= c < layer.shape[0])
        raise ConfigError(f"channels: layer {layer.name} has {layer.unit}s 0..{layer.shape[0] - 1}, found {found}")
    return chosen


def _climb(
    model: nn.Module, layer: Layer, channels: NDArray[np.int64], config: AscentConfig, advance: Advance | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return images (C, 48, 48), activations before and after (C,), and which channels are dead (C,)."""
    device = device_of(model)
    index = torch.from_numpy(channels).to(device)
    images = torch.from_numpy(_noise(channels, config)).to(device).unsqueeze(1)
    with torch.no_grad():
        before, _ = _activation(model, layer, images, index)
    best, best_images, moved = before.clone(), images.clone(), torch.zeros_like(before, dtype=torch.bool)
    # One shift for all, so that a channel takes the same way whichever others are climbed beside it.
    shifts = np.random.default_rng(config.seed).integers(-config.jitter, config.jitter + 1, (config.steps, 2))
    for step, shift in enumerate([*shifts.tolist(), [0, 0]]):
        shifted = images.roll(shift, (2, 3)).requires_grad_()
        activation, objective = _activation(model, layer, shifted, index)
        better = activation.detach() > best
        best = torch.where(better, activation.detach(), best)
        best_images = torch.where(better.view(-1, 1, 1, 1), shifted.detach(), best_images)
        if step == config.steps:
            break
        uphill, found = _direction(objective, shifted)
        moved |= found
        length = config.step_size * (1 - 0.9 * step / config.steps)
        back = (-shift[0], -shift[1])
        images = images + length * (
            uphill.roll(back, (2, 3)) - config.total_variation * _total_variation_gradient(images)
        )
        images = (MID_GRAY + (1 - config.decay) * (images - MID_GRAY)).clamp(0, 255)
        if advance is not None:
            advance(len(channels))
    dead = ~moved | ((best <= 0) & (layer.kind == "ReLU"))
    best_images[dead] = MID_GRAY
    return best_images[:, 0].cpu().numpy(), before.cpu().numpy(), best.cpu().numpy(), dead.cpu().numpy()


def _direction(objective: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's gradient (C, 1, 48, 48), scaled to a root mean square of 1, and whether it has any (C,)."""
    (gradient,) = torch.autograd.grad(objective.sum(), images)
    size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    found = size > NO_GRADIENT
    return torch.where(found, gradient / size.clamp(min=NO_GRADIENT), 0.0), found.flatten()


def _noise(channels: NDArray[np.int64], config: AscentConfig) -> NDArray[np.float32]:
    """Draw the start of each channel, float32 (C, 48, 48), from the seed and the channel's number alone."""
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    drawn = [np.random.default_rng([config.seed, channel]).standard_normal(shape, np.float32) for channel in channels]
    noise: NDArray[np.float32] = np.clip(MID_GRAY + config.noise * np.stack(drawn), 0, 255).astype(np.float32)
    return noise


def _activation(model: nn.Module, layer: Layer, images: Tensor, channels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean activation of channel i for image i, and what to climb to raise it, both (C,)."""
    inputs, outputs = run_to(model, layer, images)
    each = torch.arange(len(channels), device=channels.device)
    places = outputs[each, channels].reshape(len(channels), -1)
    activation = places.mean(1)
    if layer.kind != "ReLU":
        return activation, activation
    given = inputs[each, channels].reshape(places.shape)
    few = max(1, round(WOKEN * places.shape[1]))
    speaking = (places > 0).sum(1)
    wake = torch.where(speaking > 0, given.topk(few, dim=1).values.mean(1), given.amax(1))
    return activation, torch.where(speaking > few, activation, wake)


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

"""Augmentation of a whole batch at once, on its device."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from fer_train.config import AugmentConfig


def augment(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Augment each image of a batch at random.

    Flip, rotation, zoom and shift are one affine map, so that an image is resampled once, bilinearly; pixels from
    outside the image repeat the border.

    Parameters
    ----------
    images : Tensor
        float32 (batch, 1, 48, 48) in 0..255.
    config : AugmentConfig
        Limits of the transformations.
    generator : Generator
        Random generator on the device of `images`.

    Returns
    -------
    Tensor
        Images of the same shape, type and range.
    """
    images = _warp(images, config, generator)
    images = _relight(images, config, generator)
    if config.erasing > 0:
        images = _erase(images, config.erasing, generator)
    return images


def _uniform(n: int, limit: float, like: Tensor, generator: Generator) -> Tensor:
    return (torch.rand(n, generator=generator, device=like.device) * 2 - 1) * limit


def _warp(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    n = len(images)
    angle = _uniform(n, math.radians(config.rotation_degrees), images, generator)
    scale = 1 / (1 + _uniform(n, config.zoom, images, generator))
    mirror = torch.ones(n, device=images.device)
    if config.flip:
        mirror = torch.where(_uniform(n, 1.0, images, generator) < 0, -mirror, mirror)
    # Normalized coordinates run from -1 to 1, so a fraction of the side is twice as much in them.
    x, y = (_uniform(n, 2 * config.shift, images, generator) for _ in range(2))
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    # The grid maps a pixel to its source: the shift comes last, so it is undone first.
    rows = [
        torch.stack([cos * mirror, -sin, sin * y - cos * mirror * x], 1),
        torch.stack([sin * mirror, cos, -sin * mirror * x - cos * y], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _relight(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    n = len(images)
    gain = 1 + _uniform(n, config.contrast, images, generator)
    offset = _uniform(n, 255 * config.brightness, images, generator)
    middle = images.mean(dim=(1, 2, 3))
    # gain * (image - middle) + middle + offset, as one multiplication and one addition
    return (images * gain.view(-1, 1, 1, 1) + (middle * (1 - gain) + offset).view(-1, 1, 1, 1)).clamp(0, 255)


def _erase(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Overwrite a rectangle of 2% to 25% of the area, aspect ratio 1/3 to 3, with noise, cropped at the border."""
    n, _, height, width = images.shape

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=images.device)

    area = 0.02 + rand(n) * (0.25 - 0.02)
    aspect = torch.exp((rand(n) * 2 - 1) * math.log(3.0))
    half_height = (area * aspect).sqrt().clamp(max=1) * height / 2
    half_width = (area / aspect).sqrt().clamp(max=1) * width / 2
    y = torch.arange(height, device=images.device) - (rand(n) * height).view(-1, 1)
    x = torch.arange(width, device=images.device) - (rand(n) * width).view(-1, 1)
    inside = (y.abs() < half_height.view(-1, 1)).unsqueeze(2) & (x.abs() < half_width.view(-1, 1)).unsqueeze(1)
    chosen = inside & (rand(n) < share).view(-1, 1, 1)
    return torch.where(chosen.unsqueeze(1), rand(*images.shape) * 255, images)


def mixup(images: Tensor, targets: Tensor, limit: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with another one of the batch, and the targets with the same weight.

    This is mixup (Zhang et al. 2018, section 2) with a weight per image that is uniform in 0 to `limit`.

    Parameters
    ----------
    images : Tensor
        float32 (batch, 1, 48, 48).
    targets : Tensor
        float32 (batch, classes), rows that sum to 1.
    limit : float
        Largest weight of the other image.
    generator : Generator
        Random generator on the device of `images`.

    Returns
    -------
    images, targets : Tensor
        Tensors of the same shapes and types.
    """
    n = len(images)
    share = torch.rand(n, 1, generator=generator, device=images.device) * limit
    other = torch.randperm(n, generator=generator, device=images.device)
    return images.lerp(images[other], share.view(-1, 1, 1, 1)), targets.lerp(targets[other], share)

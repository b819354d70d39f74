"""Small random shifts, rotations and changes of scale, which make synthesized images robust."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Transform:
    """An affine transform of images (Olah, Mordvintsev and Schubert 2017, "Transformation robustness").

    Attributes
    ----------
    down, right : float
        Shift of the content, in pixels.
    degrees : float
        Clockwise rotation about the center.
    zoom : float
        Magnification about the center.
    """

    down: float = 0.0
    right: float = 0.0
    degrees: float = 0.0
    zoom: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """Transform images (N, 1, height, width); beyond the edges they are reflected.

        Bilinear sampling, differentiable with respect to the images. The identity returns its argument.
        """
        if self == Transform():
            return images
        height, width = images.shape[-2:]
        cos, sin = (f(math.radians(self.degrees)) / self.zoom for f in (math.cos, math.sin))
        x, y = -2 * self.right / width, -2 * self.down / height
        # The matrix maps output to input coordinates, hence the inverse of each transform.
        matrix = torch.tensor([[cos, sin, cos * x + sin * y], [-sin, cos, cos * y - sin * x]])
        grid = functional.affine_grid(
            matrix.to(images).expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def draw_transform(rng: np.random.Generator, jitter: int, rotation: float, zoom: float) -> Transform:
    """Draw a random transform.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random generator; it advances by the same amount for any limits.
    jitter : int
        Maximum shift along each axis, in whole pixels.
    rotation : float
        Maximum rotation in either direction, in degrees.
    zoom : float
        Maximum change of scale in either direction, as a fraction.
    """
    down, right, angle, scale = rng.uniform(-1, 1, 4).tolist()
    return Transform(round(jitter * down), round(jitter * right), rotation * angle, 1 + zoom * scale)

"""Small random turns, zooms and shifts: what survives them is a pattern, not an accident of single pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Transform:
    """One affine view of an image (Olah, Mordvintsev and Schubert 2017, "Transformation robustness").

    Attributes
    ----------
    down, right : float
        How far what is seen moves, in pixels.
    degrees : float
        Turn about the centre, clockwise.
    zoom : float
        Factor by which what is seen grows about the centre.
    """

    down: float = 0.0
    right: float = 0.0
    degrees: float = 0.0
    zoom: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """Return the view of images (N, 1, height, width), the same shape; beyond an edge lies its mirror image.

        Differentiable in the images (bilinear sampling). Without shift, turn and zoom it returns them as they are.
        """
        if self == Transform():
            return images
        height, width = images.shape[-2:]
        cos, sin = (f(math.radians(self.degrees)) / self.zoom for f in (math.cos, math.sin))
        x, y = -2 * self.right / width, -2 * self.down / height
        # From a place in the view to the place in the image that is seen there, hence all inverted.
        matrix = torch.tensor([[cos, sin, cos * x + sin * y], [-sin, cos, cos * y - sin * x]])
        grid = functional.affine_grid(
            matrix.to(images).expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def draw_transform(rng: np.random.Generator, jitter: int, rotation: float, zoom: float) -> Transform:
    """Draw a transform.

    Parameters
    ----------
    rng : numpy.random.Generator
        It advances by the same amount whatever the limits are.
    jitter : int
        Largest shift along each axis, in whole pixels.
    rotation : float
        Largest turn either way, in degrees.
    zoom : float
        Largest change of the scale either way, as a share.
    """
    down, right, turn, growth = rng.uniform(-1, 1, 4).tolist()
    return Transform(round(jitter * down), round(jitter * right), rotation * turn, 1 + zoom * growth)

"""Two spaces to climb in: the pixels themselves, and a spectrum in which neighbouring pixels are no longer alike.

In pixel space a gradient step is dominated by high frequencies. Olah, Mordvintsev and Schubert 2017 (Feature
Visualization, "Preconditioning and Parameterization") climb instead in the Fourier coefficients of the image, each
scaled by one over its frequency; Mordvintsev, Pezzotti, Schubert and Olah 2018 give the parametrization. The step of
steepest ascent there, seen as an image, is the gradient filtered by the square of these scales, which is what is
computed here: no coefficient need be kept.

Both spaces hold an image as a latent one, float32 (N, 1, 48, 48) in gray levels away from mid gray.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from torch import Tensor

from fer_core import IMAGE_SIZE

MID_GRAY: Final = 127.5
NO_GRADIENT: Final = 1e-12
"""Root mean square of a gradient, per gray level, below which it has no direction worth following."""


class ImageSpace(Protocol):
    """How images are held while they are climbed."""

    def images(self, latents: Tensor) -> Tensor:
        """Return the images, 0..255, that latent ones stand for."""

    def latents(self, images: Tensor) -> Tensor:
        """Return the latent images of images, 0..255; the inverse of `images`."""

    def noise(self, white: Tensor) -> Tensor:
        """Give white noise of deviation 1 the spectrum of this space's steps; the deviation stays about 1."""

    def steps(self, latents: Tensor, pulls: Tensor) -> Tensor:
        """Return the steps of steepest ascent, of root mean square 1 in the space, for gradients at the images."""

    def bounded(self, latents: Tensor) -> Tensor:
        """Bring latent images back to where they stand for an image."""


class PixelSpace:
    """The gray levels themselves, clamped to 0..255 after each step (Erhan et al. 2009)."""

    def images(self, latents: Tensor) -> Tensor:
        """Shift to 0..255."""
        return latents + MID_GRAY

    def latents(self, images: Tensor) -> Tensor:
        """Shift to around zero."""
        return images - MID_GRAY

    def noise(self, white: Tensor) -> Tensor:
        """Leave it white."""
        return white

    def steps(self, latents: Tensor, pulls: Tensor) -> Tensor:
        """Scale the gradients."""
        return unit_rms(pulls)

    def bounded(self, latents: Tensor) -> Tensor:
        """Clamp."""
        return latents.clamp(-MID_GRAY, MID_GRAY)


class FourierSpace:
    """The Fourier coefficients, scaled by one over their frequency, then a sigmoid into 0..255.

    The sigmoid has slope 1 at mid gray, so that small steps there are in gray levels as in pixel space. Only the
    latent image is kept: `steps` goes to the coefficients and back.
    """

    def images(self, latents: Tensor) -> Tensor:
        """Squash into 0..255; no gray level is ever reached at which a gradient would end."""
        return 2 * MID_GRAY * torch.sigmoid(latents * (2 / MID_GRAY))

    def latents(self, images: Tensor) -> Tensor:
        """Invert the sigmoid; black and white, which it never reaches, are taken for half a gray level less."""
        return torch.logit((images / (2 * MID_GRAY)).clamp(0.5 / 255, 254.5 / 255)) * (MID_GRAY / 2)

    def noise(self, white: Tensor) -> Tensor:
        """Scale each frequency."""
        noise: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * spectrum_scales(white.device)).real
        return noise

    def steps(self, latents: Tensor, pulls: Tensor) -> Tensor:
        """Take the gradients to the coefficients by the chain rule, scale them there, and bring them back."""
        scales = spectrum_scales(latents.device)
        squashed = self.images(latents) / (2 * MID_GRAY)
        slopes = 4 * squashed * (1 - squashed)
        coefficients = torch.fft.fft2(pulls * slopes, norm="ortho") * scales
        size = coefficients.abs().square().mean((1, 2, 3), keepdim=True).sqrt()
        coefficients = torch.where(size > NO_GRADIENT, coefficients / size.clamp(min=NO_GRADIENT), 0.0)
        steps: Tensor = torch.fft.ifft2(coefficients * scales, norm="ortho").real
        return steps

    def bounded(self, latents: Tensor) -> Tensor:
        """Nothing to do: the sigmoid takes any number."""
        return latents


SPACES: Final[Mapping[str, ImageSpace]] = {"fourier": FourierSpace(), "pixel": PixelSpace()}


def spectrum_scales(device: torch.device | None = None) -> Tensor:
    """Return one over the frequency of each coefficient of `torch.fft.fft2`, root mean square 1, float32 (48, 48).

    The mean of the image counts as its lowest frequency, one wave over the image.
    """
    frequencies = torch.fft.fftfreq(IMAGE_SIZE, device=device)
    radii = torch.hypot(frequencies[:, None], frequencies[None]).clamp(min=1 / IMAGE_SIZE)
    scales = 1 / radii
    unit: Tensor = scales / scales.square().mean().sqrt()
    return unit


def unit_rms(gradients: Tensor) -> Tensor:
    """Scale each image's gradient (N, 1, 48, 48) to a root mean square of 1; one that is nothing stays zero."""
    size = gradients.square().mean((1, 2, 3), keepdim=True).sqrt()
    return torch.where(size > NO_GRADIENT, gradients / size.clamp(min=NO_GRADIENT), 0.0)

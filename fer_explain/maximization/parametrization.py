"""Image parametrizations: gray levels, or a Fourier spectrum in which neighboring pixels are decorrelated.

In pixel space gradients are dominated by high frequencies. Olah, Mordvintsev and Schubert 2017 (Feature Visualization,
"Preconditioning and Parameterization") optimize the Fourier coefficients of the image, each scaled by the inverse of
its frequency; Mordvintsev, Pezzotti, Schubert and Olah 2018 describe the parametrization. A steepest-ascent step there
is, as an image, the gradient filtered by the square of these scales. This filtered gradient is computed here, so no
coefficients need to be stored.

Both parametrizations represent an image by a latent image, float32 (N, 1, 48, 48), in gray levels relative to mid gray.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from torch import Tensor

from fer_core import IMAGE_SIZE

MID_GRAY: Final = 127.5
NO_GRADIENT: Final = 1e-12
"""RMS of a gradient, per gray level, below which it counts as zero."""


class ImageSpace(Protocol):
    """Representation of images during optimization."""

    def images(self, latents: Tensor) -> Tensor:
        """Return the images, 0..255, of latent images."""

    def latents(self, images: Tensor) -> Tensor:
        """Return the latent images of images, 0..255; the inverse of `images`."""

    def noise(self, white: Tensor) -> Tensor:
        """Give white noise the spectrum of this space's steps; its standard deviation remains about 1."""

    def steps(self, latents: Tensor, gradients: Tensor) -> Tensor:
        """Return steepest-ascent steps, of RMS 1 in this space, for gradients with respect to the images."""

    def bounded(self, latents: Tensor) -> Tensor:
        """Project latent images onto the valid range."""


class PixelSpace:
    """Gray levels, clamped to 0..255 after each step (Erhan et al. 2009)."""

    def images(self, latents: Tensor) -> Tensor:
        """Shift to 0..255."""
        return latents + MID_GRAY

    def latents(self, images: Tensor) -> Tensor:
        """Shift to zero mean gray."""
        return images - MID_GRAY

    def noise(self, white: Tensor) -> Tensor:
        """Return the noise unchanged."""
        return white

    def steps(self, latents: Tensor, gradients: Tensor) -> Tensor:
        """Scale the gradients."""
        return unit_rms(gradients)

    def bounded(self, latents: Tensor) -> Tensor:
        """Clamp."""
        return latents.clamp(-MID_GRAY, MID_GRAY)


class FourierSpace:
    """Fourier coefficients scaled by their inverse frequency, followed by a sigmoid to 0..255.

    The sigmoid has slope 1 at mid gray, so that small steps are in gray levels as in pixel space.
    """

    def images(self, latents: Tensor) -> Tensor:
        """Apply the sigmoid; it never saturates completely, so gradients do not vanish."""
        return 2 * MID_GRAY * torch.sigmoid(latents * (2 / MID_GRAY))

    def latents(self, images: Tensor) -> Tensor:
        """Invert the sigmoid; black and white, which it never reaches, are moved inwards by half a gray level."""
        return torch.logit((images / (2 * MID_GRAY)).clamp(0.5 / 255, 254.5 / 255)) * (MID_GRAY / 2)

    def noise(self, white: Tensor) -> Tensor:
        """Scale each frequency."""
        noise: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * spectrum_scales(white.device)).real
        return noise

    def steps(self, latents: Tensor, gradients: Tensor) -> Tensor:
        """Transform the gradients to coefficients by the chain rule, scale them, and transform back."""
        scales = spectrum_scales(latents.device)
        sigmoid = self.images(latents) / (2 * MID_GRAY)
        slopes = 4 * sigmoid * (1 - sigmoid)
        coefficients = torch.fft.fft2(gradients * slopes, norm="ortho") * scales
        size = coefficients.abs().square().mean((1, 2, 3), keepdim=True).sqrt()
        coefficients = torch.where(size > NO_GRADIENT, coefficients / size.clamp(min=NO_GRADIENT), 0.0)
        steps: Tensor = torch.fft.ifft2(coefficients * scales, norm="ortho").real
        return steps

    def bounded(self, latents: Tensor) -> Tensor:
        """Return the latent images unchanged: any value is valid."""
        return latents


SPACES: Final[Mapping[str, ImageSpace]] = {"fourier": FourierSpace(), "pixel": PixelSpace()}


def spectrum_scales(device: torch.device | None = None) -> Tensor:
    """Return the inverse frequency of each coefficient of `torch.fft.fft2`, scaled to RMS 1, float32 (48, 48).

    The mean of the image has the scale of the lowest frequency, one period per image.
    """
    frequencies = torch.fft.fftfreq(IMAGE_SIZE, device=device)
    radii = torch.hypot(frequencies[:, None], frequencies[None]).clamp(min=1 / IMAGE_SIZE)
    scales = 1 / radii
    unit: Tensor = scales / scales.square().mean().sqrt()
    return unit


def unit_rms(gradients: Tensor) -> Tensor:
    """Scale the gradient of each image (N, 1, 48, 48) to RMS 1; zero gradients remain zero."""
    size = gradients.square().mean((1, 2, 3), keepdim=True).sqrt()
    return torch.where(size > NO_GRADIENT, gradients / size.clamp(min=NO_GRADIENT), 0.0)

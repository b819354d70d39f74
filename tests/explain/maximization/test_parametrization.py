import math

import numpy as np
import pytest
import torch

from fer_explain.maximization.parametrization import SPACES, FourierSpace, PixelSpace, spectrum_scales, unit_rms


def drawn(*shape: int, seed: int = 0, high: float = 1.0) -> torch.Tensor:
    return high * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SPACES)
def test_images_survive_the_way_through_a_space(name: str) -> None:
    images = drawn(3, 1, 48, 48, high=255)
    space = SPACES[name]
    torch.testing.assert_close(space.images(space.latents(images)), images.clamp(0.5, 254.5), atol=0.51, rtol=0)
    found = space.images(space.bounded(drawn(3, 1, 48, 48, high=9999) - 5000))
    assert 0 <= found.min() <= found.max() <= 255


@pytest.mark.parametrize("name", SPACES)
def test_a_latent_gray_level_at_mid_gray_is_one_of_the_image(name: str) -> None:
    space = SPACES[name]
    small = torch.full((1, 1, 48, 48), 0.01)
    torch.testing.assert_close(space.images(small) - space.images(-small), 2 * small, rtol=5e-3, atol=0)
    torch.testing.assert_close(space.images(torch.zeros(1, 1, 48, 48)), torch.full((1, 1, 48, 48), 127.5))


def test_the_scales_are_one_over_the_frequency() -> None:
    scales = spectrum_scales()
    expected = np.empty((48, 48))
    for y in range(48):
        for x in range(48):  # frequencies above the middle are negative ones
            radius = math.hypot(min(y, 48 - y), min(x, 48 - x)) / 48
            expected[y, x] = 1 / max(radius, 1 / 48)
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(scales.numpy(), expected, rtol=1e-5)


def test_fourier_noise_has_the_spectrum_of_its_scales() -> None:
    white = torch.randn(400, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    noise = FourierSpace().noise(white)
    power = torch.fft.fft2(noise, norm="ortho").abs().square().mean((0, 1)).sqrt()
    torch.testing.assert_close(power, spectrum_scales(), rtol=0.25, atol=0)
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    assert PixelSpace().noise(white) is white


def test_a_fourier_step_is_steepest_ascent_in_the_scaled_coefficients() -> None:
    latents, gradients = drawn(2, 1, 48, 48, high=80) - 40, drawn(2, 1, 48, 48, seed=1) - 0.5
    scales = spectrum_scales()
    for latent, pull, step in zip(latents, gradients, FourierSpace().steps(latents, gradients), strict=True):
        coefficients = (torch.fft.fft2(latent, norm="ortho") / scales).requires_grad_()
        image = FourierSpace().images(torch.fft.ifft2(coefficients * scales, norm="ortho").real)
        (gradient,) = torch.autograd.grad((image * pull).sum(), coefficients)
        gradient = gradient / gradient.abs().square().mean().sqrt()
        expected = torch.fft.ifft2(gradient * scales, norm="ortho").real
        torch.testing.assert_close(step, expected, atol=1e-5, rtol=1e-4)


def test_a_pixel_step_is_the_gradient_of_size_one() -> None:
    gradients = drawn(2, 1, 48, 48) - 0.5
    step = PixelSpace().steps(torch.zeros_like(gradients), 7 * gradients)
    torch.testing.assert_close(step, gradients / gradients.square().mean((1, 2, 3), keepdim=True).sqrt())


@pytest.mark.parametrize("name", SPACES)
def test_where_there_is_no_gradient_there_is_no_step(name: str) -> None:
    nothing = torch.zeros(2, 1, 48, 48)
    torch.testing.assert_close(SPACES[name].steps(nothing, nothing), nothing, atol=0, rtol=0)
    torch.testing.assert_close(unit_rms(nothing), nothing, atol=0, rtol=0)

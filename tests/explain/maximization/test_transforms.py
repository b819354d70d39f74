import math

import numpy as np
import pytest
import torch

from fer_explain.maximization.transforms import Transform, draw_transform


def image(seed: int = 0) -> torch.Tensor:
    return 255 * torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(seed))


def sampled(picture: np.ndarray, transform: Transform) -> np.ndarray:
    """Look pixel by pixel, by the definition: where in the picture is what the view shows at (y, x)?"""
    seen = np.full((48, 48), np.nan)
    angle = math.radians(transform.degrees)
    for y in range(48):
        for x in range(48):
            v, u = y - 23.5 - transform.down, x - 23.5 - transform.right
            # back by the clockwise turn (y points down), back by the zoom
            px = (u * math.cos(angle) + v * math.sin(angle)) / transform.zoom + 23.5
            py = (-u * math.sin(angle) + v * math.cos(angle)) / transform.zoom + 23.5
            if not (0 <= px <= 47 and 0 <= py <= 47):
                continue
            i, j = min(int(py), 46), min(int(px), 46)
            a, b = py - i, px - j
            seen[y, x] = (1 - a) * ((1 - b) * picture[i, j] + b * picture[i, j + 1]) + a * (
                (1 - b) * picture[i + 1, j] + b * picture[i + 1, j + 1]
            )
    return seen


@pytest.mark.parametrize(
    "transform",
    [
        Transform(3, -2),
        Transform(degrees=20),
        Transform(zoom=1.3),
        Transform(zoom=0.8),
        Transform(2, 5, -12, 1.1),
    ],
)
def test_a_view_is_what_its_definition_samples(transform: Transform) -> None:
    picture = image()
    expected = sampled(picture[0, 0].double().numpy(), transform)
    inside = np.isfinite(expected)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(transform(picture)[0, 0].numpy()[inside], expected[inside], atol=0.02)


def test_without_shift_turn_and_zoom_it_is_the_identity() -> None:
    picture = image()
    assert Transform()(picture) is picture
    torch.testing.assert_close(Transform(down=1e-9)(picture), picture, atol=0.01, rtol=0)
    rng = np.random.default_rng(0)
    assert {draw_transform(rng, 0, 0.0, 0.0) for _ in range(9)} == {Transform()}


def test_a_view_passes_gradients_back() -> None:
    picture = image().double().requires_grad_()
    transform = Transform(1, 2, 7, 1.05)
    weights = image(1).double()
    (gradient,) = torch.autograd.grad((transform(picture) * weights).sum(), picture)
    change = torch.zeros_like(picture)
    change[0, 0, 20, 30] = 1
    expected = ((transform(picture + change) - transform(picture)) * weights).sum()
    assert gradient[0, 0, 20, 30].item() == pytest.approx(expected.item(), rel=1e-6)


def test_draws_stay_within_their_limits_and_follow_the_generator() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_transform(rng, 2, 5.0, 0.1) for _ in range(300)]
    assert {t.down for t in drawn} == {t.right for t in drawn} == {-2, -1, 0, 1, 2}
    assert 4 < max(abs(t.degrees) for t in drawn) <= 5
    assert 0.9 <= min(t.zoom for t in drawn) < 0.93
    assert 1.07 < max(t.zoom for t in drawn) <= 1.1
    assert draw_transform(np.random.default_rng(0), 2, 5.0, 0.1) == drawn[0]

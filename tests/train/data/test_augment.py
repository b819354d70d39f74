from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fer_train.config import AugmentConfig
from fer_train.data.augment import augment, mixup

STILL = AugmentConfig(flip=False, rotation_degrees=0, shift=0, zoom=0, brightness=0, contrast=0)


def generator(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Any:
    smooth = torch.rand(6, 1, 12, 12, generator=generator(5)) * 255
    return torch.nn.functional.interpolate(smooth, size=(48, 48), mode="bilinear")


def test_with_every_change_off_the_images_are_unchanged(images: Any) -> None:
    torch.testing.assert_close(augment(images, STILL, generator()), images, atol=1e-3, rtol=0)


def test_flip_mirrors_about_half_of_the_images_exactly(images: Any) -> None:
    many = images[:1].expand(400, -1, -1, -1)
    config = AugmentConfig(flip=True, rotation_degrees=0, shift=0, zoom=0, brightness=0, contrast=0)
    out = augment(many, config, generator())
    mirrored = (out - many.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    kept = (out - many).abs().amax((1, 2, 3)) < 1e-3
    assert (mirrored ^ kept).all()
    assert 150 < mirrored.sum() < 250


def test_rotation_agrees_with_pillow(images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    degrees = 10.0
    config = AugmentConfig(flip=False, rotation_degrees=degrees, shift=0, zoom=0, brightness=0, contrast=0)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(*shape))  # every draw at its upper limit
    out = augment(images[:1], config, generator())[0, 0].numpy()
    reference = Image.fromarray(images[0, 0].numpy()).rotate(degrees, Image.Resampling.BILINEAR)
    inner = slice(10, 38)
    assert np.abs(out[inner, inner] - np.asarray(reference)[inner, inner]).mean() < 1.0


def test_shift_moves_by_at_most_its_share_of_the_side() -> None:
    point = torch.zeros(300, 1, 48, 48)
    point[:, :, 23:25, 23:25] = 255.0
    config = AugmentConfig(flip=False, rotation_degrees=0, shift=0.1, zoom=0, brightness=0, contrast=0)
    out = augment(point, config, generator())
    axis = torch.arange(48.0)
    centre = torch.stack([(out.sum(d) * axis).sum(-1).squeeze() / out.sum((1, 2, 3)) for d in (3, 2)])
    moved = (centre - 23.5).abs()
    assert moved.max() <= 4.8 + 1e-3
    assert moved.max() > 4.0


def test_zoom_agrees_with_pillow(images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(STILL, zoom=0.25)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(*shape))  # every draw at its upper limit
    out = augment(images[:1], config, generator())[0, 0].numpy()
    # What fills the image came from its middle, 48 / 1.25 pixels wide.
    side, corner = 48 / 1.25, (48 - 48 / 1.25) / 2
    pillow = Image.fromarray(images[0, 0].numpy())
    reference = pillow.transform(
        (48, 48), Image.Transform.EXTENT, (corner, corner, corner + side, corner + side), Image.Resampling.BILINEAR
    )
    assert np.abs(out - np.asarray(reference))[2:-2, 2:-2].max() < 0.5


def test_the_shift_comes_after_the_rest_and_keeps_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    point = torch.zeros(1, 1, 48, 48)
    point[:, :, 23:25, 23:25] = 255.0  # in the middle, which rotation, zoom and flip leave where it is
    config = replace(STILL, flip=True, rotation_degrees=45, zoom=0.3, shift=0.1)
    axis = torch.arange(48.0)
    for seed in range(200):
        out = augment(point, config, generator(seed))
        centre = torch.stack([(out.sum(d) * axis).sum(-1).squeeze() / out.sum() for d in (3, 2)])
        assert (centre - 23.5).abs().max() < 4.8 + 0.25  # the resampled point is a few pixels


def test_mixup_mixes_images_and_targets_by_the_same_shares(images: Any) -> None:
    targets = torch.eye(7)[:6]
    mixed, goals = mixup(images, targets, 0.4, generator(3))
    shares = 1 - goals.diagonal()  # each target is a class of its own, so what is left of it tells the share
    assert shares.min() >= 0
    assert shares.max() <= 0.4
    assert shares.max() > 0.1
    for i in range(6):
        other = next((j for j in range(6) if j != i and goals[i, j] > 0), i)
        expected = (1 - shares[i]) * images[i] + shares[i] * images[other]
        torch.testing.assert_close(mixed[i], expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(goals[i], (1 - shares[i]) * targets[i] + shares[i] * targets[other])
    torch.testing.assert_close(goals.sum(1), torch.ones(6))


def test_every_image_is_changed_in_its_own_way(images: Any) -> None:
    out = augment(images[:1].expand(5, -1, -1, -1), AugmentConfig(), generator())
    assert all(not torch.equal(out[0], other) for other in out[1:])


def test_light_keeps_the_range_and_stays_within_its_limits() -> None:
    gray = torch.full((200, 1, 48, 48), 100.0)
    config = AugmentConfig(flip=False, rotation_degrees=0, shift=0, zoom=0, brightness=0.1, contrast=0.1)
    out = augment(gray, config, generator())
    assert (out - 100).abs().max() <= 25.5 + 1e-3
    white = augment(torch.full((50, 1, 48, 48), 255.0), config, generator())
    assert white.max() <= 255
    assert white.min() >= 229


@pytest.mark.parametrize(("drawn", "sign"), [(0.0, -1), (1.0, 1)])
def test_light_is_gain_around_the_mean_and_an_offset(monkeypatch: pytest.MonkeyPatch, drawn: float, sign: int) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, drawn))
    ramp = torch.linspace(60, 180, 48 * 48).reshape(1, 1, 48, 48)
    config = AugmentConfig(flip=False, rotation_degrees=0, shift=0, zoom=0, brightness=0.1, contrast=0.2)
    expected = (1 + sign * 0.2) * (ramp - 120) + 120 + sign * 25.5
    assert torch.allclose(augment(ramp, config, generator()), expected, atol=1e-3)


def test_erasing_overwrites_a_rectangle_of_about_the_chosen_share_of_images() -> None:
    flat = torch.full((400, 1, 48, 48), 300.0)  # above any noise, so that erased pixels show
    erased = _changed(flat, share=0.5)
    share_of_images = erased.any(dim=(1, 2)).float().mean()
    assert 0.4 < share_of_images < 0.6
    for mask in erased[erased.any(dim=(1, 2))][:20]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows.unsqueeze(1) & columns.unsqueeze(0))
        assert mask.float().mean() <= 0.26


def _changed(flat: Any, share: Any) -> Any:
    from fer_train.data.augment import _erase

    return (_erase(flat, share, generator()) != flat).squeeze(1)


def test_the_same_generator_state_gives_the_same_images(images: Any) -> None:
    config = AugmentConfig(erasing=1.0)
    first, second, other = (augment(images, config, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_result_stays_in_pixel_units(images: Any) -> None:
    out = augment(images, AugmentConfig(erasing=1.0, contrast=1.0, brightness=1.0), generator())
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 255
    assert math.isfinite(out.sum())

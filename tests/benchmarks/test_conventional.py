"""The conventional training loop augments faces as it says and refuses what it does not support."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.conventional import PillowFaces, train
from fer_core import ConfigError
from fer_core.synthetic.data_set import synthesize
from fer_train.config import AugmentConfig, FitConfig
from fer_train.data.splits import Splits

STILL = AugmentConfig(flip=False, rotation_degrees=0, shift=0, zoom=0, brightness=0, contrast=0)


@pytest.mark.parametrize("limits", [None, STILL])
def test_without_augmentation_the_faces_are_unchanged(limits: AugmentConfig | None) -> None:
    faces = synthesize(20, seed=4)
    data = PillowFaces(faces, limits)
    for n in range(len(data)):
        pixels, label = data[n]
        np.testing.assert_array_equal(pixels.numpy()[0], faces.images[n])
        assert label == faces.labels[n]


def test_faces_are_rotated_flipped_and_shifted_about_their_center(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quarter turns and shifts by whole pixels only move pixels, up to Pillow's rounding down."""
    image = np.random.default_rng(5).integers(0, 256, (48, 48), dtype=np.uint8)
    faces = replace(synthesize(10, seed=0).take([0]), images=image[None])

    def changed(**limits: Any) -> Any:
        return PillowFaces(faces, replace(STILL, **limits))[0][0].numpy()[0]

    monkeypatch.setattr(random, "uniform", lambda low, high: high)  # every limit is reached
    monkeypatch.setattr(random, "random", lambda: 0.1)  # every face that may be mirrored is
    for degrees in (90, 180):
        np.testing.assert_allclose(changed(rotation_degrees=degrees), np.rot90(image, degrees // 90), atol=1)
    np.testing.assert_allclose(changed(flip=True), image[:, ::-1], atol=1)
    np.testing.assert_allclose(changed(shift=3 / 48)[:45, :45], image[3:, 3:], atol=1)


def test_initial_weights_and_teachers_are_refused() -> None:
    splits = Splits(synthesize(20, seed=4), synthesize(10, seed=5), 128.0, 64.0)
    config = FitConfig(initial="exports/best", device="cpu")
    with pytest.raises(ConfigError, match=r"^the conventional loop supports neither initial weights nor teachers$"):
        next(train(splits, config, 0))

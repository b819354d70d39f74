"""Training several seeds as one batched model changes nothing but the speed."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.batched_seeds import batched, one_after_another
from fer_train.models import build_model


def networks() -> Any:
    built = []
    for seed in range(3):
        torch.manual_seed(seed)
        built.append(build_model("course-cnn", mean=128.0, std=64.0, widths=[2, 2, 2], hidden=4, dropout=0.0))
    return built


def test_seeds_trained_as_one_model_have_the_losses_they_have_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((4, 3, 5, 1, 48, 48), generator=generator) * 255
    labels = torch.randint(7, (4, 3, 5), generator=generator)
    together = batched(networks(), images, labels)
    alone = one_after_another(networks(), images, labels)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert len(set(alone.flatten().tolist())) == 12

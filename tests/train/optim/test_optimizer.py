from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fer_train.config import FitConfig
from fer_train.models import build_model
from fer_train.optim.optimizer import WeightAverage, learning_rate, make_optimizer


def rates(schedule: Any, epochs: int = 10, steps_per_epoch: int = 10, **settings: Any) -> Any:
    config = FitConfig(schedule=schedule, lr=1.0, epochs=epochs, **settings)
    return [learning_rate(step, epochs * steps_per_epoch, steps_per_epoch, config) for step in range(100)]


def test_constant_stays() -> None:
    assert set(rates("constant")) == {1.0}


def test_cosine_falls_to_zero_along_the_curve() -> None:
    assert rates("cosine") == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(100)])


def test_warm_up_rises_linearly_to_the_peak() -> None:
    assert rates("constant", lr_warmup_epochs=2)[:21] == pytest.approx([(step + 1) / 20 for step in range(20)] + [1.0])


def test_one_cycle_peaks_after_three_tenths_and_ends_near_zero() -> None:
    values = rates("one-cycle")
    assert values.index(max(values)) in (29, 30)
    assert values[0] == pytest.approx(1 / 30)
    assert values[-1] < 0.001


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_weight_decay_spares_biases_and_normalization(name: str) -> None:
    model = build_model("course-cnn", mean=0, std=1, widths=(2, 2, 2), hidden=4, batch_norm=True)
    optimizer = make_optimizer(model, FitConfig(optimizer=name, weight_decay=0.5))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for name, p in model.named_parameters() if p.ndim >= 2}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_the_average_is_the_recursion_of_its_definition() -> None:
    model = torch.nn.Linear(3, 2)
    average = WeightAverage(model, decay=0.9)
    expected = model.weight.detach().clone()
    for step in range(200):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, generator=torch.Generator().manual_seed(step)))
        average.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.module.weight, expected)


def test_without_decay_the_average_is_the_last_weights() -> None:
    model = torch.nn.Linear(3, 2)
    average = WeightAverage(model, decay=0.0)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(model)
    torch.testing.assert_close(average.module.weight, model.weight.detach())


def test_counts_of_batch_norm_are_copied_not_averaged() -> None:
    model = torch.nn.BatchNorm1d(2)
    average = WeightAverage(model, decay=0.9)
    model(torch.randn(4, 2))
    average.update(model)
    assert average.module.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("schedule", "warmup", "epochs", "steps"), [("one-cycle", 0, 1, 4), ("cosine", 0.1, 1, 11), ("constant", 1.5, 2, 3)]
)
def test_no_rate_is_above_the_peak_where_warm_up_ends_between_steps(
    schedule: str, warmup: float, epochs: int, steps: int
) -> None:
    config = FitConfig(schedule=schedule, lr=1.0, epochs=epochs, lr_warmup_epochs=warmup)
    values = [learning_rate(step, epochs * steps, steps, config) for step in range(epochs * steps)]
    assert max(values) <= 1
    assert max(values) > 0.8

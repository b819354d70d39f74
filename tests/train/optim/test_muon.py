from __future__ import annotations

from typing import Any

import pytest
import torch

from fer_train.config import FitConfig
from fer_train.models import build_model
from fer_train.optim.muon import BETAS, MOMENTUM, Muon, orthogonalized
from fer_train.optim.optimizer import make_optimizer


def random(*shape: Any, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5, 5), (4, 30), (30, 4), (1, 9)])
def test_an_orthogonalized_matrix_keeps_its_singular_vectors_and_brings_their_values_near_1(
    shape: tuple[int, ...],
) -> None:
    matrix = random(*shape)
    u, values, vt = torch.linalg.svd(matrix, full_matrices=False)
    assert values.min() / values.norm() > 0.02  # else five iterations are too few
    found = u.T @ orthogonalized(matrix) @ vt.T
    diagonal = found.diagonal()
    torch.testing.assert_close(found, torch.diag(diagonal), atol=1e-4, rtol=0)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3


def test_it_does_not_depend_on_the_scale_and_zeros_stay_zeros() -> None:
    matrix = random(6, 11)
    torch.testing.assert_close(orthogonalized(1e-4 * matrix), orthogonalized(matrix))
    assert not orthogonalized(torch.zeros(3, 4)).any()


def steps(optimizer: Any, parameters: Any, count: int = 5) -> None:
    for step in range(count):
        for number, parameter in enumerate(parameters):
            parameter.grad = random(*parameter.shape, seed=100 * step + number)
        optimizer.step()


def test_hidden_weights_move_as_by_the_muon_of_pytorch() -> None:
    ours, theirs = ([torch.nn.Parameter(random(*shape)) for shape in ((8, 20), (20, 8))] for _ in range(2))
    steps(Muon(ours, [], lr=0.01, weight_decay=0.1, dtype=torch.bfloat16), ours)
    reference = torch.optim.Muon(
        theirs, lr=0.01, weight_decay=0.1, momentum=MOMENTUM, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    steps(reference, theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)  # bfloat16 rounds either's iteration in its own way
        assert (mine - random(*mine.shape)).abs().max() > 0.01


def test_filters_move_as_the_matrix_of_them_in_any_memory_format() -> None:
    weights = random(6, 4, 3, 3)
    filters = torch.nn.Parameter(weights.to(memory_format=torch.channels_last))
    matrix = torch.nn.Parameter(weights.flatten(1).clone())
    for parameter in (filters, matrix):
        optimizer = Muon([parameter], [], lr=0.1, weight_decay=0.0)
        for step in range(3):
            gradient = random(6, 4, 3, 3, seed=step).view(parameter.shape)
            parameter.grad = gradient.to(memory_format=torch.channels_last) if gradient.ndim == 4 else gradient
            optimizer.step()
    torch.testing.assert_close(filters.detach().flatten(1), matrix.detach())
    assert filters.is_contiguous(memory_format=torch.channels_last)


def test_all_else_moves_as_by_adamw() -> None:
    ours, theirs = ([torch.nn.Parameter(random(*shape)) for shape in ((7, 3), (7,))] for _ in range(2))
    groups = [{"params": ours[:1], "weight_decay": 0.2}, {"params": ours[1:]}]
    steps(Muon([], groups, lr=0.01, weight_decay=0.5), ours)
    groups = [{"params": theirs[:1], "weight_decay": 0.2}, {"params": theirs[1:], "weight_decay": 0.0}]
    steps(torch.optim.AdamW(groups, lr=0.01, betas=BETAS), theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", ["course-cnn", "course-dnn", "residual-small", "compact"])
def test_the_first_and_the_last_weights_are_not_made_orthogonal(name: str) -> None:
    model = build_model(name, mean=0, std=1)
    groups = make_optimizer(model, FitConfig(optimizer="muon", weight_decay=0.5)).param_groups
    hidden = {id(p) for group in groups if group["hidden"] for p in group["params"]}
    first, *between, last = (p for p in model.parameters() if p.ndim >= 2)
    assert hidden == {id(p) for p in between}
    assert first[0].numel() in {9, 25, 48 * 48}  # pixels come in
    assert len(last) == 7  # classes go out


def test_what_has_no_gradient_stays() -> None:
    frozen, moved = (torch.nn.Parameter(random(3, 3)) for _ in range(2))
    optimizer = Muon([frozen, moved], [], lr=0.1, weight_decay=0.5)
    moved.grad = torch.ones(3, 3)
    optimizer.step()
    assert torch.equal(frozen, random(3, 3))
    assert not torch.equal(moved, random(3, 3))

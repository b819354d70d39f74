"""Train several seeds as one batched model (torch.func.vmap, so grouped convolutions) against one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import click
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional

from benchmarks.harness.command import benchmark, count_option, repeats_option
from benchmarks.harness.faces import drawn_faces
from benchmarks.harness.report import Report
from benchmarks.harness.side_by_side import compare_rates
from fer_infer.diagnostics.stopwatch import timed
from fer_train.models import build_model
from fer_train.prediction import true_float32

LR: Final = 3e-4
MOST_DIFFERENT: Final = 1e-3
"""Largest difference between the losses of both ways, absolute and relative."""

Way = Callable[[Sequence[nn.Module], Tensor, Tensor], Tensor]


def one_after_another(models: Sequence[nn.Module], images: Tensor, labels: Tensor) -> Tensor:
    """Train each network on its batches, images (steps, seeds, batch, 1, 48, 48); return losses (steps, seeds)."""
    losses = torch.zeros(labels.shape[:2], device=labels.device)
    for seed, model in enumerate(models):
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
        for step, (batch, target) in enumerate(zip(images[:, seed], labels[:, seed], strict=True)):
            loss = functional.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses[step, seed] = loss.detach()
    return losses


def batched(models: Sequence[nn.Module], images: Tensor, labels: Tensor) -> Tensor:
    """Do the same in one model whose weights have a leading axis of seeds."""
    parameters, buffers = stack_module_state(list(models))
    optimizer = torch.optim.Adam(parameters.values(), lr=LR, fused=True)  # updates each number independently

    def loss_of(parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(models[0], (parameters, buffers), (batch,)), target)

    losses = torch.zeros(labels.shape[:2], device=labels.device)
    for step, (batch, target) in enumerate(zip(images, labels, strict=True)):
        loss = torch.vmap(loss_of)(parameters, buffers, batch, target)
        optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]  # the loss of a seed depends on its own weights only
        optimizer.step()
        losses[step] = loss.detach()
    return losses


def build_models(seeds: int, widths: Sequence[int], device: str) -> list[nn.Module]:
    """Return a small course CNN per seed."""
    models = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = build_model("course-cnn", mean=128.0, std=64.0, widths=list(widths), hidden=64, dropout=0.0)
        models.append(model.to(device).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    return models


@benchmark(
    count_option("--seeds", 5, "Number of seeds."),
    click.option("--widths", type=click.IntRange(min=1), nargs=3, default=(16, 32, 64), show_default=True),
    count_option("--batch-size", 32, "Faces per batch and seed."),
    count_option("--steps", 8, "Steps per run."),
    repeats_option(3),
)
def main(report: Report, seeds: int, widths: tuple[int, int, int], batch_size: int, steps: int, repeats: int) -> None:
    """Print the table; fail if the two ways disagree about a loss."""
    drawn = drawn_faces(640)
    rows = torch.randint(len(drawn), (steps, seeds, batch_size), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(drawn.images)[rows].unsqueeze(3).float().to(report.device)
    labels = torch.from_numpy(drawn.require_labels())[rows].to(report.device)
    losses: dict[Way, Tensor] = {}

    def rate(way: Way) -> float:
        models = build_models(seeds, widths, report.device)
        with true_float32():
            seconds, losses[way] = timed(lambda: way(models, images, labels), report.wait)
        return labels.numel() / seconds

    channels = "/".join(map(str, widths))
    compare_rates(
        report,
        f"{seeds} seeds of course-cnn, {channels} channels, {steps} batches of {batch_size} faces per seed, fp32",
        {"one batched model": partial(rate, batched), "one after another": partial(rate, one_after_another)},
        unit="faces",
        repeats=repeats,
    )
    found, expected = losses[batched], losses[one_after_another]
    torch.testing.assert_close(found, expected, atol=MOST_DIFFERENT, rtol=MOST_DIFFERENT)
    report.note(
        f"The losses of all steps agree; the largest difference is {float((found - expected).abs().max()):.1e}."
    )


if __name__ == "__main__":
    main()

"""Several seeds trained as one batched model (torch.func: vmap, so grouped convolutions) against one after another.

python benchmarks/batched_seeds.py [--seeds N] [--widths N N N] [--batch-size N] [--steps N] [--repeats N] [--device D]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from _side_by_side import machine
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional

from fer_core import FerError
from fer_core.synthetic.data_set import synthesize
from fer_train.models import build_model
from fer_train.training.hardware import pick_device

LR = 3e-4


def one_after_another(models: Sequence[nn.Module], images: Tensor, labels: Tensor) -> Tensor:
    """Train each network on its batches, images (steps, seeds, batch, 1, 48, 48); return losses (steps, seeds)."""
    losses = torch.zeros(labels.shape[:2], device=labels.device)
    for seed, model in enumerate(models):
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
        for step, (batch, target) in enumerate(zip(images[:, seed], labels[:, seed], strict=True)):
            loss = functional.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step, seed] = loss.detach()
    return losses


def batched(models: Sequence[nn.Module], images: Tensor, labels: Tensor) -> Tensor:
    """Do the same in one model, whose every weight has a first axis of seeds."""
    parameters, buffers = stack_module_state(list(models))
    optimizer = torch.optim.Adam(parameters.values(), lr=LR, fused=True)  # moves each number by itself

    def loss_of(parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(models[0], (parameters, buffers), (batch,)), target)

    losses = torch.zeros(labels.shape[:2], device=labels.device)
    for step, (batch, target) in enumerate(zip(images, labels, strict=True)):
        loss = torch.vmap(loss_of)(parameters, buffers, batch, target)
        optimizer.zero_grad()
        loss.sum().backward()  # no seed's loss depends on another's weights
        optimizer.step()
        losses[step] = loss.detach()
    return losses


def main() -> None:
    """Print the table; fail where the two ways disagree about a loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seeds", 5), ("batch-size", 32), ("steps", 8), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--widths", type=int, nargs=3, default=[16, 32, 64])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    chosen = parser.parse_args()
    device = pick_device(chosen.device)
    shape = (chosen.steps, chosen.seeds, chosen.batch_size)
    drawn = synthesize(640, 0)
    rows = torch.randint(len(drawn), shape, generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(drawn.images)[rows].unsqueeze(3).float().to(device)
    labels = torch.from_numpy(drawn.require_labels())[rows].to(device)

    def run(way: Callable[[Sequence[nn.Module], Tensor, Tensor], Tensor]) -> tuple[float, Tensor]:
        models = []
        for seed in range(chosen.seeds):
            torch.manual_seed(seed)
            model = build_model("course-cnn", mean=128.0, std=64.0, widths=chosen.widths, hidden=64, dropout=0.0)
            models.append(model.to(device).to(memory_format=torch.channels_last))
        start = time.perf_counter()
        losses = way(models, images, labels).cpu()  # waits for the device
        return labels.numel() / (time.perf_counter() - start), losses

    rates: dict[str, list[float]] = {"one batched model": [], "one after another": []}
    for _ in range(chosen.repeats + 1):  # the first warms up
        results = [run(batched), run(one_after_another)]
        torch.testing.assert_close(results[0][1], results[1][1], atol=1e-3, rtol=1e-3)
        for name, (rate, _) in zip(rates, results, strict=True):
            rates[name].append(rate)
    median = {name: statistics.median(values[1:]) for name, values in rates.items()}
    gap = float((results[0][1] - results[1][1]).abs().max())
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{machine()}, {torch.get_num_threads()} threads"
    widths = "/".join(map(str, chosen.widths))
    print(f"\n{chosen.seeds} seeds of course-cnn, {widths} channels, batches of {chosen.batch_size} faces a seed, fp32")
    print(f"{where}, median of {chosen.repeats} interleaved runs of {chosen.steps} steps\n")
    print("| way | faces/s, all seeds | against one after another |\n|---|---:|---:|")
    for name, rate in median.items():
        print(f"| {name} | {rate:,.0f} | {rate / median['one after another']:.2f}x |")
    print(f"\nLosses agree at every step: they differ by {gap:.1e} at most.")


if __name__ == "__main__":
    try:
        main()
    except FerError as error:
        sys.exit(f"batched_seeds.py: {error}")

"""What only a GPU can show: that it computes what the CPU does, waits for nothing within an epoch, and can go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_train.config import DistillConfig
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model, load_weights
from fer_train.runs.run_folder import read_metrics
from fer_train.training import trainer
from fer_train.training.trainer import fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture
def on_gpu(small_config: Any) -> Any:
    return replace(small_config, device="cuda", precision="fp32")


def test_without_chance_a_gpu_learns_what_the_cpu_does(tmp_path: Path, splits: Any, on_gpu: Any) -> None:
    certain = replace(
        on_gpu, augment=None, mild_epochs=0, architecture_arguments={**on_gpu.architecture_arguments, "dropout": 0.0}
    )
    one_batch = replace(certain, batch_size=len(splits.training), epochs=2)  # for the order differs
    for device in ("cpu", "cuda"):
        fit(splits, replace(one_batch, device=device), tmp_path / device)
    losses = [[row["train_loss"] for row in read_metrics(tmp_path / device)] for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    logits = [predict_logits(load_model(tmp_path / device), splits.validation.images) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*logits, atol=1e-2)


@pytest.mark.parametrize("change", [{}, {"precision": "bf16"}, {"compile": True}], ids=["fp32", "bf16", "compiled"])
def test_a_run_that_was_cut_goes_on(
    tmp_path: Path, run: Any, splits: Any, on_gpu: Any, stop_in_second_epoch: Any, change: Any
) -> None:
    config = replace(on_gpu, distill=DistillConfig((str(run),)), **change)
    stop_in_second_epoch(splits, config, tmp_path / "cut")
    card = fit(splits, config, tmp_path / "cut", resume=True)
    rows = read_metrics(tmp_path / "cut")
    assert [row["epoch"] for row in rows] == list(range(1, config.epochs + 1))
    assert all(np.isfinite(row["train_loss"]) for row in rows)
    state, _ = load_weights(tmp_path / "cut" / "ema.safetensors")
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.float32}
    found = predict_logits(load_model(tmp_path / "cut"), splits.validation.images).argmax(1)
    assert card.scores["PublicTest"]["accuracy"] == pytest.approx(np.mean(found == splits.validation.labels), abs=0.02)


def test_nothing_within_an_epoch_waits_for_the_gpu(
    tmp_path: Path, splits: Any, on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer.train_epoch

    def watched(
        fabric: Any, network: Any, optimizer: Any, run: Any, data: Any, config: Any, teachers: Any, advance: Any
    ) -> Any:
        def step(n: Any) -> None:
            # from the first step on, whose kernels are compiled, to the last, after which the totals are read
            seen.append(n)
            torch.cuda.set_sync_debug_mode("error" if sum(seen) < len(data[0]) else "default")
            advance(n)

        seen = []
        try:
            return whole(fabric, network, optimizer, run, data, config, teachers, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(trainer, "train_epoch", watched)
    card = fit(splits, replace(on_gpu, precision="bf16", batch_size=32), tmp_path / "run")
    assert card.scores["PublicTest"]["n"] == len(splits.validation)

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_core import CardError, ConfigError, DeviceError, ModelError, OutputError
from fer_core.synthetic.data_set import synthesize
from fer_train.config import DistillConfig, FitConfig
from fer_train.data.splits import Splits, pixel_statistics
from fer_train.models import ARCHITECTURES, as_json, build_model
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_card, load_model, load_weights
from fer_train.runs.provenance import git_commit
from fer_train.runs.run_folder import METRICS, is_finished, read_metrics
from fer_train.runs.run_state import RunState
from fer_train.training import epoch, trainer
from fer_train.training.epoch import stream_seed
from fer_train.training.trainer import fit


def tensors(folder: Any, name: str = "ema.safetensors") -> Any:
    return load_weights(folder / name)[0]


def same(first: Any, second: Any) -> Any:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_folder_holds_all_that_is_promised(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    promised = {"config.json", "metrics.csv", "curves.png", "last.safetensors", "ema.safetensors", "resume.pt"}
    promised |= {"metrics.json", "confusion.png", "confusion.csv", "per_class.csv", "reliability.png", "sample.npz"}
    assert names == promised
    assert [row["epoch"] for row in read_metrics(run)] == [1, 2, 3]
    assert set(read_metrics(run)[0]) == set(METRICS)


def test_it_learns_drawn_faces(tmp_path: Path, small_config: FitConfig) -> None:
    drawn = synthesize(1000, seed=3)
    training = drawn.of_split("Training")
    splits = Splits(training, drawn.of_split("PublicTest"), *pixel_statistics(training.images))
    arguments = {"widths": [64], "dropout": 0.0}
    config = replace(
        small_config,
        architecture="course-dnn",
        architecture_arguments=arguments,
        epochs=12,
        lr=1e-3,
        augment=None,
        ema_decay=0.9,
    )
    fit(splits, config, tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert rows[-1]["validation_accuracy"] > 2 / 7


def test_the_loss_trained_for_is_that_of_smoothed_labels(
    tmp_path: Path, splits: Splits, small_config: FitConfig
) -> None:
    arguments = {"widths": [8], "dropout": 0.0}
    config = replace(
        small_config,
        architecture="course-dnn",
        architecture_arguments=arguments,
        augment=None,
        batch_size=200,
        epochs=1,
    )
    still = replace(config, lr=1e-12, ema_decay=0.0)  # one step that moves nothing, so the loss is of known weights
    fit(splits, replace(still, label_smoothing=0.9), tmp_path / "run")
    logits = predict_logits(load_model(tmp_path / "run"), splits.training.images).astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    goal = 0.1 * np.eye(7)[splits.training.labels] + 0.9 / 7
    expected = -(goal * np.log(chances)).sum(axis=1).mean()
    assert read_metrics(tmp_path / "run")[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    plain = -np.log(chances[np.arange(len(goal)), splits.training.labels]).mean()
    assert abs(plain - expected) > 1e-3


def test_the_reported_accuracy_is_that_of_the_saved_average(run: Path, splits: Splits) -> None:
    logits = predict_logits(load_model(run), splits.validation.images)
    accuracy = float(np.mean(logits.argmax(1) == splits.validation.labels))
    assert read_metrics(run)[-1]["validation_accuracy"] == pytest.approx(accuracy)
    assert load_card(run / "ema.safetensors").scores["PublicTest"]["accuracy"] == pytest.approx(accuracy)
    assert json.loads((run / "metrics.json").read_text())["accuracy"] == pytest.approx(accuracy)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, run: Path, splits: Splits, small_config: FitConfig
) -> None:
    fit(splits, small_config, tmp_path / "again")
    fit(splits, replace(small_config, seed=1), tmp_path / "other")
    assert same(tensors(run), tensors(tmp_path / "again"))
    assert not same(tensors(run), tensors(tmp_path / "other"))


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adam"}, {"optimizer": "sgd"}, {"optimizer": "muon", "whitening": True}]
)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path,
    stop_in_second_epoch: Callable[..., Any],
    splits: Splits,
    small_config: FitConfig,
    changes: dict[str, Any],
) -> None:
    arguments = {"widths": (2, 2, 4), "hidden": 8}
    config = replace(small_config, architecture_arguments=arguments, **changes)
    fit(splits, config, tmp_path / "whole")
    stop_in_second_epoch(splits, config, tmp_path / "cut")
    assert [row["epoch"] for row in read_metrics(tmp_path / "cut")] == [1]
    fit(splits, config, tmp_path / "cut", resume=True)
    for name in ("ema.safetensors", "last.safetensors"):
        assert same(tensors(tmp_path / "whole", name), tensors(tmp_path / "cut", name))
    losses = [[row["train_loss"] for row in read_metrics(tmp_path / name)] for name in ("whole", "cut")]
    assert losses[0] == losses[1]


def test_a_finished_run_resumes_to_itself(tmp_path: Path, run: Path, splits: Splits, small_config: FitConfig) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    card = fit(splits, small_config, run, resume=True)
    assert card == load_card(run / "ema.safetensors")
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_the_table_of_metrics_counts_epochs_in_whole_numbers(run: Path) -> None:
    lines = (run / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3"]


def test_the_card_says_what_was_trained_on_what(run: Path, splits: Splits, small_config: FitConfig) -> None:
    card = load_card(run / "ema.safetensors")
    assert card.training_data["rows"] == {"Training": len(splits.training), "PublicTest": len(splits.validation)}
    assert card.training_data["sha256"] == splits.training.sha256()
    assert card.standardization == {"mean": splits.mean, "std": splits.std}
    assert (card.architecture, card.architecture_arguments) == ("course-cnn", small_config.architecture_arguments)
    assert card.seeds == (0,)
    assert "epoch 3 of 3" in card.selection


def test_a_product_does_not_depend_on_where_in_memory_its_factors_lie() -> None:
    """Else the same seed gives the same weights by chance alone; seen with MKL on processors with AVX2."""
    program = """
import fer_train, torch
torch.manual_seed(0)
layer, faces = torch.nn.Linear(288, 16), torch.randn(5, 288)
def moved(places):
    memory = torch.empty(faces.numel() + 64)
    start = (places - memory.data_ptr() // 4) % 16
    return memory[start : start + faces.numel()].view(faces.shape).copy_(faces)
print(len({layer(moved(places)).detach().numpy().tobytes() for places in range(16)}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_an_existing_run_is_not_overwritten(run: Path, splits: Splits, small_config: FitConfig) -> None:
    with pytest.raises(OutputError, match="exists already; `resume=True` resumes a run"):
        fit(splits, small_config, run)


def test_resuming_nothing_says_so(tmp_path: Path, splits: Splits, small_config: FitConfig) -> None:
    with pytest.raises(OutputError, match=r"expected a run to resume, found no config\.json"):
        fit(splits, small_config, tmp_path / "none", resume=True)


def test_resuming_by_other_settings_is_refused(run: Path, splits: Splits, small_config: FitConfig) -> None:
    there = f"lr: {small_config.lr} there, 0.5 here; augment.zoom: 0.1 there, 0.2 here"
    other = replace(small_config, lr=0.5, augment=replace(small_config.augment, zoom=0.2))
    with pytest.raises(ConfigError, match=rf"was started with another config: {re.escape(there)}$"):
        fit(splits, other, run, resume=True)


def test_resuming_on_other_faces_is_refused(run: Path, splits: Splits, small_config: FitConfig) -> None:
    fewer = replace(splits, training=splits.training.take(slice(100)))
    with pytest.raises(ConfigError, match=r"was started with other faces: expected .*160.*, found .*100"):
        fit(fewer, small_config, run, resume=True)


def test_a_run_stopped_in_its_first_epoch_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path, splits: Splits, small_config: FitConfig
) -> None:
    monkeypatch.setattr(epoch, "augment", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit(splits, small_config, tmp_path / "cut")
    monkeypatch.undo()
    (tmp_path / "cut" / "sample.npz").unlink()
    fit(splits, small_config, tmp_path / "cut", resume=True)
    assert same(tensors(run), tensors(tmp_path / "cut"))
    with np.load(tmp_path / "cut" / "sample.npz") as sample:
        np.testing.assert_array_equal(sample["images"], splits.validation.images)


def test_a_damaged_resume_file_is_named(tmp_path: Path, splits: Splits, small_config: FitConfig) -> None:
    fit(splits, replace(small_config, epochs=1), tmp_path / "run")
    (tmp_path / "run" / "resume.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"resume\.pt: cannot be resumed from"):
        fit(splits, replace(small_config, epochs=1), tmp_path / "run", resume=True)


DEEP = {"architecture": "compact", "architecture_arguments": {"widths": [[2]] * 6}}
"""Whose last layers are at 1x1 pixels."""


def test_a_last_batch_of_one_face_that_cannot_be_normalized_is_refused_before_a_folder_is_made(
    tmp_path: Path, splits: Splits, small_config: FitConfig
) -> None:
    few = replace(splits, training=splits.training.take(slice(17)))
    config = replace(small_config, batch_size=16, epochs=1, **DEEP)
    with pytest.raises(
        ConfigError, match=r"batch_size: expected a last batch of at least two .* 17 faces in batches of 16$"
    ):
        fit(few, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fit(few, replace(config, batch_size=15), tmp_path / "run")


def test_a_network_too_deep_for_the_pixels_is_refused_before_a_folder_is_made(
    tmp_path: Path, splits: Splits, small_config: FitConfig
) -> None:
    deep = {"architecture": "residual", "architecture_arguments": {"widths": [2] * 8, "blocks": [1] * 8}}
    with pytest.raises(ConfigError, match="architecture residual: expected a network for 48x48 pixels: "):
        fit(splits, replace(small_config, **deep), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_diverged_loss_stops_the_run_with_a_remedy(tmp_path: Path, splits: Splits, small_config: FitConfig) -> None:
    config = replace(small_config, optimizer="sgd", lr=1e12)
    with pytest.raises(ModelError, match=r"the loss is (nan|inf); a lower `lr`"):
        fit(splits, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fit(splits, replace(small_config, epochs=1), tmp_path / "run")  # so that the remedy can be tried at once


def test_a_run_cut_while_its_first_epoch_was_written_can_still_be_discarded(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            fit(splits, small_config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validate", lambda *arguments: (math.nan, 0.5, None))
        with pytest.raises(ModelError, match=r"^epoch 1: the PublicTest loss is nan"):
            fit(splits, small_config, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_later_keeps_its_epochs(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, math.inf])
    monkeypatch.setattr(trainer, "validate", lambda *arguments: (next(losses), 0.5, None))
    with pytest.raises(ModelError, match=r"^epoch 2: the PublicTest loss is inf; a lower `lr`"):
        fit(splits, replace(small_config, epochs=2), tmp_path / "run")
    assert {"config.json", "sample.npz", "resume.pt", "ema.safetensors"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_a_lack_of_memory_is_one_line_and_leaves_no_folder(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(epoch, "augment", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(DeviceError, match=r"^out of memory; a smaller `batch_size` needs less$"):
            fit(splits, small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "to_device", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(DeviceError, match=r"^out of memory; a smaller `batch_size` needs less$"):
            fit(splits, small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fit(splits, replace(small_config, epochs=1, batch_size=16), tmp_path / "run")


def test_what_layers_draw_differs_from_process_to_process_and_from_what_all_draw() -> None:
    """PyTorch's generator on the CPU takes 32 bits of a seed, so those are what must differ."""
    keys = [(seed, epoch, stream) for seed in (0, 1, 2**32 - 1) for epoch in range(50) for stream in range(9)]
    seeds = [stream_seed(*key) for key in keys]
    assert max(seeds) < 2**32
    assert len(set(seeds)) == len(keys)
    first, second = (torch.rand(8, generator=torch.Generator().manual_seed(seed)) for seed in seeds[:2])
    assert not torch.equal(first, second)


def test_layers_do_not_draw_what_augmentation_draws(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    firsts = []
    augment = epoch.augment

    def noted(images: Any, config: Any, generator: Any) -> Any:
        for seed in (generator.initial_seed(), torch.initial_seed()):
            firsts.append(tuple(torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist()))
        return augment(images, config, generator)

    monkeypatch.setattr(epoch, "augment", noted)
    fit(splits, replace(small_config, epochs=2), tmp_path / "run")
    assert len(set(firsts)) == 4  # in each of two epochs what all draw, and what the layers do


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_that_is_not_there_is_an_error_not_a_fallback(
    tmp_path: Path, splits: Splits, small_config: FitConfig
) -> None:
    with pytest.raises(DeviceError, match="`device='cuda'`: CUDA was requested but is not available: "):
        fit(splits, replace(small_config, device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, found 0"),
        ({"batch_size": 1}, "batch_size: expected at least 2, found 1"),
        ({"lr": 0.0}, "lr: expected above 0, found 0.0"),
        ({"lr": float("inf")}, "lr: expected above 0 and finite, found inf"),
        ({"weight_decay": float("nan")}, "weight_decay: expected at least 0 and finite, found nan"),
        ({"ema_decay": 1.0}, "ema_decay: expected 0 to below 1, found 1.0"),
        ({"optimizer": ["sgd"]}, "optimizer: expected str, found \\['sgd'\\]"),
        ({"optimizer": "lion"}, "optimizer: expected one of adam, adamw, sgd, muon, found 'lion'"),
        ({"schedule": "step"}, "schedule: expected one of constant, cosine, one-cycle, found 'step'"),
        ({"batch_size": 16.5}, "batch_size: expected int, found 16.5"),
        ({"epochs": True}, "epochs: expected int, found True"),
        ({"dirac": "false"}, "dirac: expected bool, found 'false'"),
        ({"initial": 5}, r"initial: expected str \| None, found 5"),
        (
            {"architecture_arguments": {"widths": {2, 3}}},
            r"architecture_arguments: expected values that JSON can hold, found \{'widths': \{2, 3",
        ),
        ({"architecture_arguments": [1]}, r"architecture_arguments: expected a dict, found \[1\]"),
        ({"precision": "fp8"}, "precision: expected one of auto, fp32, bf16, found 'fp8'"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig(**settings)


def test_settings_survive_the_file(tmp_path: Path, small_config: FitConfig) -> None:
    taught = DistillConfig(["a", "b"])
    for config in (
        small_config,
        replace(small_config, augment=None, architecture_arguments={"widths": ((4,), (6,))}, distill=taught),
    ):
        config.save(tmp_path / "config.json")
        assert FitConfig.load(tmp_path / "config.json") == config


@pytest.mark.parametrize("text", ["", "[]", '{"epochs": 3}', '{"augment": null, "colour": 1}'])
def test_a_damaged_settings_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read as the config of a run"):
        FitConfig.load(tmp_path / "config.json")


@pytest.mark.parametrize("name", ["conflicts", "leaks"])
def test_settings_that_drop_other_faces_than_were_loaded_are_refused(
    tmp_path: Path, splits: Splits, small_config: FitConfig, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"drop_{name}: is True, the faces were loaded with False"):
        fit(splits, replace(small_config, **{f"drop_{name}": True}), tmp_path / "run")
    with pytest.raises(ConfigError, match=f"drop_{name}: is False, the faces were loaded with True"):
        fit(replace(splits, dropped={name: 0}), small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_can_begin_with_the_weights_of_another_and_says_so(
    tmp_path: Path, run: Path, splits: Splits, small_config: FitConfig
) -> None:
    moved = Splits(splits.training, splits.validation, splits.mean + 1, splits.std)
    config = replace(small_config, epochs=1, lr=1e-12, ema_decay=0.0, initial=str(run))
    card = fit(moved, config, tmp_path / "on")
    before, after = tensors(run), tensors(tmp_path / "on")
    assert float(after["standardize.mean"]) == pytest.approx(splits.mean + 1)
    weights = [name for name in before if not name.startswith("standardize.")]
    assert weights
    for name in weights:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    assert card.training_data["initial"]["weights_sha256"] == load_card(run / "ema.safetensors").weights_sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "course-dnn", "architecture_arguments": {}},
            r"expected weights of this course-dnn, found weights of course-cnn with hidden=16, widths=\[4,4,8\]$",
        ),
        (
            {"architecture_arguments": {"widths": [2, 2, 2]}},
            r"expected weights of this course-cnn, found weights of course-cnn with hidden=16, widths=\[4,4,8\]$",
        ),
    ],
)
def test_weights_of_another_network_are_refused_before_a_folder_is_made(
    tmp_path: Path, run: Path, splits: Splits, small_config: FitConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CardError, match=message):
        fit(splits, replace(small_config, initial=str(run), **changes), tmp_path / "on")
    assert not (tmp_path / "on").exists()


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
def test_a_compiled_network_trains_to_the_same_weights_up_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: Splits, small_config: FitConfig
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    arguments = {"widths": [8], "dropout": 0.0}
    config = replace(small_config, architecture="course-dnn", architecture_arguments=arguments, epochs=2, batch_size=80)
    fit(splits, config, tmp_path / "eager")
    fit(splits, replace(config, compile=True), tmp_path / "compiled")
    eager, compiled = (tensors(tmp_path / name) for name in ("eager", "compiled"))
    assert eager.keys() == compiled.keys()
    for name in eager:
        torch.testing.assert_close(compiled[name], eager[name], atol=1e-4, rtol=1e-3)
    assert FitConfig.load(tmp_path / "compiled" / "config.json").compile


def test_without_a_compiler_compile_is_refused_in_a_line_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: Splits, small_config: FitConfig
) -> None:
    def no_compiler(function: Any) -> None:
        raise RuntimeError("no C++ compiler\nmuch more")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(DeviceError, match=r"`compile=True`: torch\.compile fails: no C\+\+ compiler$"):
        fit(splits, replace(small_config, compile=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_last_step_that_diverges_is_told_before_anything_is_written(
    tmp_path: Path, splits: Splits, small_config: FitConfig
) -> None:
    config = replace(small_config, epochs=1, batch_size=len(splits.training), optimizer="sgd", lr=1e25, ema_decay=0.0)
    with pytest.raises(ModelError, match=r"^epoch 1: the PublicTest loss is (nan|inf); a lower `lr`"):
        fit(splits, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_validation_faces(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(metrics: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(splits, small_config, tmp_path / "run", report=stop)
    others = replace(splits, validation=replace(splits.validation, images=255 - splits.validation.images))
    with pytest.raises(ConfigError, match=r"run: was started with other faces: expected .*validation_sha256"):
        fit(others, small_config, tmp_path / "run", resume=True)


def test_half_a_state_to_resume_from_is_one_line(tmp_path: Path, splits: Splits, small_config: FitConfig) -> None:
    def stop(metrics: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(splits, small_config, tmp_path / "run", report=stop)
    torch.save({"epoch": 1}, tmp_path / "run" / "resume.pt")
    with pytest.raises(ModelError, match=r"resume\.pt: cannot be resumed from: KeyError: 'model'$"):
        fit(splits, small_config, tmp_path / "run", resume=True)


def test_a_run_counts_as_finished_only_when_all_is_written(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_infer.evaluation.plots.save_reliability", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(splits, replace(small_config, epochs=1), tmp_path / "run")
    assert (tmp_path / "run" / "confusion.png").exists()
    assert not is_finished(tmp_path / "run")


def test_the_last_epochs_are_mild_and_targets_are_smoothed(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, smoothing = [], []
    augment, cross_entropy = epoch.augment, torch.nn.functional.cross_entropy

    def noted(images: Any, config: Any, generator: Any) -> Any:
        limits.append(config)
        return augment(images, config, generator)

    def smoothed(logits: Any, target: Any, **options: Any) -> Any:
        smoothing.append(options.get("label_smoothing"))
        return cross_entropy(logits, target, **options)

    monkeypatch.setattr(epoch, "augment", noted)
    monkeypatch.setattr(epoch.functional, "cross_entropy", smoothed)
    config = replace(small_config, epochs=3, mild_epochs=1, label_smoothing=0.2, batch_size=len(splits.training))
    fit(splits, config, tmp_path / "run")
    assert limits == [config.augment, config.augment, config.augment.mild()]
    assert [value for value in smoothing if value is not None] == [0.2, 0.2, 0.2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3, "mild_epochs": 4}, "mild_epochs: expected at most the 3 epochs, found 4"),
        ({"lr_warmup_epochs": float("inf")}, "lr_warmup_epochs: expected at least 0 and finite, found inf"),
        ({"lr_warmup_epochs": 101}, "lr_warmup_epochs: expected at most the 100 epochs, found 101"),
        (
            {"schedule": "one-cycle", "lr_warmup_epochs": 2},
            "lr_warmup_epochs: expected 0, since one-cycle has a warm-up, found 2",
        ),
        ({"augment": None, "mild_epochs": 2}, "mild_epochs: expected 0 without augmentation, found 2"),
        ({"seed": 2**32}, "seed: expected 0 to 4,294,967,295, found 4294967296"),
        (
            {"architecture_arguments": {"mean": 1}},
            "architecture_arguments: expected neither name, mean nor std, found mean",
        ),
        ({"hold_out": 0.1, "validation": "test"}, "hold_out: cannot be combined with `validation`"),
        ({"initial": "a", "dirac": True}, "dirac: cannot be combined with `initial`, which sets all weights"),
    ],
)
def test_settings_that_would_do_nothing_or_fail_late_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig(**settings)


def test_a_recipe_is_cut_to_few_epochs() -> None:
    config = FitConfig.of("residual-small", epochs=3)
    assert (config.mild_epochs, config.lr_warmup_epochs) == (1, 1)
    assert FitConfig.of("residual-small").mild_epochs == 5
    assert FitConfig.of("residual-small", schedule="one-cycle").lr_warmup_epochs == 0
    assert FitConfig.of("residual-small", augment=None).mild_epochs == 0


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("compact", {}, ("sgd", 0.1, 5e-4)),
        ("compact", {"optimizer": "sgd"}, ("sgd", 0.1, 5e-4)),
        ("compact", {"optimizer": "muon"}, ("muon", 1e-2, 0.05)),
        ("compact", {"optimizer": "muon", "lr": 0.5}, ("muon", 0.5, 0.05)),
        ("compact", {"optimizer": "adam"}, ("adam", 3e-4, 0.0)),
        ("course-cnn", {"optimizer": "adam"}, ("adam", 3e-4, 0.0)),
        ("course-cnn", {"optimizer": "adamw", "weight_decay": 0.2}, ("adamw", 3e-3, 0.2)),
        ("course-cnn", {"optimizer": "sgd"}, ("sgd", 0.02, 5e-4)),
    ],
)
def test_another_optimizer_comes_with_its_own_rate_and_decay(
    model: str, options: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    config = FitConfig.of(model, **options)
    assert (config.optimizer, config.lr, config.weight_decay) == expected


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("course-cnn", {"dropout": 2}),
        ("course-cnn", {"widths": 4}),
        ("compact", {"widths": [16, 32, 64]}),
    ],
)
def test_arguments_that_no_network_has_are_one_line(model: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=rf"^architecture {model}: cannot be built with .*; its defaults are widths=\[.*\],"
    ):
        build_model(model, mean=0.0, std=1.0, **arguments)


def test_an_unknown_argument_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError) as failure:
        build_model("course-dnn", mean=0.0, std=1.0, depth=3)
    known = 'widths=[1024,512,256], dropout=0.3, standardize="training"'
    assert str(failure.value) == f"architecture course-dnn: no argument depth; it has {known}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_arguments_told_are_those_that_build_the_same(name: str) -> None:
    architecture = ARCHITECTURES[name]
    told = dict(part.split("=", 1) for part in re.split(r", (?=[a-z_]+=)", as_json(architecture.arguments())))
    again = build_model(name, mean=0.0, std=1.0, **{key: json.loads(value) for key, value in told.items()})
    assert str(again) == str(build_model(name, mean=0.0, std=1.0))


def test_the_commit_is_that_of_the_package_and_of_no_project_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: Any) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    package = tmp_path / ".venv" / "fer_train"
    package.mkdir(parents=True)
    (package / "provenance.py").write_text("")
    (tmp_path / "theirs").write_text("")
    git("init")
    git("add", "theirs")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "theirs")
    monkeypatch.setattr("fer_train.runs.provenance.__file__", str(package / "provenance.py"))
    assert git_commit() == "unknown"
    git("add", "-f", ".venv")
    assert git_commit().endswith("+changes")

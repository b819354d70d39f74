from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fer_core import ConfigError, OutputError
from fer_train.data.splits import load_splits
from fer_train.runs.checkpoint import load_weights
from fer_train.runs.run_folder import read_metrics
from fer_train.training.distributed import first_only, leave_processes, share, share_batch_norm
from fer_train.training.trainer import fit

ROOT = Path(__file__).resolve().parents[3]


def torchrun(*arguments):
    """Run a program on two processes that gloo connects."""
    settings = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    launcher = ["-m", "torch.distributed.run", *settings, "-m", "fer_train"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def recipe(small_config):
    """Four batches an epoch, of 53, 53, 53 and 1 faces: shares that differ, and one that is empty."""
    arguments = {"widths": [2, 2, 4], "hidden": 8, "dropout": 0.0}
    augment = replace(small_config.augment, mixup=0.2)
    return replace(small_config, architecture_arguments=arguments, augment=augment, epochs=2, batch_size=53, lr=3e-3)


@pytest.fixture(scope="module")
def one(tmp_path_factory, data, recipe):
    folder = tmp_path_factory.mktemp("one") / "run"
    fit(load_splits(data), recipe, folder)
    return folder


@pytest.fixture(scope="module")
def half(tmp_path_factory, data, recipe, stop_in_second_epoch):
    """A run that one process left in its second epoch."""
    folder = tmp_path_factory.mktemp("half") / "run"
    stop_in_second_epoch(load_splits(data), recipe, folder)
    return folder


def assert_same_run(folder, other):
    for name in ("ema.safetensors", "last.safetensors"):
        weights, expected = (load_weights(path / name)[0] for path in (folder, other))
        assert weights.keys() == expected.keys()
        for key in weights:
            torch.testing.assert_close(weights[key], expected[key], atol=2e-5, rtol=1e-4)
    for row, wanted in zip(read_metrics(folder), read_metrics(other), strict=True):
        for key in ("epoch", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            assert row[key] == pytest.approx(wanted[key], rel=1e-4), key


def test_two_processes_make_the_run_that_one_makes_and_the_first_alone_writes_and_prints(tmp_path, data, one):
    recipe = "--epochs 2 --batch-size 53 --lr 3e-3 --schedule cosine --erasing 0.5 --mixup 0.2 --device cpu"
    arguments = ["widths=[2,2,4]", "hidden=8", "dropout=0.0"]
    model = [word for argument in arguments for word in ("--architecture-argument", argument)]
    done = torchrun("fit", data, "--output", tmp_path / "run", "--precision", "fp32", *recipe.split(), *model)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "config.json").read_text() == (one / "config.json").read_text()
    assert_same_run(tmp_path / "run", one)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in one.iterdir()}
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:2]] == ["epoch 1", "epoch 2"]
    assert len([line for line in done.stdout.splitlines() if "better than chance" not in line]) == 4
    assert "deprecated" not in done.stderr


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (3, 3), ("a line", 1)])
def test_a_process_of_torchrun_leaves_with_its_code_and_what_it_printed(code, status):
    program = (
        "from fer_train.training.distributed import leave_processes\n"
        f"print('done'); leave_processes({code!r}); print('no')"
    )
    by_torchrun = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "any"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=by_torchrun, timeout=300)
    assert (done.returncode, done.stdout) == (status, "done\n")


def test_a_process_that_stands_alone_does_not_leave():
    assert leave_processes(3) is None


def test_two_processes_go_on_with_what_one_began(data, half, one):
    assert len(read_metrics(half)) == 1
    done = torchrun("fit", data, "--output", half, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_run(half, one)


def test_what_stops_the_first_process_stops_all_with_its_line(data, one):
    done = torchrun("fit", data, "--output", one, "--device", "cpu")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("fer-train: ")]
    assert lines
    assert set(lines) == {f"fer-train: {one}: exists already; --resume resumes a run"}


def process(rank, world, device="cpu", sent=None):
    """Return a stand-in for one of several processes, to which `sent` was broadcast."""
    return SimpleNamespace(
        global_rank=rank,
        world_size=world,
        is_global_zero=rank == 0,
        device=torch.device(device),
        broadcast=lambda value: value if rank == 0 else sent,
    )


@pytest.mark.parametrize(("n", "world"), [(128, 1), (128, 3), (53, 2), (1, 4), (0, 2)])
def test_shares_are_the_batch_in_order_and_differ_by_one_face_at_most(n, world):
    shares = [list(range(n))[share(n, process(rank, world))] for rank in range(world)]
    assert [face for faces in shares for face in faces] == list(range(n))
    sizes = [len(faces) for faces in shares]
    assert max(sizes) - min(sizes) <= 1


def test_only_the_first_process_acts_and_all_get_its_result_or_error():
    called = []
    assert first_only(process(0, 2), called.append, 1) is None
    assert first_only(process(1, 2, sent="done"), called.append, 2) == "done"
    assert called == [1]
    with pytest.raises(OutputError, match="disk full"):
        first_only(process(1, 2, sent=OutputError("disk full")), called.append, 3)


def test_batch_norm_is_refused_on_cpus_and_synchronized_on_gpus():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(ConfigError, match="2 processes: expected a network without BatchNorm"):
        share_batch_norm(model, process(0, 2))
    assert share_batch_norm(model, process(0, 1)) is model
    assert isinstance(share_batch_norm(model, process(0, 2, "cuda"))[1], nn.SyncBatchNorm)

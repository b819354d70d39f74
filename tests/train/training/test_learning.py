"""Every architecture leaves chance within a few epochs, whatever the seed, the threads and the processor's kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_core import TrainingWarning
from fer_core.synthetic.data_set import synthesize
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, pixel_statistics
from fer_train.models import ARCHITECTURES, build_model
from fer_train.training import trainer
from fer_train.training.trainer import fit

NARROW = {
    "course-cnn": {"widths": [8, 16, 32], "hidden": 64, "dropout": 0.0},
    "course-dnn": {"widths": [128, 64, 32], "dropout": 0.0},
    "residual": {"widths": [8, 16, 16, 16], "blocks": [1, 1, 1, 1], "stem_stride": 2},
    "residual-small": {"widths": [8, 16, 16], "blocks": [1, 1, 1]},
    "compact": {"widths": [[8], [8, 16, 16, 16], [32, 32, 32]]},
}
"""Of each architecture's depth and few channels, for the depth is what a signal vanishes over."""


@pytest.fixture(scope="module")
def splits() -> Splits:
    drawn = synthesize(1500, seed=5)
    training = drawn.of_split("Training")
    return Splits(training, drawn.of_split("PublicTest"), *pixel_statistics(training.images))


def recipe(name: str, **options: object) -> FitConfig:
    """Return few epochs of each architecture's own optimizer."""
    if name.startswith("course"):
        optimizer = {"optimizer": "adam", "lr": 1e-3}
    else:
        optimizer = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4}
    return FitConfig(
        architecture=name,
        architecture_arguments=NARROW[name],
        epochs=6,
        batch_size=32,
        lr_warmup_epochs=1.0,
        ema_decay=0.95,
        augment=None,
        device="cpu",
        **{**optimizer, **options},
    )


def test_every_architecture_is_tried() -> None:
    assert set(NARROW) == set(ARCHITECTURES)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NARROW)
def test_every_architecture_leaves_chance(tmp_path: Path, splits: Splits, name: str, seed: int) -> None:
    card = fit(splits, recipe(name, seed=seed), tmp_path / "run")
    chance = card.scores["PublicTest"]["chance"]
    assert chance["beaten"]
    assert card.scores["PublicTest"]["accuracy"] > chance["accuracy"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["chance"]["beaten"]


PROCESSORS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "oneDNN for AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "PyTorch for AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "PyTorch for any processor": {"ATEN_CPU_CAPABILITY": "default"},
}
SCRIPT = """
import sys
from test_learning import Splits, fit, pixel_statistics, recipe, synthesize
output, name, precision = sys.argv[1:]
drawn = synthesize(1000, seed=5)
training = drawn.of_split("Training")
splits = Splits(training, drawn.of_split("PublicTest"), *pixel_statistics(training.images))
fit(splits, recipe(name, precision=precision, seed=4), output)
"""


def train_elsewhere(folder: Path, name: str, precision: str, environment: dict[str, str]) -> dict:
    """Train in a process of its own and return what its metrics say of chance."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), name, precision],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "metrics.json").read_text())["chance"]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_course_cnn_leaves_chance_with_the_kernels_of_other_processors(tmp_path: Path, processor: str) -> None:
    assert train_elsewhere(tmp_path / "run", "course-cnn", "fp32", PROCESSORS[processor])["beaten"]


def test_the_course_dnn_leaves_chance_in_bf16(tmp_path: Path) -> None:
    assert train_elsewhere(tmp_path / "run", "course-dnn", "bf16", {})["beaten"]


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="convolutions in bf16 take minutes on this processor"
)
def test_the_course_cnn_leaves_chance_in_bf16(tmp_path: Path) -> None:
    assert train_elsewhere(tmp_path / "run", "course-cnn", "bf16", {})["beaten"]


def test_a_network_at_chance_is_reported_with_its_remedy(tmp_path: Path, splits: Splits) -> None:
    message = r"^epoch 3: .*% of 150 validation faces, no.* better than chance.*: always .*; try another `lr`"
    with pytest.warns(TrainingWarning, match=message):
        card = fit(splits, recipe("course-dnn", lr=1e-12), tmp_path / "run")
    assert card.scores["PublicTest"]["chance"]["beaten"] is False
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["chance"]["beaten"] is False


def test_dead_layers_are_reported(tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: Any, **options: Any) -> Any:
        model = build_model(*arguments, **options)
        torch.nn.init.constant_(model.classifier[4].bias, -1e6)
        return model

    monkeypatch.setattr(trainer, "build_model", build)
    message = r"better than chance.*; layers with no active unit \(classifier\.5 and 1 more\); vanishing gradients"
    with pytest.warns(TrainingWarning, match=message):
        fit(splits, recipe("course-dnn"), tmp_path / "run")

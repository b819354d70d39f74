from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_train.config import AugmentConfig, FitConfig
from fer_train.data.splits import Splits, pixel_statistics
from fer_train.training import epoch
from fer_train.training.trainer import fit


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # workers of a parallel test run would fight over the cores otherwise


@pytest.fixture(scope="session")
def drawn() -> Faces:
    return synthesize(200, seed=3)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, drawn: Faces) -> Path:
    """Return a CSV file of the drawn faces; tests must not change it."""
    path = tmp_path_factory.mktemp("data") / "drawn.csv"
    write_csv(drawn, path)
    return path


@pytest.fixture(scope="session")
def splits(drawn: Faces) -> Splits:
    training = drawn.of_split("Training")
    return Splits(training, drawn.of_split("PublicTest"), *pixel_statistics(training.images))


@pytest.fixture(scope="session")
def small_config() -> FitConfig:
    return FitConfig(
        architecture="course-cnn",
        architecture_arguments={"widths": [4, 4, 8], "hidden": 16},
        epochs=3,
        batch_size=48,
        schedule="cosine",
        augment=AugmentConfig(erasing=0.5),
        device="cpu",
        precision="fp32",
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, splits: Splits, small_config: FitConfig) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    fit(splits, small_config, folder)
    return folder


@pytest.fixture(scope="session")
def stop_in_second_epoch() -> Callable[..., Any]:
    """Return a function that begins a run of four batches an epoch and interrupts it in its second epoch."""

    def begin(splits: Any, config: Any, folder: Any) -> None:
        original, calls = epoch.augment, []

        def interrupted(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return original(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(epoch, "augment", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fit(splits, config, folder)

    return begin


@pytest.fixture
def random_images() -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (9, 48, 48), dtype=np.uint8)

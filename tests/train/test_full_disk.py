"""A disk that takes no more ends training and export in one line and leaves nothing half written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_core import OutputError
from fer_train.config import FitConfig
from fer_train.data.splits import Splits
from fer_train.exporting import export as export_module
from fer_train.exporting.export import export
from fer_train.runs.run_folder import read_metrics
from fer_train.training import trainer
from fer_train.training.trainer import fit


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """A limit on the size of a file stands in for the end of a disk: writing fails at the same place."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Any) -> Any:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("size_bytes", "name"),
    [
        (100, "config.json"),
        (10_000, "sample.npz"),
        (50_000, r"(curves\.png|ema\.safetensors)"),
        (150_000, r"(last|ema)\.safetensors"),
        (250_000, r"resume\.pt"),
    ],
)
def test_a_first_epoch_that_finds_no_room_leaves_nothing(
    tmp_path: Path, splits: Splits, small_config: FitConfig, size_bytes: int, name: str
) -> None:
    config = replace(small_config, architecture_arguments={"widths": [4, 4, 8], "hidden": 96})
    with (
        pytest.raises(OutputError, match=rf"^{tmp_path}/run/{name}: cannot be written: File too large$"),
        files_of_at_most(size_bytes),
    ):
        fit(splits, config, tmp_path / "run")
    assert names(tmp_path) == []


def test_a_later_epoch_that_finds_no_room_leaves_a_run_to_resume(
    tmp_path: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = trainer.save_epoch

    def full_in_second_epoch(folder: Any, card: Any, average: Any, last: Any, metrics: Any) -> None:
        with files_of_at_most(1000 if metrics["epoch"] == 2 else 1 << 30):
            saved(folder, card, average, last, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_epoch", full_in_second_epoch)
        with pytest.raises(OutputError, match=r"run/curves\.png: cannot be written: File too large$"):
            fit(splits, small_config, tmp_path / "run")
    assert not [name for name in names(tmp_path / "run") if name.startswith(".")]
    fit(splits, small_config, tmp_path / "run", resume=True)
    assert [row["epoch"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3]


@pytest.mark.parametrize("place", ["write_graph", "save_weights", "check_parity", "export_readme"])
def test_an_export_that_finds_no_room_leaves_nothing(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    function = getattr(export_module, place)

    def full(*arguments: Any, **options: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        return function(*arguments, **options)

    monkeypatch.setattr(export_module, place, full)
    with (
        pytest.raises(OutputError, match=rf"^{tmp_path}/small(/\S+)?: cannot be written: File too large$"),
        files_of_at_most(1 << 30),
    ):
        export(run, tmp_path / "small")
    assert names(tmp_path) == []


# One run, one folder


def test_a_run_in_progress_is_neither_begun_again_nor_resumed(
    tmp_path: Path, splits: Splits, small_config: FitConfig
) -> None:
    errors = []

    def report(metrics: Any) -> None:
        for resume in (False, True):
            with pytest.raises(OutputError, match=r"run: is being written by another run \(process \d+ on ") as error:
                fit(splits, small_config, tmp_path / "run", resume=resume)
            errors.append(error)

    fit(splits, small_config, tmp_path / "run", report=report)
    assert len(errors) == 2 * small_config.epochs
    assert names(tmp_path) == ["run"]
    assert [row["epoch"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_a_folder_of_somebody_else_is_left_as_it_is(tmp_path: Path, splits: Splits, small_config: FitConfig) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("theirs")
    with pytest.raises(OutputError, match=r"run: exists already; `resume=True` resumes a run$"):
        fit(splits, small_config, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_text() == "theirs"

"""`fer_train.fit`: from a data set to a run, and what a run offers."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure

import fer_train
import fer_train.models
from fer_core import ConfigError, DataError, Faces, OutputError, TrainingWarning
from fer_core.io.csv.writer import write_csv
from fer_train.cli import main
from fer_train.config import FitConfig
from fer_train.data.splits import load_splits
from fer_train.runs.checkpoint import load_weights
from fer_train.runs.run_folder import METRICS
from fer_train.training import trainer

TINY = {"architecture": "course-dnn", "architecture_arguments": {"widths": [4]}, "epochs": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, data: Path) -> fer_train.Run:
    return fer_train.fit(data, tmp_path_factory.mktemp("runs") / "tiny", **TINY)  # type: ignore[arg-type]


def test_import_needs_neither_torch_nor_pandas() -> None:
    script = "import sys, fer_train; fer_train.FitConfig; assert not {'torch', 'pandas', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_it_trains_what_the_trainer_trains_by_the_same_config(tmp_path: Path, data: Path, tiny: fer_train.Run) -> None:
    card = trainer.fit(load_splits(data), FitConfig.of(**TINY), tmp_path / "same")  # type: ignore[arg-type]
    assert tiny.card.weights_sha256 == card.weights_sha256
    assert tiny.config == FitConfig.load(tmp_path / "same" / "config.json")


def test_faces_in_memory_train_the_same_network_as_their_file(
    tmp_path: Path, drawn: Faces, data: Path, tiny: fer_train.Run
) -> None:
    run = fer_train.fit(drawn, tmp_path / "run", **TINY)  # type: ignore[arg-type]
    assert run.card.weights_sha256 == tiny.card.weights_sha256


def test_a_run_offers_its_history_as_rows_table_and_figure(tiny: fer_train.Run) -> None:
    assert [row["epoch"] for row in tiny.history] == [1, 2]
    accuracies = [row["validation_accuracy"] for row in tiny.history]
    assert (tiny.last_accuracy, tiny.best_accuracy) == (accuracies[-1], max(accuracies))
    table = tiny.to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert table.to_dict("list")["validation_accuracy"] == accuracies
    assert table["epoch"].tolist() == [1, 2]
    figure = tiny.plot()
    assert isinstance(figure, Figure)
    losses = [line.get_ydata().tolist() for line in figure.axes[0].lines]
    assert losses == [[row[f"{name}_loss"] for row in tiny.history] for name in ("train", "validation")]


def test_a_run_shows_itself_as_text_and_html(tiny: fer_train.Run) -> None:
    assert repr(tiny) == f"Run(course-dnn, 2 of 2 epochs, {tiny.path})"
    page = tiny._repr_html_()
    assert f"PublicTest accuracy {tiny.last_accuracy:.2%}" in page
    assert 'src="data:image/png;base64,iVBOR' in page


def test_a_run_before_its_first_epoch_has_no_accuracy(tmp_path: Path) -> None:
    FitConfig().save(tmp_path / "config.json")
    run = fer_train.Run(tmp_path)
    assert run.history == []
    assert run.to_pandas().empty
    assert run.to_pandas().columns.tolist() == list(METRICS)
    assert math.isnan(run.last_accuracy)
    assert math.isnan(run.best_accuracy)
    assert run._repr_html_() == f"<p>Run(course-cnn, 0 of 100 epochs, {tmp_path})</p>"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope: expected a run folder, found no config\.json in it$"):
        fer_train.Run(tmp_path / "nope")


def test_a_run_is_exported_loaded_and_evaluated_as_it_is(tmp_path: Path, data: Path, tiny: fer_train.Run) -> None:
    fer_train.export(tiny, tmp_path / "exported")
    first, second = fer_train.load_model(tiny), fer_train.load_model(tmp_path / "exported")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    found = fer_train.evaluate(data, tiny, tmp_path / "evaluation", split="PublicTest")
    assert found.accuracy == pytest.approx(tiny.last_accuracy)


def test_without_an_output_the_folder_is_named_by_architecture_and_time(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fer_train.fit(data, **TINY)  # type: ignore[arg-type]
    assert run.path.parent == Path("runs")
    assert run.path.match("course-dnn-[0-9]*-[0-9]*")
    assert f"fit: writing {run.path}" in capsys.readouterr().err


def test_no_folder_is_announced_for_data_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"^missing\.csv: cannot be read"):
        fer_train.fit("missing.csv", **TINY)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""


def test_each_epoch_is_reported_with_the_name_of_the_validation_split(tmp_path: Path, data: Path) -> None:
    rows: list[dict[str, object]] = []
    fer_train.fit(data, tmp_path / "run", report=rows.append, **TINY)  # type: ignore[arg-type]
    assert [(row["epoch"], row["validation_split"]) for row in rows] == [(1, "PublicTest"), (2, "PublicTest")]


def test_resuming_uses_the_saved_settings_and_takes_no_others(tmp_path: Path, data: Path, tiny: fer_train.Run) -> None:
    assert fer_train.fit(data, tiny.path, resume=True).history == tiny.history
    with pytest.raises(ConfigError, match=r"^resume: uses the saved settings; leave out epochs$"):
        fer_train.fit(data, tiny.path, resume=True, epochs=3)
    with pytest.raises(ConfigError, match=r"^resume: requires `output`, the run to resume$"):
        fer_train.fit(data, resume=True)
    with pytest.raises(OutputError, match=r"none: expected a run to resume, found no config\.json$"):
        fer_train.fit(data, tmp_path / "none", resume=True)
    with pytest.raises(ConfigError, match=r"^config: cannot be combined with epochs$"):
        fer_train.fit(data, config=FitConfig(), epochs=3)


def test_a_path_to_validate_on_is_never_the_name_of_a_split(
    tmp_path: Path, drawn: Faces, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(drawn.of_split("PublicTest").take(slice(7)), Path("faces.csv"))
    Path("faces.csv").rename("PublicTest")
    run = fer_train.fit(data, "run", validation=Path("PublicTest"), **TINY)  # type: ignore[arg-type]
    assert run.config.validation == "./PublicTest"
    assert run.card.training_data["rows"]["PublicTest"] == 7


def test_a_resumed_run_reads_its_data_as_it_was_started(tmp_path: Path, data: Path) -> None:
    """Neither columns, nor the validation split, nor what to do with bad rows has to be repeated."""
    path = tmp_path / "odd.csv"
    text = data.read_text().replace("emotion,pixels,Usage", "feeling,face,fold", 1)
    path.write_text(text + "3,1 2 3,Training\n")
    columns = [word for pair in ("pixels=face", "label=feeling", "split=fold") for word in ("--column", pair)]
    network = ["--architecture", "course-dnn", "--architecture-argument", "widths=[4]", "--epochs", "1"]
    command = ["fit", str(path), "--output", str(tmp_path / "run")]
    done = CliRunner().invoke(main, [*command, *columns, "--on-error", "skip", *network])
    assert done.exit_code == 0, done.output
    assert f"rows left out: 1, listed in {tmp_path / 'run' / 'rejects.csv'}" in done.output
    again = CliRunner().invoke(main, [*command, "--resume"])
    assert again.exit_code == 0, again.output
    assert "rows left out: 1" in again.output
    assert fer_train.Run(tmp_path / "run").rows_left_out == 1


def test_weights_that_have_seen_other_faces_are_a_warning(tmp_path: Path, drawn: Faces, tiny: fer_train.Run) -> None:
    fewer = drawn.take([*range(100), *range(160, 200)])
    with pytest.warns(TrainingWarning, match=r"^the initial weights, course-dnn of sha256 .* saw other Training faces"):
        run = fer_train.fit(fewer, tmp_path / "run", initial=str(tiny.path), **TINY)  # type: ignore[arg-type]
    assert run.card.training_data["initial"]["weights_sha256"] == tiny.card.weights_sha256


def test_the_saved_average_is_that_of_the_steps(tmp_path: Path, data: Path) -> None:
    """Recompute the moving average from the weights after each of three one-step epochs."""
    states = []

    def keep(_: dict[str, object]) -> None:
        states.append(load_weights(tmp_path / "run" / "last.safetensors")[0])

    config = FitConfig.of("course-dnn", architecture_arguments={"widths": [4]}, epochs=3, batch_size=160, device="cpu")
    torch.manual_seed(config.seed)
    splits = load_splits(data)
    network = fer_train.models.build_model("course-dnn", mean=splits.mean, std=splits.std, widths=[4])
    trainer.fit(splits, replace(config, ema_decay=0.15), tmp_path / "run", report=keep)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    for step, state in enumerate(states):
        decay = min(0.15, (1 + step) / (10 + step))
        average = {name: decay * value + (1 - decay) * state[name] for name, value in average.items()}
    for name, value in load_weights(tmp_path / "run" / "ema.safetensors")[0].items():
        torch.testing.assert_close(value, average[name], atol=1e-6, rtol=1e-6)

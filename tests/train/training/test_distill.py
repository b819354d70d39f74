from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fer_core import ConfigError
from fer_core.faces import Faces
from fer_core.io.csv.writer import write_csv
from fer_train.cli import main
from fer_train.config import DistillConfig, FitConfig
from fer_train.data.splits import Splits
from fer_train.models.ensemble import Ensemble
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_card, load_model, load_weights, save_weights
from fer_train.runs.provenance import trained_on_other_faces, training_record
from fer_train.temperature import fit_temperature, temperature_record
from fer_train.training.distill import Teachers
from fer_train.training.trainer import fit


def teachers_of(splits: Any, labels: Any, *runs: Any, **settings: Any) -> Any:
    return Teachers(DistillConfig(tuple(map(str, runs)), **settings), splits.validation, labels, torch.device("cpu"))


@pytest.fixture
def labels(run: Path) -> tuple[str, ...]:
    return load_card(run / "ema.safetensors").labels


@pytest.fixture
def second(tmp_path: Path, splits: Splits, small_config: FitConfig) -> Path:
    fit(splits, replace(small_config, seed=5, epochs=1), tmp_path / "second")
    return tmp_path / "second"


def log_softmax_slowly(logits: Any) -> Any:
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_the_loss_is_that_of_the_paper_computed_slowly(
    run: Path, second: Path, splits: Splits, labels: tuple[str, ...]
) -> None:
    teachers = teachers_of(splits, labels, run, second, temperature=3.0, weight=0.6)
    images = splits.validation.images[:9]
    logits = np.random.default_rng(0).normal(size=(9, 7))
    taught = [np.exp(log_softmax_slowly(predict_logits(load_model(path), images))) for path in (run, second)]
    mean = np.log(np.mean(taught, axis=0))  # whose softmax is the mean itself
    goal = log_softmax_slowly(mean / teachers.fitted_temperature / 3.0)
    student = log_softmax_slowly(logits / 3.0)
    divergence = (np.exp(goal) * (goal - student)).sum(axis=1).mean()
    faces = torch.from_numpy(images).unsqueeze(1).float()
    found = teachers.loss(faces, torch.from_numpy(logits), torch.tensor(1.25, dtype=torch.float64))
    assert float(found) == pytest.approx(0.4 * 1.25 + 0.6 * 9.0 * divergence, rel=1e-5)


def test_each_teacher_is_taken_at_the_temperature_of_its_card(
    run: Path, second: Path, splits: Splits, labels: tuple[str, ...]
) -> None:
    for temperature in (1.0, 2.5):
        state, card = load_weights(second / "ema.safetensors")
        fitted = dict.fromkeys(("nll_before", "nll_after", "ece_before", "ece_after"), 0.5)
        record = {"value": temperature, "fitted_on": "PublicTest", "n": 20, **fitted}
        save_weights(second / "ema.safetensors", state, replace(card, temperature=record))
        teachers = teachers_of(splits, labels, run, second)
        images = splits.validation.images
        logits = predict_logits(load_model(run), images), predict_logits(load_model(second), images) / temperature
        mean = np.mean([np.exp(log_softmax_slowly(each)) for each in logits], axis=0)
        found = torch.softmax(torch.from_numpy(predict_logits(teachers.network, images)), 1)
        np.testing.assert_allclose(found.numpy(), mean, atol=1e-6)


def test_a_student_that_says_what_its_teacher_says_loses_nothing_to_it(
    run: Path, splits: Splits, labels: tuple[str, ...]
) -> None:
    teachers = teachers_of(splits, labels, run, weight=1.0)
    faces = torch.from_numpy(splits.validation.images).unsqueeze(1).float()
    logits = load_model(run)(faces) / teachers.fitted_temperature
    assert float(teachers.loss(faces, logits.detach(), torch.tensor(7.0))) == pytest.approx(0, abs=1e-6)


def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a list that grows by the faces of each batch that teachers judge."""
    batches = []
    judge = Ensemble.forward

    def forward(self: Any, images: Any) -> Any:
        batches.append(images.clone())
        return judge(self, images)

    monkeypatch.setattr(Ensemble, "forward", forward)
    return batches


def test_a_batch_that_comes_again_is_judged_once(
    run: Path, splits: Splits, labels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = teachers_of(splits, labels, run, teacher_epochs=2)
    assert [teachers.view(epoch) for epoch in range(5)] == [0, 1, 0, 1, 0]
    assert teachers_of(splits, labels, run).view(3) is None
    faces = torch.from_numpy(splits.validation.images[:9]).unsqueeze(1).float()
    logits, label_loss = torch.randn(9, 7), torch.tensor(0.5)
    batches = asked(monkeypatch)
    first = teachers.loss(faces, logits, label_loss, (0, 3))
    other = teachers.loss(faces.flip(0), logits, label_loss, (1, 3))
    assert len(batches) == 2
    assert first != other
    assert teachers.loss(faces, logits, label_loss, (0, 3)) == first == teachers.loss(faces, logits, label_loss)
    assert len(batches) == 3
    student = torch.randn(9, 7)  # which is not the one of the first time
    assert teachers.loss(faces, student, label_loss, (0, 3)) == teachers.loss(faces, student, label_loss)


def test_later_epochs_repeat_the_views_that_were_judged_and_mild_ones_are_new(
    tmp_path: Path, run: Path, splits: Splits, small_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(small_config, epochs=5, mild_epochs=1, distill=DistillConfig((str(run),), teacher_epochs=2))
    batches = asked(monkeypatch)
    seen = []
    judge = Teachers.loss

    def loss(self: Any, images: Any, *rest: Any) -> Any:
        seen.append(images.clone())
        return judge(self, images, *rest)

    monkeypatch.setattr(Teachers, "loss", loss)
    fit(splits, config, tmp_path / "student")
    epochs = np.array_split(np.arange(len(seen)), 5)
    first, second, third, fourth, mild = (torch.cat([seen[number] for number in numbers]) for numbers in epochs)
    assert torch.equal(first, third)
    assert torch.equal(second, fourth)
    assert not torch.equal(first, second)
    assert not any(torch.equal(mild, other) for other in (first, second))
    judged = torch.cat(batches[-3 * len(epochs[0]) :])  # those before are the validation faces
    assert torch.equal(judged, torch.cat([first, second, mild]))


def test_a_run_of_repeated_views_goes_on_to_the_bit(
    tmp_path: Path, run: Path, stop_in_second_epoch: Callable[..., Any], splits: Splits, small_config: FitConfig
) -> None:
    config = replace(small_config, epochs=4, distill=DistillConfig((str(run),), teacher_epochs=1))
    card = fit(splits, config, tmp_path / "whole")
    stop_in_second_epoch(splits, config, tmp_path / "cut")
    assert fit(splits, config, tmp_path / "cut", resume=True) == card
    assert fit(splits, replace(config, distill=DistillConfig((str(run),))), tmp_path / "new") != card


def test_the_teachers_learn_nothing_and_the_student_does(run: Path, splits: Splits, labels: tuple[str, ...]) -> None:
    teachers = teachers_of(splits, labels, run)
    faces = torch.from_numpy(splits.validation.images[:4]).unsqueeze(1).float().requires_grad_()
    logits = torch.zeros(4, 7, requires_grad=True)
    teachers.loss(faces, logits, torch.tensor(0.0)).backward()
    assert faces.grad is None
    assert all(parameter.grad is None for parameter in teachers.network.parameters())
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) > 0


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_fitted_temperature_is_the_best_of_a_fine_grid(true_temperature: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 7)) * 2
    chances = np.exp(log_softmax_slowly(logits / true_temperature))
    labels = np.array([rng.choice(7, p=row) for row in chances])
    grid = np.geomspace(0.2, 6, 2001)
    costs = [-log_softmax_slowly(logits / value)[np.arange(4000), labels].mean() for value in grid]
    found = fit_temperature(logits.astype(np.float32), labels)
    assert found == pytest.approx(grid[int(np.argmin(costs))], rel=3e-3)
    assert found == pytest.approx(true_temperature, rel=0.1)


def test_a_distilled_run_names_its_teachers_and_goes_on_to_the_bit(
    tmp_path: Path, run: Path, stop_in_second_epoch: Callable[..., Any], splits: Splits, small_config: FitConfig
) -> None:
    config = replace(small_config, distill=DistillConfig((str(run),)))
    assert FitConfig.load(_saved(config, tmp_path)) == config
    card = fit(splits, config, tmp_path / "whole")
    taught = load_card(run / "ema.safetensors")
    expected = {
        "architecture": "course-cnn",
        "weights_sha256": taught.weights_sha256,
        "seeds": [0],
        "training_data": taught.training_data,
        "temperature": 1.0,
    }
    assert card.training_data["teachers"] == [expected]
    stop_in_second_epoch(splits, config, tmp_path / "cut")
    with pytest.raises(ConfigError, match="started with another config"):
        fit(splits, replace(config, distill=None), tmp_path / "cut", resume=True)
    assert fit(splits, config, tmp_path / "cut", resume=True) == card
    for name in ("ema.safetensors", "last.safetensors"):
        whole, cut = (load_weights(tmp_path / folder / name)[0] for folder in ("whole", "cut"))
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    alone = fit(splits, small_config, tmp_path / "alone")
    assert alone.weights_sha256 != card.weights_sha256


def test_a_teacher_that_is_calibrated_meanwhile_is_another(
    tmp_path: Path, run: Path, stop_in_second_epoch: Callable[..., Any], splits: Splits, small_config: FitConfig
) -> None:
    shutil.copytree(run, tmp_path / "teacher")
    config = replace(small_config, distill=DistillConfig((str(tmp_path / "teacher"), str(run))))
    stop_in_second_epoch(splits, config, tmp_path / "cut")
    state, card = load_weights(run / "ema.safetensors")
    fitted = temperature_record(np.eye(7, dtype=np.float32), np.arange(7), "PublicTest")
    save_weights(tmp_path / "teacher" / "ema.safetensors", state, replace(card, temperature=fitted))
    with pytest.raises(ConfigError, match="teachers"):
        fit(splits, config, tmp_path / "cut", resume=True)


def _saved(config: Any, folder: Any) -> Any:
    config.save(folder / "config.json")
    return folder / "config.json"


def test_a_run_is_not_resumed_by_another_teacher_under_the_same_name(
    tmp_path: Path, run: Path, second: Path, splits: Splits, small_config: FitConfig
) -> None:
    config = replace(small_config, epochs=1, distill=DistillConfig((str(second),)))
    fit(splits, config, tmp_path / "student")
    state, _ = load_weights(run / "ema.safetensors")
    card = load_card(run / "ema.safetensors")
    save_weights(second / "ema.safetensors", state, card)
    with pytest.raises(ConfigError, match="was started with other teachers"):
        fit(splits, config, tmp_path / "student", resume=True)


def test_a_teacher_of_other_classes_is_refused(run: Path, splits: Splits) -> None:
    with pytest.raises(ConfigError, match=r"small: expected a teacher of yes, no, found angry, disgust, "):
        teachers_of(splits, ("yes", "no"), run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teachers": ()}, r"teachers: expected one or more runs or exports folders, found \(\)"),
        ({"teachers": ("a",), "temperature": 0.0}, "temperature: expected above 0 to 100, found 0.0"),
        ({"teachers": ("a",), "temperature": float("inf")}, "temperature: expected above 0 to 100, found inf"),
        ({"teachers": [5]}, r"teachers: expected one or more runs or exports folders, found \[5\]"),
        ({"teachers": ("a",), "weight": 1.5}, "weight: expected above 0 to 1, found 1.5"),
        ({"teachers": ("a",), "teacher_epochs": 0}, "teacher_epochs: expected at least 1, found 0"),
        ({"teachers": ("a",), "teacher_epochs": 2.0}, r"teacher_epochs: expected int \| None, found 2.0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistillConfig(**settings)


@pytest.mark.parametrize(("teacher_epochs", "mild_epochs"), [(5, 0), (4, 1), (50, 0)])
def test_views_that_no_epoch_would_repeat_are_refused(teacher_epochs: int, mild_epochs: int) -> None:
    taught = DistillConfig(("a",), teacher_epochs=teacher_epochs)
    message = f"teacher_epochs: expected fewer than the {5 - mild_epochs} epochs before the mild ones"
    with pytest.raises(ConfigError, match=f"{message}, found {teacher_epochs}$"):
        FitConfig(epochs=5, mild_epochs=mild_epochs, distill=taught)
    FitConfig(epochs=6 if teacher_epochs < 50 else 60, mild_epochs=mild_epochs, distill=taught)


def test_teachers_and_weights_that_learned_other_faces_are_named(
    tmp_path: Path, run: Path, splits: Splits, small_config: FitConfig
) -> None:
    fewer = replace(splits, training=splits.training.take(slice(0, 40)), dropped={"leaks": 1})
    config = replace(small_config, drop_leaks=True, initial=str(run), distill=DistillConfig((str(run),)))
    sha256 = load_card(run / "ema.safetensors").weights_sha256[:12]
    named = f"course-cnn of sha256 {sha256}, saw other Training faces: 160 of drawn faces"
    expected = [f"the initial weights, {named}", f"a teacher, {named}"]
    assert trained_on_other_faces(training_record(fewer, config)) == expected
    left_out = replace(splits, dropped={"leaks": 0})  # of the same faces none was left out, which was not asked before
    assert trained_on_other_faces(training_record(left_out, config)) == expected
    assert trained_on_other_faces(training_record(splits, config)) == []
    assert trained_on_other_faces(training_record(fewer, small_config)) == []


def test_the_command_distills_and_asks_for_teachers(tmp_path: Path, run: Path, drawn: Faces) -> None:
    write_csv(drawn, tmp_path / "drawn.csv")
    small = ["--epochs", "1", "--architecture", "compact", "--architecture-argument", "widths=[[4],[4]]"]
    command = ["distill", str(tmp_path / "drawn.csv"), "--output", str(tmp_path / "student"), *small]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "expected --teachers, a run or an exports folder to learn from" in result.output
    result = CliRunner().invoke(main, [*command, "--teachers", str(run), "--weight", "0.5"])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "student" / "config.json").read_text())["distill"] == {
        "teachers": [str(run)],
        "temperature": 2.0,
        "weight": 0.5,
        "teacher_epochs": None,
    }


def test_what_a_resumed_run_is_not_to_be_told_is_named_as_options(tmp_path: Path) -> None:
    command = ["distill", "drawn.csv", "--output", str(tmp_path), "--resume", "--teachers", "a", "--lr", "0.1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "--resume uses the saved settings of the run; leave out --teachers, --lr" in result.output

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fer_core import ConfigError, OutputError
from fer_infer import Scorer
from fer_train.cli import main
from fer_train.config import FitConfig
from fer_train.data.splits import Splits
from fer_train.exporting.export import export
from fer_train.models import build_model
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_card, load_model, load_model_and_card, load_weights, save_weights
from fer_train.runs.ensembling import ensemble
from fer_train.training.trainer import fit


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, splits: Splits, small_config: FitConfig) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "other"
    arguments = {"widths": [[4], [6]]}
    fit(
        splits,
        replace(small_config, architecture="compact", architecture_arguments=arguments, seed=8, epochs=1),
        folder,
    )
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, data: Path, run: Path, other: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "both"
    ensemble(data, [run, other], folder)
    return folder


def mean_probabilities(runs: Any, images: Any, temperatures: Any = (1.0, 1.0, 1.0, 1.0)) -> Any:
    pairs = zip(runs, temperatures, strict=False)
    return np.mean([softmax(predict_logits(load_model(path), images), t) for path, t in pairs], axis=0)


def test_an_ensemble_gives_the_mean_of_its_members_probabilities(
    run: Path, other: Path, both: Path, splits: Splits
) -> None:
    images = splits.validation.images
    found = softmax(predict_logits(load_model(both), images))
    np.testing.assert_allclose(found, mean_probabilities([run, other], images), atol=1e-6)


def test_its_card_tells_of_all_members(run: Path, other: Path, both: Path, splits: Splits) -> None:
    card = load_weights(both / "ema.safetensors")[1]
    assert card.architecture == "ensemble"
    assert [member["architecture"] for member in card.architecture_arguments["members"]] == ["course-cnn", "compact"]
    assert card.seeds == (0, 8)
    assert card.selection.startswith("mean of the probabilities of 2 networks: moving average")
    predicted = mean_probabilities([run, other], splits.validation.images).argmax(axis=1)
    expected = float(np.mean(predicted == splits.validation.labels))
    assert card.scores["PublicTest"]["accuracy"] == pytest.approx(expected)
    assert card.scores["PublicTest"]["n"] == len(splits.validation)


def test_it_is_exported_as_one_graph_and_scored_like_any_other(
    tmp_path: Path, run: Path, other: Path, both: Path, splits: Splits
) -> None:
    parity = export(both, tmp_path / "exported", fp16=True)
    assert parity.changed_predictions == 0
    images = splits.validation.images
    for precision, atol in (("fp32", 1e-5), ("fp16", 5e-3)):
        found = Scorer(tmp_path / "exported", "cpu", precision).run(images)[1]
        np.testing.assert_allclose(found, mean_probabilities([run, other], images), atol=atol)


def test_members_speak_at_the_temperatures_of_their_cards(
    tmp_path: Path, data: Path, run: Path, other: Path, splits: Splits
) -> None:
    export(run, tmp_path / "exported", calibration=data)
    temperature = load_model_and_card(tmp_path / "exported")[1].temperature["value"]
    assert abs(temperature - 1) > 0.01
    ensemble(data, [tmp_path / "exported", other], tmp_path / "both")
    images = splits.validation.images
    found = softmax(predict_logits(load_model(tmp_path / "both"), images))
    expected = mean_probabilities([run, other], images, (temperature, 1.0))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - mean_probabilities([run, other], images)).max() > 1e-4


def test_members_may_have_learned_in_different_ways_from_the_same_faces(
    tmp_path: Path, data: Path, run: Path, other: Path
) -> None:
    state, card = load_weights(other / "ema.safetensors")
    (tmp_path / "taught").mkdir()
    taught_by = [
        {"architecture": "compact", "weights_sha256": "0" * 64, "seeds": [1], "training_data": card.training_data}
    ]
    learned = {**card.training_data, "teachers": taught_by}
    taught = replace(card, training_data=learned, selection="the best of nine")
    save_weights(tmp_path / "taught" / "ema.safetensors", state, taught)
    made = ensemble(data, [run, tmp_path / "taught"], tmp_path / "both")
    first = load_card(run / "ema.safetensors")
    members = [
        {
            "architecture": "course-cnn",
            "weights_sha256": first.weights_sha256,
            "seeds": [0],
            "training_data": first.training_data,
        },
        {
            "architecture": "compact",
            "weights_sha256": card.weights_sha256,
            "seeds": [8],
            "training_data": learned,
        },
    ]
    common = {key: first.training_data[key] for key in ("source", "sha256", "rows")}
    assert made.training_data == {**common, "members": members}
    assert made.selection.endswith("; the best of nine")


def test_ensembles_can_be_members(
    tmp_path: Path, data: Path, run: Path, other: Path, both: Path, splits: Splits
) -> None:
    ensemble(data, [both, run], tmp_path / "nested")
    images = splits.validation.images
    expected = mean_probabilities([run, other, run, run], images)
    np.testing.assert_allclose(softmax(predict_logits(load_model(tmp_path / "nested"), images)), expected, atol=1e-6)


def test_one_run_is_no_ensemble(tmp_path: Path, data: Path, run: Path) -> None:
    with pytest.raises(ConfigError, match="runs: expected two or more, found 1"):
        ensemble(data, [run], tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_an_existing_output_is_refused_before_anything_is_read(
    tmp_path: Path, data: Path, run: Path, other: Path
) -> None:
    (tmp_path / "both").mkdir()
    with pytest.raises(OutputError, match="both: exists already; `force=True` replaces it"):
        ensemble(data, [run, tmp_path / "nowhere"], tmp_path / "both")


def test_members_trained_on_other_faces_are_refused(tmp_path: Path, data: Path, run: Path) -> None:
    state, card = load_weights(run / "ema.safetensors")
    (tmp_path / "stranger").mkdir()
    moved = replace(card, standardization={"mean": 1.0, "std": 2.0})
    save_weights(tmp_path / "stranger" / "ema.safetensors", state | {}, moved)
    with pytest.raises(
        ConfigError, match=r"stranger: standardization: expected as in .*small, .* found .*'mean': 1\.0"
    ):
        ensemble(data, [run, tmp_path / "stranger"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("arguments", [{}, {"members": []}, {"members": "all"}, {"member": []}])
def test_an_ensemble_without_members_cannot_be_built(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="architecture ensemble: expected a list of members, found"):
        build_model("ensemble", mean=0.0, std=1.0, **arguments)


MEMBER = {"architecture": "compact", "arguments": {}, "temperature": 1.0}


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": "x"}, {"temperature": float("nan")}, {"arguments": []}, {"architecture": 1}],
)
def test_a_member_that_is_none_is_refused(change: dict[str, Any]) -> None:
    for member in ({**MEMBER, **change}, {k: v for k, v in MEMBER.items() if k not in change}, "compact"):
        with pytest.raises(
            ConfigError, match="architecture ensemble: expected members with architecture, arguments and a temp"
        ):
            build_model("ensemble", mean=0.0, std=1.0, members=[MEMBER, member])


def test_the_command_says_how_good_it_is(tmp_path: Path, data: Path, run: Path, other: Path) -> None:
    output = tmp_path / "both"
    result = CliRunner().invoke(main, ["ensemble", str(data), str(run), str(other), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("PublicTest accuracy ")
    assert f"{output}: ema.safetensors, confusion.png" in result.output
    assert {path.name for path in output.iterdir()} >= {"ema.safetensors", "sample.npz", "metrics.json"}


def test_the_same_weights_twice_are_no_ensemble(tmp_path: Path, data: Path, run: Path, other: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{run}: expected other weights than those of {run}, found the same$"):
        ensemble(data, [run, other, run], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_its_pictures_bear_its_name(
    tmp_path: Path, data: Path, run: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr("fer_train.runs.run_folder.save_evaluation", lambda _, __, title: titles.append(title))
    ensemble(data, [run, other], tmp_path / "both")
    assert [title.partition(":")[0] for title in titles] == ["both"]

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fer_core import CardError, ModelCard, ModelError
from fer_train.runs.checkpoint import load_card, load_model, load_weights, save_weights, weights_sha256


@pytest.fixture
def stored(run: Path) -> tuple[Any, ...]:
    return load_weights(run / "ema.safetensors")


def test_weights_and_card_come_back_as_they_were(tmp_path: Path, stored: tuple[Any, ...]) -> None:
    state, card = stored
    save_weights(tmp_path / "weights.safetensors", state, card)
    state_again, card_again = load_weights(tmp_path / "weights.safetensors")
    assert card_again == card
    assert all(torch.equal(state[name], state_again[name]) for name in state)


def test_the_sha256_is_the_documented_one() -> None:
    state = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor(3, dtype=torch.int64)}
    text = b"a <i8 ()" + (3).to_bytes(8, "little") + b"b <f4 (2,)" + bytes.fromhex("0000803f00000040")
    assert weights_sha256(state) == hashlib.sha256(text).hexdigest()


def test_the_sha256_changes_with_one_weight_a_name_or_a_shape() -> None:
    base = {"a": torch.zeros(2, 3)}
    others = [
        {"a": torch.zeros(3, 2)},
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(2, 3).index_fill(0, torch.tensor(0), 1e-30)},
    ]
    assert len({weights_sha256(state) for state in [base, *others]}) == 4


def test_a_changed_weight_is_refused(tmp_path: Path, stored: tuple[Any, ...]) -> None:
    state, card = stored
    name = next(name for name in state if name.endswith("weight"))
    save_file(state | {name: state[name] + 1e-6}, tmp_path / "ema.safetensors", metadata=card.to_metadata())
    with pytest.raises(
        ModelError, match=r"ema\.safetensors: expected weights of sha256 [0-9a-f]{12}, found [0-9a-f]{12}"
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("vgg", {}, "architecture: expected one of course-cnn, .*, found 'vgg'"),
        ("course-cnn", {"mean": 1}, "multiple values for keyword argument 'mean'"),
        ("course-cnn", {"widths": "wide"}, ".*"),
        ("ensemble", {"members": [{}]}, "architecture ensemble: expected members with architecture, .*, found {}"),
    ],
)
def test_a_card_of_no_network_is_refused_with_its_file(
    tmp_path: Path, stored: tuple[Any, ...], architecture: str, arguments: dict[str, Any], message: str
) -> None:
    state, card = stored
    strange = replace(card, architecture=architecture, architecture_arguments=arguments)
    save_weights(tmp_path / "ema.safetensors", state, strange)
    expected = (
        rf"^{tmp_path / 'ema.safetensors'}: the model card does not describe a network that can be built: .*{message}"
    )
    with pytest.raises(CardError, match=expected):
        load_model(tmp_path)


def test_a_file_without_a_card_is_refused(tmp_path: Path, stored: tuple[Any, ...]) -> None:
    save_file(stored[0], tmp_path / "ema.safetensors")
    with pytest.raises(CardError, match=r"ema\.safetensors: the model card has no architecture, "):
        load_model(tmp_path)


def test_a_cut_file_is_refused(tmp_path: Path, run: Path) -> None:
    whole = (run / "ema.safetensors").read_bytes()
    (tmp_path / "ema.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"ema\.safetensors: cannot be read as safetensors"):
        load_model(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected an exports folder or a run, found no weights"):
        load_model(tmp_path / "none")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(
        ModelError, match=r"model\.onnx: expected an exports folder or a run, found a file; name its folder"
    ):
        load_model(tmp_path / "model.onnx")


def test_weights_of_another_architecture_are_refused(tmp_path: Path, stored: tuple[Any, ...]) -> None:
    state, card = stored
    foreign = replace(card, architecture="course-dnn", architecture_arguments={})
    save_weights(tmp_path / "weights.safetensors", state, foreign)
    with pytest.raises(CardError, match="the weights do not fit course-dnn"):
        load_model(tmp_path)


def test_a_card_json_that_contradicts_the_weights_is_refused(tmp_path: Path, stored: tuple[Any, ...]) -> None:
    state, card = stored
    save_weights(tmp_path / "weights.safetensors", state, card)
    replace(card, seeds=(9,)).save_json(tmp_path / "card.json")
    with pytest.raises(CardError, match=r"disagree on seeds"):
        load_model(tmp_path)


def test_the_model_comes_in_evaluation_mode_with_the_saved_weights(run: Path) -> None:
    model = load_model(run)
    saved = load_file(run / "ema.safetensors")
    assert not model.training
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_metadata_is_the_card_and_nothing_else(run: Path, stored: tuple[Any, ...]) -> None:
    from safetensors import safe_open

    with safe_open(run / "ema.safetensors", framework="pt") as file:
        assert ModelCard.from_metadata(file.metadata(), "x") == stored[1]


def test_a_card_is_read_without_the_tensors(tmp_path: Path, run: Path, stored: tuple[Any, ...]) -> None:
    """Its file may even have other tensors than the card states, which only loading them finds out."""
    state, card = stored
    assert load_card(run / "ema.safetensors") == card
    other = {name: value + 1 for name, value in state.items()}
    save_file(other, tmp_path / "ema.safetensors", metadata=card.to_metadata())
    assert load_card(tmp_path / "ema.safetensors") == card
    with pytest.raises(ModelError, match=r"none\.safetensors: cannot be read as safetensors"):
        load_card(tmp_path / "none.safetensors")

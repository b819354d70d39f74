import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_models import CNN, make_card, make_network

from fer_core import CardError, Faces, ModelError
from fer_explain.verification import PROBES, compare_logits, compare_precisions, load_verified
from fer_infer import Scorer
from fer_train.exporting.graph import stamp, write_graph
from fer_train.exporting.half import halve
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model_and_card, save_weights


@pytest.fixture
def copy(exports: Path, tmp_path: Path) -> Path:
    """An exports folder to spoil."""
    return Path(shutil.copytree(exports, tmp_path / "copy"))


def put_other_weights(folder: Path) -> tuple[str, str]:
    """Replace weights and card.json by those of another network; return the sha256 of the old and the new ones."""
    old = load_verified(folder).weights_sha256
    network = make_network("course-cnn", CNN, seed=1)
    card = make_card(network, "course-cnn", CNN)
    save_weights(folder / "weights.safetensors", network.state_dict(), card)
    card.save_json(folder / "card.json")
    return old, card.weights_sha256


def test_an_export_is_verified(exports: Path, faces: Faces) -> None:
    verified = load_verified(exports)
    assert verified.scorer is not None
    assert verified.weights_sha256 == verified.card.weights_sha256 == verified.scorer.card.weights_sha256
    assert verified.weights_file.name == "weights.safetensors"
    agreement = compare_logits(verified, faces.images)
    assert agreement is not None
    assert agreement.pytorch.shape == agreement.onnx.shape == (21, 7)
    assert agreement.agreement.max_absolute_difference == np.abs(agreement.pytorch - agreement.onnx).max() < 1e-4
    assert not verified.network.training


def test_a_run_that_was_never_exported_has_nothing_to_compare(run: Path, faces: Faces) -> None:
    verified = load_verified(run)
    assert verified.scorer is None
    assert compare_logits(verified, faces.images) is None


def test_other_weights_than_the_graphs_are_refused_by_both_names_and_hashes(copy: Path) -> None:
    graph, weights = put_other_weights(copy)
    match = rf"weights\.safetensors and .*model\.onnx: expected the same model, found weights .* {weights} .*{graph}"
    with pytest.raises(CardError, match=match):
        load_verified(copy)
    (copy / "card.json").unlink()
    with pytest.raises(CardError, match=match):
        load_verified(copy)


def test_a_foreign_card_in_the_graph_is_refused(copy: Path) -> None:
    graph = onnx.load(copy / "model.onnx")
    card = make_card(make_network("course-cnn", CNN, seed=2), "course-cnn", CNN)
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, card.to_metadata())
    onnx.save(graph, copy / "model.onnx")
    with pytest.raises(CardError, match=f"a graph of weights with sha256 {card.weights_sha256}"):
        load_verified(copy)


def test_weights_changed_behind_their_cards_back_are_refused(copy: Path) -> None:
    file = copy / "weights.safetensors"
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
    state["features.0.weight"][0, 0, 0, 0] += 1e-3
    save_file(state, file, metadata=metadata)
    with pytest.raises(ModelError, match=r"weights\.safetensors: expected weights of sha256 [0-9a-f]{12}, found"):
        load_verified(copy)


def test_a_graph_that_computes_something_else_under_the_right_card_is_refused(copy: Path) -> None:
    graph = onnx.load(copy / "model.onnx")
    weights = next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == [4, 1, 3, 3])
    changed = onnx.numpy_helper.to_array(weights) + np.float32(1)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    onnx.save(graph, copy / "model.onnx")
    with pytest.raises(ModelError, match=r"weights\.safetensors and .*model\.onnx: expected equal logits, found"):
        load_verified(copy)


def test_logits_that_are_not_numbers_are_no_agreement(exports: Path, faces: Faces) -> None:
    verified = load_verified(exports)
    with torch.no_grad():
        next(verified.network.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="found a difference of nan"):
        compare_logits(verified, faces.images)


def test_a_damaged_graph_and_one_without_a_card_are_refused(copy: Path) -> None:
    (copy / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be read as ONNX"):
        load_verified(copy)
    (copy / "model.onnx").write_bytes(b"")
    with pytest.raises(CardError, match=r"model\.onnx: the model card has no"):
        load_verified(copy)


def test_a_folder_that_is_neither_export_nor_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected an exports folder or a run"):
        load_verified(tmp_path)


def test_a_graph_of_another_temperature_is_refused(copy: Path) -> None:
    graph = onnx.load(copy / "model.onnx")
    (softmax,) = [node for node in graph.graph.node if node.op_type == "Softmax"]
    half = onnx.numpy_helper.from_array(np.float32(0.5), "half")
    graph.graph.initializer.append(half)
    graph.graph.node.insert(
        list(graph.graph.node).index(softmax), onnx.helper.make_node("Mul", [softmax.input[0], "half"], ["milder"])
    )
    softmax.input[0] = "milder"
    onnx.save(graph, copy / "model.onnx")
    with pytest.raises(ModelError, match="expected equal probabilities at the card's temperature, found a difference"):
        load_verified(copy)


def test_cards_of_weights_and_graph_that_differ_are_refused(copy: Path) -> None:
    (copy / "card.json").unlink()
    file = copy / "weights.safetensors"
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
    save_file(state, file, metadata={**metadata, "selection": json.dumps("another")})
    with pytest.raises(CardError, match=r"weights\.safetensors and .*model\.onnx disagree on selection"):
        load_verified(copy)


def add_lower_precision(folder: Path, faces: Faces) -> None:
    """Write a float16 graph of a folder's network beside it."""
    network, card = load_model_and_card(folder)
    path = folder / "model.fp16.onnx"
    lower = replace(card, precision="fp16", scores={})
    write_graph(halve(network), lower, path)
    stamp(path, lower)


def test_graphs_of_lower_precision_are_held_to_the_explained_network(copy: Path, faces: Faces) -> None:
    verified = load_verified(copy)
    assert compare_precisions(verified, faces.images, compare_logits(verified, faces.images)) == ()
    add_lower_precision(copy, faces)
    assert compare_precisions(verified, faces.images[:0], compare_logits(verified, faces.images[:0])) == ()
    (graph,) = compare_precisions(verified, faces.images, compare_logits(verified, faces.images))
    found = Scorer(copy / "model.fp16.onnx", "cpu").run(faces.images)[0]
    expected = predict_logits(verified.network, faces.images)
    assert (graph.file, graph.precision, graph.is_default) == ("model.fp16.onnx", "fp16", False)
    assert graph.agreement.max_absolute_difference == pytest.approx(np.abs(found - expected).max())
    assert 0 < graph.agreement.max_absolute_difference < 0.05
    np.testing.assert_array_equal(graph.agreement.changed, np.flatnonzero(found.argmax(1) != expected.argmax(1)))


def test_a_graph_of_lower_precision_made_from_other_weights_is_refused(copy: Path, faces: Faces) -> None:
    verified = load_verified(copy)
    add_lower_precision(copy, faces)
    other = replace(verified, card=replace(verified.card, weights_sha256="0" * 64))
    with pytest.raises(CardError, match=r"model\.fp16\.onnx: its card's weights_sha256 is not that of .*weights"):
        compare_precisions(other, faces.images, compare_logits(other, faces.images))


def test_what_was_probed_is_kept(exports: Path, run: Path) -> None:
    agreement = load_verified(exports).probe_agreement
    assert agreement is not None
    assert agreement.n == PROBES
    assert load_verified(run).probe_agreement is None

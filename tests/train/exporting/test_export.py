from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fer_core import ConfigError, DataError, Faces, ModelCard, ModelError, OutputError
from fer_core.io.csv.writer import write_csv
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_infer.scorer import Scorer
from fer_train.exporting import half
from fer_train.exporting.comparison import PrecisionComparison
from fer_train.exporting.export import export
from fer_train.exporting.graph import ScoringGraph, write_graph
from fer_train.exporting.parity import check_parity, count_held_weights
from fer_train.models import build_model
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model, load_model_and_card, load_weights, save_weights
from fer_train.training.trainer import fit


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "small"
    export(run, folder)
    return folder


def check(model, card, path, faces):
    return check_parity(model.state_dict(), predict_logits(model, faces.images), card, path, faces)


def test_an_exports_folder_holds_all_that_is_promised(exported):
    names = {path.name for path in exported.iterdir()}
    assert names == {"model.onnx", "weights.safetensors", "card.json", "parity.json", "README.md"}
    assert [path.name for path in exported.parent.iterdir()] == ["small"]


def test_the_graph_keeps_its_contract(exported):
    session = load_runtime().InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (faces,) = session.get_inputs()
    assert (faces.name, faces.type, faces.shape[1:]) == ("faces", "tensor(uint8)", [48, 48])
    assert isinstance(faces.shape[0], str)
    assert [(o.name, o.type, o.shape[1]) for o in session.get_outputs()] == [
        ("logits", "tensor(float)", 7),
        ("probabilities", "tensor(float)", 7),
    ]


def test_a_network_that_standardizes_each_face_is_exported_whole_and_scores_blank_faces(tmp_path, splits, small_config):
    arguments = {**small_config.architecture_arguments, "standardize": "face"}
    fit(splits, replace(small_config, architecture_arguments=arguments, epochs=1), tmp_path / "run")
    parity = export(tmp_path / "run", tmp_path / "face")
    state = load_model(tmp_path / "face").state_dict()
    assert not any(name.startswith("standardize") for name in state)
    assert parity.weights_in_graph == f"{len(state)} of {len(state)}"
    blank = np.stack([np.full((48, 48), level, np.uint8) for level in (0, 9, 255)])
    logits = Scorer(tmp_path / "face").run(blank)[0]
    np.testing.assert_allclose(logits, predict_logits(load_model(tmp_path / "face"), blank), atol=1e-5)
    np.testing.assert_allclose(logits, logits[[0, 0, 0]], atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 128])
def test_the_scorer_equals_the_original_at_every_batch_size(exported, run, drawn, batch_size):
    expected = predict_logits(load_model(run), drawn.images)
    logits, probabilities = Scorer(exported).run(drawn.images, batch_size=batch_size)
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(probabilities, softmax(expected), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))


def test_the_card_is_the_same_in_all_three_places(exported):
    graph = onnx.load(exported / "model.onnx")
    in_graph = ModelCard.from_metadata({entry.key: entry.value for entry in graph.metadata_props}, "model.onnx")
    in_weights = load_model_and_card(exported)[1]
    assert in_graph == in_weights == ModelCard.load_json(exported / "card.json")


def test_the_exported_weights_are_the_runs_average(exported, run):
    first, second = load_model(exported).state_dict(), load_model(run).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_the_weights_stand_in_the_graph(exported):
    state = load_model(exported).state_dict()
    assert count_held_weights(exported / "model.onnx", state) == (len(state), len(state))
    changed = {name: tensor + 1 for name, tensor in state.items()}
    assert count_held_weights(exported / "model.onnx", changed)[0] < len(state)


def test_a_graph_that_computes_the_same_with_another_tensor_is_refused(exported, run, drawn):
    model, card = load_model_and_card(run)
    with torch.no_grad():  # a hidden unit that nothing reads
        model.classifier[-1].weight[:, 0] = 0
    write_graph(model, card, exported.parent / "dead.onnx")
    with torch.no_grad():
        model.classifier[-4].weight[0] += 1
    total = len(model.state_dict())
    with pytest.raises(
        ModelError, match=rf"^dead\.onnx: expected all {total} tensors .* to the bit, found {total - 1}$"
    ):
        check(model, card, exported.parent / "dead.onnx", drawn)


def test_parity_says_what_was_compared(exported):
    parity = json.loads((exported / "parity.json").read_text())
    assert parity["n"] == 20  # the run's sample of its 20 PublicTest faces
    assert parity["batch_sizes"] == [1, 2, 7, 128]
    assert parity["providers"][-1] == "CPUExecutionProvider"
    assert parity["changed_predictions"] == 0
    assert 0 <= parity["max_absolute_difference"] <= parity["atol"] == 1e-4


def test_the_graph_names_no_folder_of_the_machine_that_made_it(exported):
    data = (exported / "model.onnx").read_bytes()
    assert b"stack_trace" not in data
    assert b".py" not in data


NORMALIZED = {
    "compact": {"widths": ((4,), (4,))},
    "residual-small": {"widths": (8, 8), "blocks": (1, 1)},
    "course-cnn": {"widths": (2, 2, 2), "hidden": 4, "batch_norm": True},
}


@pytest.fixture(params=NORMALIZED)
def normalized(request):
    """A network with BatchNorm whose statistics are those of no fresh one."""
    torch.manual_seed(0)
    model = build_model(request.param, mean=100, std=50, **NORMALIZED[request.param])
    model.train()(torch.rand(64, 1, 48, 48) * 255)
    return model.eval()


def test_batch_norm_stays_in_the_graph_as_it_was_trained(tmp_path, run, random_images, normalized):
    card = load_model_and_card(run)[1]
    write_graph(normalized, card, tmp_path / "model.onnx")
    faces = Faces(random_images, np.arange(9), source="random")
    assert check(normalized, card, tmp_path / "model.onnx", faces).changed_predictions == 0
    held, total = count_held_weights(tmp_path / "model.onnx", normalized.state_dict())
    assert held == total == sum(tensor.is_floating_point() for tensor in normalized.state_dict().values())
    # all sizes but that of the batch are known, so nothing but the network is left
    types = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert not types & {"Shape", "Gather", "Concat", "Expand", "CastLike", "Squeeze", "Identity"}


def test_half_precision_is_close_and_its_outputs_are_float32(tmp_path, run, drawn):
    write_csv(drawn.of_split("PublicTest"), tmp_path / "public.csv")
    parity = export(run, tmp_path / "small", fp16=True, data=tmp_path / "public.csv")
    path = tmp_path / "small" / "model.fp16.onnx"
    expected = predict_logits(load_model(run), drawn.images)
    scorer = Scorer(tmp_path / "small", "cpu", "fp16")
    logits, probabilities = scorer.run(drawn.images)
    np.testing.assert_allclose(logits, expected, atol=0.02, rtol=0)
    np.testing.assert_allclose(probabilities, softmax(logits), atol=1e-6, rtol=0)
    assert 0 < parity.fp16.agreement.max_absolute_difference < 0.02
    assert parity.fp16.agreement.equal_predictions >= 0.95
    assert scorer.card.scores == parity.fp16.scores()
    assert scorer.card.scores["PublicTest"]["n"] == 20
    weights = [tensor for tensor in onnx.load(path).graph.initializer if tensor.name.endswith(("weight", "bias"))]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("unknown", ["labels", "split"])
def test_faces_without_labels_or_of_no_one_split_give_no_score(drawn, unknown):
    logits = np.eye(7, dtype=np.float32)[drawn.labels]
    faces = replace(drawn, labels=None) if unknown == "labels" else drawn
    comparison = PrecisionComparison.of(faces, "CPUExecutionProvider", logits, logits)
    assert comparison.agreement.equal_predictions == 1
    assert comparison.accuracy == (None if unknown == "labels" else 1)
    assert comparison.scores() == {}


def test_a_half_precision_graph_that_is_too_far_is_refused(tmp_path, run, monkeypatch):
    monkeypatch.setattr(half, "HALF_ATOL", 0.0)
    with pytest.raises(ModelError, match=r"^model\.fp16\.onnx: .* max \|d logit\| \S+; expected at most 0$"):
        export(run, tmp_path / "exports" / "small", fp16=True)
    assert not (tmp_path / "exports").exists()


def test_a_graph_that_computes_something_else_is_caught(tmp_path, exported, run, drawn):
    model, card = load_model_and_card(run)
    with torch.no_grad():
        model.classifier[-1].bias[3] += 0.01
    with pytest.raises(ModelError, match=r"model\.onnx: differs from the PyTorch network: max \|d logit\| 0\.01"):
        check(model, card, exported / "model.onnx", drawn)


def test_parity_on_no_face_is_refused(tmp_path, run):
    (tmp_path / "none.csv").write_text("emotion,pixels\n")
    message = r"none\.csv: expected at least one face to check parity on, found none$"
    with pytest.raises(DataError, match=message):
        export(run, tmp_path / "exported", data=tmp_path / "none.csv")
    assert not (tmp_path / "exported").exists()


def test_a_failed_parity_leaves_nothing(tmp_path, run):
    with pytest.raises(ModelError, match="differs from the PyTorch network"):
        export(run, tmp_path / "exports" / "small", atol=1e-12)
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize("atol", [-1.0, 0.0, float("inf"), float("nan")])
def test_a_limit_that_limits_nothing_is_refused(tmp_path, run, atol):
    with pytest.raises(ConfigError, match=rf"^atol: expected above 0( and finite)?, found {atol}$"):
        export(run, tmp_path / "small", atol=atol)
    with pytest.raises(ConfigError, match=r"^int8_tolerance: requires `int8=True`$"):
        export(run, tmp_path / "small", int8_tolerance=5)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("output", ["", ".."], ids=["the run", "what holds it"])
def test_a_run_is_never_replaced_by_an_export(tmp_path, run, output):
    mine = tmp_path / "runs" / "mine"
    shutil.copytree(run, mine)
    before = sorted(path.name for path in mine.iterdir())
    with pytest.raises(OutputError, match=r"would overwrite the input .*mine; choose another output$"):
        export(mine, (mine / output).resolve(), force=True)
    assert sorted(path.name for path in mine.iterdir()) == before


def test_the_readme_says_what_a_network_owes_to_others(tmp_path, run):
    state, card = load_weights(run / "ema.safetensors")
    owed = {
        "initial": {"architecture": "course-cnn", "weights_sha256": "a" * 64},
        "teachers": [{"architecture": name, "weights_sha256": "b" * 64, "temperature": 1.0} for name in ("x", "y")],
        "dropped": {"conflicts": 1234},
    }
    data = card.training_data | {key: owed[key] for key in ("initial", "dropped")}
    member = {"architecture": "compact", "weights_sha256": "c" * 64, "seeds": [0], "training_data": data}
    taught = replace(card, training_data={**card.training_data, **owed, "members": [member]})
    shutil.copytree(run, tmp_path / "run")
    save_weights(tmp_path / "run" / "ema.safetensors", state, taught)
    export(tmp_path / "run", tmp_path / "small")
    earlier = "Training started from an earlier `course-cnn` with the weights of sha256 `aaaaaaaaaaaa`."
    text = (tmp_path / "small" / "README.md").read_text()
    lines = [
        earlier,
        "Teachers: `x` with the weights of sha256 `bbbbbbbbbbbb` and `y` with the weights of sha256 `bbbbbbbbbbbb`.",
        "Member: `compact` with the weights of sha256 `cccccccccccc`.",
        f"- {earlier}",
        "Faces left out of Training: 1,234 conflicts.",
    ]
    assert "\n".join(lines) + "\n\n| split" in text


def test_an_existing_export_needs_force(exported, run):
    with pytest.raises(OutputError, match="exists already; `force=True` replaces it"):
        export(run, exported)


def test_a_run_without_a_sample_asks_for_faces(tmp_path, run):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ema.safetensors").write_bytes((run / "ema.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"has no sample\.npz to check parity on; name faces with `data`"):
        export(tmp_path / "run", tmp_path / "out")


def test_a_card_of_other_weights_is_refused_by_the_scorer(tmp_path, exported):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = ModelCard.load_json(tmp_path / "card.json")
    replace(card, weights_sha256="0" * 64).save_json(tmp_path / "card.json")
    with pytest.raises(Exception, match="disagree on weights_sha256"):
        Scorer(tmp_path)


def test_the_scoring_graph_is_standardize_model_softmax(run, random_images):
    model = load_model(run)
    logits, probabilities = ScoringGraph(model, 1.5)(torch.from_numpy(random_images))
    np.testing.assert_allclose(logits.detach(), predict_logits(model, random_images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(probabilities.detach(), torch.softmax(logits.detach() / 1.5, dim=1), rtol=1e-6)


def test_parity_states_the_checksum_of_each_graph_and_the_scorer_checks_it(exported: Path, tmp_path: Path) -> None:
    stated = json.loads((exported / "parity.json").read_text())["graph_sha256"]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in exported.glob("model*.onnx")}
    assert stated == found
    folder = tmp_path / "damaged"
    shutil.copytree(exported, folder)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx: is damaged or from another export: expected SHA-256 "):
        Scorer(folder, "cpu")

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from fer_core import ConfigError, DataError, Faces, ModelCard, ModelError
from fer_core.io.csv.writer import write_csv
from fer_infer import Scorer
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_train.exporting import quantize as module
from fer_train.exporting.export import export
from fer_train.exporting.graph import write_graph
from fer_train.exporting.int8_calibration import METHODS, CalibrationData
from fer_train.exporting.quantize import FLOAT_LAYERS, WEIGHT_LIMIT, choose, quantize
from fer_train.models import build_model
from fer_train.runs.checkpoint import load_model, load_model_and_card


@pytest.fixture
def one_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one way to quantize: what is tested is the same for all, and the tests are six times as fast."""
    monkeypatch.setattr(module, "METHODS", {"MinMax": {}})
    monkeypatch.setattr(module, "FLOAT_LAYERS", {"last": 1})


@pytest.fixture(scope="module")
def card(run: Path) -> ModelCard:
    return load_model_and_card(run)[1]


@pytest.fixture(scope="module")
def exported(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exports folder with an int8 graph, chosen of all candidates but the slow ones of Entropy."""
    folder = tmp_path_factory.mktemp("exports") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "METHODS", {name: METHODS[name] for name in ("MinMax", "Percentile")})
        export(run, folder, int8=True, calibration=data, int8_tolerance=100)
    return folder


def test_the_last_layer_of_every_member_stays_in_float32(
    tmp_path: Path, card: ModelCard, data: Path, drawn: Faces
) -> None:
    member = {"architecture": "course-dnn", "arguments": {"widths": [8]}, "temperature": 1.0}
    torch.manual_seed(0)
    model = build_model("ensemble", mean=128.0, std=64.0, members=[member, member]).eval()
    write_graph(model, replace(card, architecture="ensemble"), tmp_path / "model.onnx")
    nodes = list(onnx.load(tmp_path / "model.onnx").graph.node)
    backwards = [(node, node.output, node.input) for node in reversed(nodes)]
    forwards = [(node, node.input, node.output) for node in nodes]
    dense = {node.name: node for node in nodes if node.op_type in ("Gemm", "MatMul")}
    sizes = {tensor.name: tensor.dims for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    last = module._first_weighted_layers(backwards)
    first = module._first_weighted_layers(forwards)
    assert len(dense) == 4
    assert all(7 in sizes[dense[name].input[1]] for name in last)
    assert all(2304 in sizes[dense[name].input[1]] for name in first)
    assert (len(last), len(first)) == (2, 2)


def operators(path: Any, tmp_path: Path) -> Any:
    """Return the types of the operators that ONNX Runtime makes of a graph when it loads it."""
    options = load_runtime().SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    load_runtime().InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]


def make(model: Any, card: Any, faces: Any, folder: Any, **settings: Any) -> Any:
    """Quantize a network by faces that also choose; return the int8 graph."""
    write_graph(model.eval(), card, folder / "model.onnx")
    calibration = CalibrationData(faces, replace(faces, labels=None))
    quantize(folder / "model.onnx", folder / "model.int8.onnx", calibration, card, **settings)
    return folder / "model.int8.onnx"


def test_a_dense_layer_is_quantized_as_computed_by_hand(
    tmp_path: Path, card: ModelCard, random_images: NDArray[Any], one_candidate: None
) -> None:
    """Jacob et al. 2018, eq. 3 to 9: bytes times bytes, summed in integers, scaled and rounded to bytes."""
    torch.manual_seed(0)
    model = build_model("course-dnn", mean=120.0, std=60.0, widths=(5,), dropout=0.0)
    model.classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2304, 5), torch.nn.Linear(5, 7))
    path = make(model, card, Faces(random_images, np.arange(9)), tmp_path)

    def quantized(values: Any, scale: Any, zero: Any) -> Any:
        return np.clip(np.round(values / scale) + zero, 0, 255)

    def scale_and_zero(values: Any) -> Any:
        low, high = min(values.min(), 0), max(values.max(), 0)
        scale = (high - low) / 255
        return scale, np.round(-low / scale)

    pixels = (random_images.reshape(9, -1).astype(np.float64) - 120) / 60
    weight, bias = (tensor.detach().double().numpy() for tensor in model.classifier[1].parameters())
    in_scale, in_zero = scale_and_zero(pixels)
    out_scale, out_zero = scale_and_zero(pixels @ weight.T + bias)
    weight_scale = np.abs(weight).max(axis=1) / WEIGHT_LIMIT
    weight_bytes = np.round(weight / weight_scale[:, None])
    bias_integers = np.round(bias / (in_scale * weight_scale))
    sums = (quantized(pixels, in_scale, in_zero) - in_zero) @ weight_bytes.T + bias_integers
    hidden = (quantized(sums * in_scale * weight_scale, out_scale, out_zero) - out_zero) * out_scale
    last_weight, last_bias = (tensor.detach().double().numpy() for tensor in model.classifier[2].parameters())
    expected = hidden @ last_weight.T + last_bias  # the last layer is not quantized

    found = Scorer(path, "cpu").run(random_images)[0]
    # a sum on the edge between two bytes may fall to either side
    step = out_scale * np.abs(last_weight).sum(axis=1)
    assert (np.abs(found - expected) <= 1.01 * step).all()
    assert np.mean((np.abs(found - expected) < 0.01 * step).all(axis=1)) > 0.5


def test_logits_are_no_bytes(tmp_path: Path, card: ModelCard, drawn: Faces, one_candidate: None) -> None:
    torch.manual_seed(0)
    path = make(build_model("compact", mean=120.0, std=60.0), card, drawn.take(slice(150)), tmp_path)
    assert len(np.unique(Scorer(path, "cpu").run(drawn.images[:150])[0])) > 2 * 256


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compact", {"widths": ((4,), (4,))}),
        ("residual-small", {"widths": (8, 8), "blocks": (1, 1), "stem_kernel": 3}),
        ("course-cnn", {"widths": (4, 4, 4), "hidden": 8, "batch_norm": True}),
    ],
)
def test_every_convolution_runs_in_int8_and_batch_norm_folds(
    tmp_path: Path, card: ModelCard, drawn: Faces, one_candidate: None, name: str, arguments: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = build_model(name, mean=120.0, std=60.0, **arguments)
    path = make(model, card, drawn.take(slice(16)), tmp_path)
    run = operators(path, tmp_path)
    assert "QLinearConv" in run
    assert not {"Conv", "FusedConv", "BatchNormalization"} & set(run)
    assert sum(kind in ("Gemm", "MatMul") for kind in run) == 1  # the last layer, in float32
    assert "Softmax" in run
    assert run.count("Div") == 1  # standardization, in float32


@pytest.mark.parametrize(
    ("equal", "float_layers", "expected"),
    [
        # nothing to lose: the fewest float layers, then the closest, then the first
        (["1111", "1111", "1111"], [1, 0, 0], 1),
        # 3 of 9 faces differ, noise 1.7 faces: one face less is as good
        (["111111110", "111111001"], [2, 0], 1),
        # among as good ones of the same speed the closest
        (["111111111", "011111111", "111111101"], [2, 1, 1], 1),
        (["111111100", "111111110", "111111111"], [0, 0, 1], 1),
        # 9 faces worse with noise 3: the float layers are worth it
        (["1" * 9 + "1" * 20, "0" * 9 + "1" * 20], [2, 0], 0),
    ],
)
def test_the_fastest_is_chosen_of_those_as_close_to_float32_as_the_closest(
    equal: list[str], float_layers: list[int], expected: int
) -> None:
    table = np.array([[face == "1" for face in row] for row in equal])
    assert choose(table, float_layers, [True] * len(table)) == expected


@pytest.mark.parametrize(("within", "expected"), [([True, True], 1), ([True, False], 0), ([False, False], 1)])
def test_what_loses_too_much_accuracy_is_passed_over_where_anything_does_not(within: list[bool], expected: int) -> None:
    table = np.array([[True] * 8 + [False] * 2, [True] * 8 + [False] * 2])
    assert choose(table, [1, 0], within) == expected


def test_the_closest_that_loses_too_much_sets_no_standard() -> None:
    table = np.array([[True] * 40, [False] * 20 + [True] * 20, [False] * 21 + [True] * 19])
    assert choose(table, [0, 2, 1], [False, True, True]) == 2


def test_no_luck_with_labels_chooses(
    tmp_path: Path, card: ModelCard, drawn: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels by which a worse graph has more right choose nothing: what agrees most with float32 is taken."""
    monkeypatch.setitem(METHODS, "Percentile", {"percentile": 60.0, "num_bins": 2048})
    monkeypatch.setattr(module, "METHODS", {"Percentile": {}})
    monkeypatch.setattr(module, "FLOAT_LAYERS", {"last": 1})
    faces = drawn.take(slice(0, 60))
    torch.manual_seed(0)
    model = build_model("course-dnn", mean=120.0, std=60.0, widths=(16,)).eval()
    with torch.no_grad():  # so that every class is predicted of some faces
        logits = model(torch.from_numpy(faces.images).unsqueeze(1).float())
        model.classifier[-1].bias -= logits.median(dim=0).values
    rough = make(model, card, faces, tmp_path)
    monkeypatch.setattr(module, "METHODS", {"MinMax": {}, "Percentile": {}})
    flattering = replace(faces, labels=Scorer(rough, "cpu").run(faces.images)[0].argmax(axis=1))
    flattering = replace(flattering, splits=np.repeat("PublicTest", len(faces)))
    data = CalibrationData(faces, flattering)
    made = quantize(tmp_path / "model.onnx", tmp_path / "model.int8.onnx", data, card, tolerance=100)
    by_method = {candidate.method: candidate.comparison for candidate in made.candidates}
    assert by_method["Percentile"].accuracy == 1.0
    assert by_method["MinMax"].agreement.equal_predictions > by_method["Percentile"].agreement.equal_predictions
    assert made.chosen.method == "MinMax"


def test_the_record_is_what_the_two_graphs_do(exported: Path, drawn: Faces) -> None:
    record = json.loads((exported / "parity.json").read_text())["int8"]
    faces = drawn.of_split("PublicTest")
    floats, ints = (Scorer(exported, "cpu", name).run(faces.images)[0] for name in ("fp32", "int8"))
    agreement = record["chosen"]["agreement"]
    assert (agreement["n"], agreement["source"], agreement["split"]) == (20, "drawn.csv", "PublicTest")
    assert agreement["provider"] == "CPUExecutionProvider"
    assert agreement["accuracy"] == np.mean(ints.argmax(1) == faces.labels)
    assert agreement["fp32_accuracy"] == np.mean(floats.argmax(1) == faces.labels)
    assert agreement["equal_predictions"] == np.mean(ints.argmax(1) == floats.argmax(1))
    assert agreement["max_absolute_difference"] == pytest.approx(np.abs(ints - floats).max())
    assert record["chosen"] in record["candidates"]
    assert len(record["candidates"]) == 4
    assert record["calibration_source"] == "drawn.csv"
    assert record["calibration_n"] == 80
    assert record["chosen_by"] == "of 4 candidates by predictions equal to float32 on 20 PublicTest faces"


def test_the_card_of_the_int8_graph_states_its_own_accuracy(exported: Path) -> None:
    graph = onnx.load(exported / "model.int8.onnx")
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    card = ModelCard.from_metadata(metadata, "model.int8.onnx")  # which refuses any other key
    beside = ModelCard.load_json(exported / "card.json")
    agreement = json.loads((exported / "parity.json").read_text())["int8"]["chosen"]["agreement"]
    assert (card.precision, beside.precision) == ("int8", "fp32")
    assert card.weights_sha256 == beside.weights_sha256
    score = card.scores["PublicTest"]
    assert score["wilson_95"][0] <= score["accuracy"] <= score["wilson_95"][1]
    for key in ("n", "accuracy", "fp32_accuracy", "equal_predictions", "max_absolute_difference"):
        assert score[key] == agreement[key]
    assert card.selection.startswith(beside.selection + "; int8: ")
    assert "candidates by predictions equal to float32 on 20 PublicTest faces" in card.selection


def test_the_readme_of_the_folder_tells_both_accuracies(exported: Path) -> None:
    agreement = json.loads((exported / "parity.json").read_text())["int8"]["chosen"]["agreement"]
    text = (exported / "README.md").read_text()
    assert f"accuracy {agreement['accuracy']:.2%}, float32 {agreement['fp32_accuracy']:.2%}" in text


def test_the_weights_of_the_int8_graph_are_bytes(exported: Path) -> None:
    types = {tensor.name: tensor.data_type for tensor in onnx.load(exported / "model.int8.onnx").graph.initializer}
    quantized = [name for name in types if name.endswith("weight_quantized")]
    kept = json.loads((exported / "parity.json").read_text())["int8"]["chosen"]["float_layers"]
    assert len(quantized) == 10 - FLOAT_LAYERS[kept]  # of seven convolutions and three dense layers
    assert {types[name] for name in quantized} == {onnx.TensorProto.INT8}


def test_the_largest_products_fit_into_16_bits_two_by_two(exported: Path) -> None:
    """Processors without VNNI add them so; every channel has a weight at the limit, the one that gives its scale."""
    assert 2 * 255 * WEIGHT_LIMIT < 2**15
    for tensor in onnx.load(exported / "model.int8.onnx").graph.initializer:
        if tensor.name.endswith("weight_quantized"):
            weights = np.abs(onnx.numpy_helper.to_array(tensor).astype(int))
            assert weights.max() == WEIGHT_LIMIT


def test_the_largest_sums_are_not_cut(tmp_path: Path, card: ModelCard, drawn: Faces, one_candidate: None) -> None:
    """Equal weights, all at the limit, on white faces: the sums that overflow first where any does."""
    torch.manual_seed(0)
    model = build_model("course-dnn", mean=0.0, std=255.0, widths=(8,), dropout=0.0)
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    torch.nn.init.ones_(first.weight)
    white = replace(drawn.take(slice(40)), images=np.full((40, 48, 48), 255, np.uint8))
    path = make(model, card, white, tmp_path)
    found, expected = (Scorer(file, "cpu").run(white.images)[0] for file in (path, path.with_name("model.onnx")))
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_logits_hardly_depend_on_the_batch_size(exported: Path, drawn: Faces, batch_size: int) -> None:
    """Integer sums are exact; what is left is the rounding of float32 before them, rarely by one of 255 levels."""
    scorer = Scorer(exported, "cpu", "int8")
    expected = scorer.run(drawn.images, batch_size=128)[0]
    found = scorer.run(drawn.images, batch_size=batch_size)[0]
    level = (expected.max() - expected.min()) / 255
    np.testing.assert_allclose(found, expected, atol=4 * level, rtol=0)
    assert np.mean(found == expected) > 0.95


def test_without_labels_held_out_training_faces_choose_and_the_card_says_so(
    tmp_path: Path, run: Path, card: ModelCard, drawn: Faces, one_candidate: None
) -> None:
    model, _ = load_model_and_card(run)
    path = make(model, card, drawn.take(slice(0, 40)), tmp_path, tolerance=0)
    stated = ModelCard.from_metadata(Scorer(path, "cpu").card.to_metadata(), "int8")
    assert stated.scores == {}
    assert "by predictions equal to float32 on 40 held-out Training faces, PublicTest has no labels" in stated.selection


def undecided(card: Any, folder: Any, images: Any) -> Any:
    """Make a graph that decides by less of its hidden units than 8 bits can tell, and faces labelled as it says."""
    torch.manual_seed(0)
    model = build_model("course-dnn", mean=120.0, std=60.0, widths=(16,)).eval()
    hidden, layer = model.classifier[1], model.classifier[-1]
    with torch.no_grad():
        hidden.weight *= 1e-3
        hidden.bias[:] = 10
        layer.weight[1:] = 0
        layer.weight[0] = 1
        layer.bias[:] = torch.tensor([0.0, 0.0, *[-10.0] * 5])
        layer.bias[0] -= model(torch.from_numpy(images).unsqueeze(1).float())[:, 0].median()
    write_graph(model, card, folder / "model.onnx")
    labels = Scorer(folder / "model.onnx", "cpu").run(images)[0].argmax(axis=1)
    rows = np.arange(len(images))
    return CalibrationData(
        Faces(images, rows), Faces(images, rows, labels=labels, splits=np.repeat("PublicTest", len(rows)))
    )


def test_an_int8_graph_that_loses_accuracy_is_refused(
    tmp_path: Path, card: ModelCard, random_images: NDArray[Any], one_candidate: None
) -> None:
    data = undecided(card, tmp_path, random_images)
    output = tmp_path / "model.int8.onnx"
    message = r"model\.int8\.onnx: loses \d+\.\d\d points of accuracy \(\d+\.\d\d% of 9 PublicTest faces, float32 "
    message += r"100\.00%\), more than the 0\.3 allowed; `int8_tolerance` sets the limit$"
    with pytest.raises(ModelError, match=message):
        quantize(tmp_path / "model.onnx", output, data, card)
    assert not output.exists()
    quantize(tmp_path / "model.onnx", output, data, card, tolerance=100)
    assert Scorer(output, "cpu").card.precision == "int8"


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_a_tolerance_below_zero_or_no_number_is_refused(
    tmp_path: Path, card: ModelCard, drawn: Faces, tolerance: float
) -> None:
    data = CalibrationData(drawn, drawn)
    with pytest.raises(ConfigError, match=r"int8_tolerance: expected at least 0 points, found (-1|nan)$"):
        quantize(tmp_path / "model.onnx", tmp_path / "out.onnx", data, card, tolerance=tolerance)


def test_int8_asks_for_the_data_that_calibrates_it(tmp_path: Path, run: Path) -> None:
    with pytest.raises(ConfigError, match="int8: requires `calibration`, the faces to calibrate on"):
        export(run, tmp_path / "exported", int8=True)
    assert not (tmp_path / "exported").exists()


def test_an_exports_folder_gains_int8_by_an_export_onto_itself(
    tmp_path: Path, run: Path, data: Path, one_candidate: None
) -> None:
    folder = tmp_path / "small"
    export(run, folder)
    weights = load_model(folder).state_dict()
    parity = export(folder, folder, int8=True, calibration=data, int8_tolerance=100, force=True)
    assert parity.source == "drawn.csv"  # an exports folder has no sample of its own
    assert parity.n == 20
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_model(folder).state_dict().items())
    assert Scorer(folder, "cpu", "int8").card.weights_sha256 == Scorer(folder, "cpu", "fp32").card.weights_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("fp16", [False, True])
def test_an_export_onto_itself_does_not_lose_a_graph(
    tmp_path: Path, run: Path, data: Path, one_candidate: None, fp16: bool
) -> None:
    folder = tmp_path / "small"
    export(run, folder, int8=True, calibration=data, int8_tolerance=100)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    message = r"small: model\.int8\.onnx would be lost; add `int8=True`, or delete the graph first$"
    with pytest.raises(ConfigError, match=message):
        export(folder, folder, calibration=data, fp16=fp16, force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failure_leaves_the_folder_as_it_was(
    tmp_path: Path, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch, one_candidate: None
) -> None:
    folder = tmp_path / "small"
    export(run, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(module, "_require_accuracy", fail := _Fail())
    with pytest.raises(ModelError, match=r"^too inaccurate$"):
        export(folder, folder, int8=True, calibration=data, force=True)
    assert fail.called
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


class _Fail:
    called = False

    def __call__(self, *_: Any) -> None:
        self.called = True
        raise ModelError("too inaccurate")


def test_data_without_training_rows_leave_nothing(tmp_path: Path, run: Path, drawn: Faces) -> None:
    write_csv(drawn.of_split("PublicTest"), tmp_path / "public.csv")
    with pytest.raises(DataError, match=r"public\.csv: has no row of split 'Training'; found PublicTest$"):
        export(run, tmp_path / "exports" / "small", int8=True, calibration=tmp_path / "public.csv")
    assert not (tmp_path / "exports").exists()

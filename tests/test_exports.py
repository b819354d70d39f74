"""What ships in `exports/` keeps its promises, on drawn faces everywhere and on FER2013 where it is present."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fer_core import EXPRESSIONS, ModelCard, read_faces
from fer_core.exports_folder import GRAPH_FILES
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import Scorer, score
from fer_train.exporting.parity import count_held_weights
from fer_train.exporting.quantize import WEIGHT_LIMIT
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model, load_model_and_card, weights_sha256

SHIPPED = ("best", "compact", "course-cnn", "course-dnn")
EXPORTS = [Path(__file__).parent.parent / "exports" / name for name in SHIPPED]
FER2013 = os.environ.get("FER2013_DIR")

pytestmark = pytest.mark.parametrize("folder", EXPORTS, ids=lambda folder: folder.name)


def test_the_card_is_the_same_in_graph_weights_and_json(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx")
    in_graph = ModelCard.from_metadata({entry.key: entry.value for entry in graph.metadata_props}, "model.onnx")
    model, in_weights = load_model_and_card(folder)
    assert in_graph == in_weights == ModelCard.load_json(folder / "card.json")
    assert in_graph.weights_sha256 == weights_sha256(model.state_dict())
    assert in_graph.labels == EXPRESSIONS


def test_the_weights_stand_in_the_graph(folder: Path) -> None:
    held, total = count_held_weights(folder / "model.onnx", load_model(folder).state_dict())
    assert held == total > 0


def test_graph_and_original_agree_on_drawn_faces(folder: Path) -> None:
    images = draw_faces(64, seed=11).images
    expected = predict_logits(load_model(folder), images)
    found = Scorer(folder, "cpu", "fp32").run(images)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


def test_the_card_tells_where_its_score_comes_from(folder: Path) -> None:
    card = ModelCard.load_json(folder / "card.json")
    score = card.scores["PublicTest"]
    assert score["n"] == 3589
    assert score["wilson_95"][0] < score["accuracy"] < score["wilson_95"][1]
    assert card.training_data["rows"] == {"Training": 28709, "PublicTest": 3589}
    assert "+changes" not in card.git_commit
    parity = json.loads((folder / "parity.json").read_text())
    assert parity["changed_predictions"] == 0
    assert parity["max_absolute_difference"] <= 1e-4


def test_int8_weights_leave_room_for_sums_of_16_bits(folder: Path) -> None:
    graph = onnx.load(folder / "model.int8.onnx").graph
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name.endswith("_quantized")]
    limits = [int(np.abs(values.astype(int)).max()) for values in weights if values.dtype == np.int8]
    assert limits
    assert max(limits) == WEIGHT_LIMIT


@pytest.mark.fer2013
@pytest.mark.skipif(FER2013 is None, reason="FER2013_DIR does not name a folder with the files of FER2013")
def test_every_prediction_for_the_test_file_is_that_of_the_original(folder: Any, tmp_path: Path) -> None:
    data = Path(FER2013) / "test.csv"
    summary = score(data, folder, tmp_path / "predictions.csv", precision="fp32")
    predicted = np.loadtxt(tmp_path / "predictions.csv", delimiter=",", skiprows=1, dtype=np.int64)
    assert summary.rows == len(predicted) == 7178
    np.testing.assert_array_equal(predicted[:, 0], np.arange(7178))
    expected = predict_logits(load_model(folder), read_faces(data).images)
    np.testing.assert_array_equal(predicted[:, 1], expected.argmax(1))


@pytest.mark.fer2013
@pytest.mark.skipif(FER2013 is None, reason="FER2013_DIR does not name a folder with the files of FER2013")
def test_the_score_of_every_card_is_reached(folder: Any) -> None:
    faces = read_faces(Path(FER2013) / "fer2013.csv", "PublicTest")
    for precision in (name for name, file in GRAPH_FILES.items() if (folder / file).is_file()):
        scorer = Scorer(folder, "cpu", precision)
        accuracy = float(np.mean(scorer.run(faces.images)[1].argmax(1) == faces.labels))
        assert accuracy == pytest.approx(scorer.card.scores["PublicTest"]["accuracy"], abs=0.001)

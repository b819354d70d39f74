"""Probabilities that are shown are those of the scorer, whose logits are divided by the card's temperature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import CNN, make_card, make_network

from fer_core import Faces
from fer_explain.attribution import METHODS, AttributionConfig
from fer_explain.attribution.map_file import attribute
from fer_explain.report.face_maps import explain_faces
from fer_explain.report.predictions import predict_probabilities
from fer_explain.verification import load_verified
from fer_infer import Scorer
from fer_train.exporting.graph import write_graph
from fer_train.runs.checkpoint import save_weights

FITTED = {"value": 0.25, "fitted_on": "PublicTest", "n": 5}
FIGURES = dict.fromkeys(("nll_before", "nll_after", "ece_before", "ece_after"), 0.5)


@pytest.fixture(params=["exports", "run"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An exports folder, and a run without a graph, of one network and temperature."""
    network = make_network("course-cnn", CNN)
    card = replace(make_card(network, "course-cnn", CNN), temperature=FITTED | FIGURES)
    write_graph(network, card, tmp_path / "model.onnx")
    if request.param == "exports":
        save_weights(tmp_path / "weights.safetensors", network.state_dict(), card)
        return tmp_path
    (tmp_path / "run").mkdir()
    save_weights(tmp_path / "run" / "ema.safetensors", network.state_dict(), card)
    return tmp_path / "run"


def test_shown_probabilities_are_those_of_the_scorer(folder: Path, faces: Faces, tmp_path: Path) -> None:
    expected = Scorer(tmp_path / "model.onnx", "cpu").run(faces.images)[1]
    proven = load_verified(folder)
    assert proven.temperature == 0.25
    np.testing.assert_allclose(predict_probabilities(proven, faces.images), expected, atol=1e-5)
    explained = explain_faces(
        proven, faces.take(slice(3)), predict_probabilities(proven, faces.images[:3]), (METHODS["saliency"],)
    )
    np.testing.assert_allclose(explained.probabilities, expected[:3], atol=1e-5)


def test_maps_of_probabilities_are_at_the_temperature_of_the_card(folder: Path, data: Path, tmp_path: Path) -> None:
    attribute(data, folder, "saliency", tmp_path / "maps.npz", config=AttributionConfig(of="probabilities"), rows=(2,))
    with np.load(tmp_path / "maps.npz") as stored:
        assert '"temperature": 0.25' in str(stored["settings"])
    attribute(data, folder, "saliency", tmp_path / "logits.npz", rows=(2,))
    with np.load(tmp_path / "logits.npz") as stored:
        assert "temperature" not in str(stored["settings"])

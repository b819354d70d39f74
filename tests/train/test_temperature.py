"""The temperature is the best of a fine grid, and what is exported scores by it."""

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

from fer_core import DataError, ModelCard, ModelError
from fer_core.faces import Faces
from fer_core.io.csv.writer import write_csv
from fer_infer import Scorer
from fer_train.exporting import quantize
from fer_train.exporting.export import export
from fer_train.exporting.graph import write_graph
from fer_train.exporting.parity import check_parity
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import load_model, load_model_and_card
from fer_train.temperature import SEARCHED, fit_temperature, temperature_record


def draw(truth: Any, n: int = 2000, seed: int = 0) -> Any:
    """Draw logits that are `truth` times too large for how often they are right."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 1.5, (n, 7))
    labels = np.array([rng.choice(7, p=row) for row in softmax(honest)])
    return (honest * truth).astype(np.float32), labels


def likelihood(logits: Any, labels: Any, temperature: Any) -> Any:
    """Mean of -ln p of the label, face by face."""
    total = 0.0
    for row, label in zip(logits.astype(np.float64) / temperature, labels, strict=True):
        total -= row[label] - row.max() - np.log(np.exp(row - row.max()).sum())
    return total / len(labels)


@pytest.mark.parametrize("truth", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_is_the_best_of_a_fine_grid(truth: float) -> None:
    logits, labels = draw(truth, n=300)
    found = fit_temperature(logits, labels)
    grid = np.geomspace(*SEARCHED, 400)
    best = grid[np.argmin([likelihood(logits, labels, each) for each in grid])]
    step = grid[1] / grid[0]
    assert best / step < found < best * step
    for nearby in (found * 0.999, found * 1.001):
        assert likelihood(logits, labels, found) < likelihood(logits, labels, nearby)


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_the_temperature_by_which_logits_were_drawn_is_found(truth: float) -> None:
    assert fit_temperature(*draw(truth, n=20_000)) == pytest.approx(truth, rel=0.03)


def test_the_search_ends_where_no_temperature_is_best() -> None:
    right = np.eye(7, dtype=np.float32)
    assert fit_temperature(right, np.arange(7)) == pytest.approx(SEARCHED[0])
    assert fit_temperature(right, (np.arange(7) + 1) % 7) == pytest.approx(SEARCHED[1])


def test_the_record_tells_what_was_gained() -> None:
    logits, labels = draw(3.0)
    record = temperature_record(logits, labels, "PublicTest")
    assert record["value"] == fit_temperature(logits, labels)
    assert (record["fitted_on"], record["n"]) == ("PublicTest", 2000)
    assert record["nll_before"] == pytest.approx(likelihood(logits, labels, 1.0))
    assert record["nll_after"] == pytest.approx(likelihood(logits, labels, record["value"]))
    assert record["ece_after"] < record["ece_before"] / 3


def test_softmax_at_a_temperature_is_the_softmax_of_divided_logits() -> None:
    logits, _ = draw(2.0, n=50)
    expected = torch.softmax(torch.from_numpy(logits) / 2.5, dim=1)
    found = softmax(logits, 2.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Exports


@pytest.fixture(scope="module")
def calibrated(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exports folder in all three precisions, its temperature fitted."""
    folder = tmp_path_factory.mktemp("exports") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "METHODS", {"MinMax": {}})
        patch.setattr(quantize, "FLOAT_LAYERS", {"last": 1})
        export(run, folder, calibration=data, int8=True, int8_tolerance=100, fp16=True)
    return folder


def test_the_temperature_is_fitted_on_public_test_rows(calibrated: Path, run: Path, drawn: Faces) -> None:
    public = drawn.of_split("PublicTest")
    expected = temperature_record(predict_logits(load_model(run), public.images), public.labels, "PublicTest")
    card = ModelCard.load_json(calibrated / "card.json")
    assert card.temperature == pytest.approx(expected)
    assert card.temperature["value"] != 1
    assert card.temperature["n"] == 20
    assert card == load_model_and_card(calibrated)[1]
    assert f"temperature {card.temperature['value']:.4f}, fitted on 20" in (calibrated / "README.md").read_text()


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16"])
def test_every_graph_divides_its_logits_by_the_temperature(calibrated: Path, drawn: Faces, precision: str) -> None:
    scorer = Scorer(calibrated, "cpu", precision)
    logits, probabilities = scorer.run(drawn.images)
    temperature = ModelCard.load_json(calibrated / "card.json").temperature["value"]
    assert scorer.card.temperature["value"] == temperature
    np.testing.assert_allclose(probabilities, softmax(logits, temperature), atol=1e-6)
    assert np.abs(probabilities - softmax(logits)).max() > 1e-3


def test_logits_stay_raw(calibrated: Path, run: Path, drawn: Faces) -> None:
    expected = predict_logits(load_model(run), drawn.images)
    np.testing.assert_allclose(Scorer(calibrated, "cpu", "fp32").run(drawn.images)[0], expected, atol=1e-4)


def test_parity_compares_probabilities(calibrated: Path, drawn: Faces) -> None:
    record = json.loads((calibrated / "parity.json").read_text())
    assert 0 <= record["max_probability_difference"] < 1e-5
    model, card = load_model_and_card(calibrated)
    hotter = replace(card, temperature=card.temperature | {"value": 2 * card.temperature["value"]})
    expected = r"max \|d logit\| \S+ \(limit 0\.0001\), max \|d probability\| \S+ \(limit \S+\), 0 of 200 predictions"
    logits = predict_logits(model, drawn.images)
    with pytest.raises(ModelError, match=expected):
        check_parity(model.state_dict(), logits, hotter, calibrated / "model.onnx", drawn)


def test_a_temperature_without_fitting_is_1_and_says_so(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "plain")
    assert ModelCard.load_json(tmp_path / "plain" / "card.json").temperature == {"value": 1.0, "fitted_on": "none"}
    assert "temperature 1, not fitted" in (tmp_path / "plain" / "README.md").read_text()


def test_a_temperature_stays_where_nothing_is_given_to_fit_it_on(calibrated: Path, tmp_path: Path, data: Path) -> None:
    export(calibrated, tmp_path / "again", data=data)
    first, second = (ModelCard.load_json(folder / "card.json") for folder in (calibrated, tmp_path / "again"))
    assert first.temperature == second.temperature


def test_public_test_rows_alone_fit_a_temperature(run: Path, drawn: Faces, tmp_path: Path) -> None:
    write_csv(drawn.of_split("PublicTest"), tmp_path / "public.csv")
    export(run, tmp_path / "small", calibration=tmp_path / "public.csv")
    assert ModelCard.load_json(tmp_path / "small" / "card.json").temperature["n"] == 20


def test_a_file_without_labelled_public_test_rows_fits_nothing(run: Path, drawn: Faces, tmp_path: Path) -> None:
    write_csv(drawn.of_split("Training"), tmp_path / "train.csv")
    message = r"train\.csv: expected labeled PublicTest rows to fit the temperature on, found none$"
    with pytest.raises(DataError, match=message):
        export(run, tmp_path / "exports" / "small", calibration=tmp_path / "train.csv")
    assert not (tmp_path / "exports" / "small").exists()


def test_the_temperature_is_no_weight_and_keeps_the_graph_as_small(
    run: Path, random_images: NDArray[Any], tmp_path: Path
) -> None:
    model, card = load_model_and_card(run)
    write_graph(model, card, tmp_path / "plain.onnx")
    fitted = card.temperature | {"value": 2.0, "fitted_on": "PublicTest", "n": 5}
    figures = dict.fromkeys(("nll_before", "nll_after", "ece_before", "ece_after"), 0.5)
    write_graph(model, replace(card, temperature=fitted | figures), tmp_path / "hot.onnx")
    plain, hot = (onnx.load(tmp_path / name).graph for name in ("plain.onnx", "hot.onnx"))
    assert len(hot.node) - len(plain.node) in (0, 1)
    np.testing.assert_allclose(
        Scorer(tmp_path / "hot.onnx", "cpu").run(random_images)[1],
        softmax(predict_logits(model, random_images), 2.0),
        atol=1e-6,
    )

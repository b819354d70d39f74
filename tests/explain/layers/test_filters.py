import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny_models import CNN, make_network
from torch import nn

from fer_core import ConfigError, Faces
from fer_core.io.reader import first_faces
from fer_explain.cli import main
from fer_explain.config import FilterConfig
from fer_explain.layers.activations import measure_activations
from fer_explain.layers.filters import draw_filters, duplicates, examine_filters, states_of
from fer_explain.layers.patches import BACKGROUND, patch_mosaics
from fer_explain.layers.receptive_field import receptive_field
from fer_explain.layers.structure import find_layer, run_to
from fer_explain.layers.weights import weight_cosines, weight_sheet, weights_of
from fer_explain.maximization.objectives import channel_objectives, direction_objective
from fer_explain.maximization.on_faces import maxima_on_faces

LAYERS = ["features.3", "features.9", "classifier.2", "classifier.7"]


def outputs_of(model: nn.Module, layer: str, faces: Faces) -> np.ndarray:
    """Return the outputs of a layer, float64 (N, C, height, width), a face at a time."""
    parts = []
    with torch.no_grad():
        for image in faces.images:
            output = run_to(model, find_layer(model, layer), torch.from_numpy(image).float()[None, None])[1]
            parts.append(output[0].double().numpy())
    return np.stack(parts).reshape(len(faces), *parts[0].shape, *[1] * (3 - parts[0].ndim))


def plant(cnn: nn.Module) -> None:
    """Make channel 1 of features.3 dead and channel 3 twice its channel 0."""
    convolution = cnn.get_submodule("features.2")
    convolution.bias.data[1] = -1e6
    convolution.weight.data[3] = 2 * convolution.weight.data[0]
    convolution.bias.data[3] = 2 * convolution.bias.data[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_top_rows_and_positions_are_those_of_brute_force(cnn: nn.Module, faces: Faces, layer: str) -> None:
    outputs = outputs_of(cnn, layer, faces)
    found = measure_activations(cnn, find_layer(cnn, layer), faces, top=4)
    assert found.n == len(faces)
    for channel in range(outputs.shape[1]):
        peaks = [(-outputs[i, channel].max(), i) for i in range(len(faces))]
        expected = sorted(peaks)[:4]
        values = [-peak for peak, _ in expected]
        np.testing.assert_allclose(found.top_values[channel], values, rtol=1e-4, atol=1e-5)
        for value, row, (y, x) in zip(
            found.top_values[channel], found.top_rows[channel], found.top_positions[channel], strict=True
        ):
            seen = outputs[list(faces.rows).index(row), channel]
            assert seen[y, x] == pytest.approx(value, rel=1e-4, abs=1e-5)
            assert seen.max() == pytest.approx(value, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_active_fractions_and_correlations_are_those_of_numpy(cnn: nn.Module, faces: Faces, layer: str) -> None:
    outputs = outputs_of(cnn, layer, faces)
    found = measure_activations(cnn, find_layer(cnn, layer), faces)
    np.testing.assert_allclose(found.active, (outputs > 0).mean((0, 2, 3)), atol=1e-3)
    series = outputs.transpose(1, 0, 2, 3).reshape(outputs.shape[1], -1)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(np.corrcoef(series))
    np.testing.assert_allclose(found.correlation, expected, atol=2e-3)


def test_faces_do_not_change_with_the_batch_they_come_in(
    cnn: nn.Module, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = find_layer(cnn, "features.3")
    whole = measure_activations(cnn, layer, faces)
    monkeypatch.setattr("fer_explain.layers.activations.BATCH_SIZE", 4)
    parts = measure_activations(cnn, layer, faces)
    np.testing.assert_array_equal(parts.top_rows, whole.top_rows)
    np.testing.assert_allclose(parts.correlation, whole.correlation, atol=1e-6)


def test_the_maximum_on_faces_is_that_of_brute_force(cnn: nn.Module, faces: Faces) -> None:
    layer = find_layer(cnn, "features.9")
    outputs = outputs_of(cnn, layer.name, faces)
    vector = np.linspace(-1, 2, layer.shape[0])
    along = maxima_on_faces(cnn, direction_objective(layer, vector), faces)
    means = np.einsum("c,ncyx->nyx", vector / np.linalg.norm(vector), outputs).mean((1, 2))
    assert (along.rows[0], along.n) == (faces.rows[means.argmax()], len(faces))
    assert along.values[0] == pytest.approx(means.max(), rel=1e-4)
    neuron = maxima_on_faces(cnn, channel_objectives(layer, [2], position=(3, 4)), faces)
    assert neuron.rows[0] == faces.rows[outputs[:, 2, 3, 4].argmax()]


def test_planted_dead_and_duplicate_filters_are_found(cnn: nn.Module, faces: Faces) -> None:
    plant(cnn)
    activations = measure_activations(cnn, find_layer(cnn, "features.3"), faces)
    assert states_of(activations.active, 0.001) == ("live", "dead", "live", "live")
    assert [pair[:2] for pair in duplicates(activations.correlation, 0.99)] == [(0, 3)]
    weights = weights_of(cnn, find_layer(cnn, "features.2"))
    assert weights is not None
    ((low, high, cosine),) = duplicates(weight_cosines(weights), 0.99)
    assert (low, high, cosine) == (0, 3, pytest.approx(1))


def test_states_follow_the_threshold() -> None:
    assert states_of(np.array([0, 0.0009, 0.001, 1]), 0.001) == ("dead", "rare", "live", "live")


def test_duplicates_are_listed_once_and_the_most_alike_first() -> None:
    similarity = np.array([[1, 0.9, 0.2], [0.9, 1, 0.97], [0.2, 0.97, 1]])
    assert duplicates(similarity, 0.9) == ((1, 2, 0.97), (0, 1, 0.9))
    assert duplicates(similarity, 0.98) == ()


def test_cosines_are_those_of_a_loop_and_zero_without_weight() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    weights[2] = 0
    found = weight_cosines(weights)
    for a in range(4):
        for b in range(4):
            lengths = np.linalg.norm(weights[a]) * np.linalg.norm(weights[b])
            expected = 0 if 2 in (a, b) else (weights[a] * weights[b]).sum() / lengths
            assert found[a, b] == pytest.approx(expected, abs=1e-6)


def test_patches_are_cut_from_the_faces_at_the_position_of_the_maximum(cnn: nn.Module, faces: Faces) -> None:
    plant(cnn)
    layer = find_layer(cnn, "features.3")
    field, activations = receptive_field(cnn, layer), measure_activations(cnn, layer, faces, top=4)
    mosaics = patch_mosaics(faces, field, activations)
    assert mosaics.shape == (4, 31, 31, 3)  # two by two patches of 5x5 pixels, each three wide
    assert (mosaics[1] == BACKGROUND).all()  # the dead one
    assert (mosaics[:, 15] == BACKGROUND).all()
    padded = np.full((len(faces), 52, 52, 3), BACKGROUND, np.uint8)
    padded[:, 2:50, 2:50] = faces.images[..., None]
    for channel in (0, 2, 3):
        for i in range(4):
            y, x = activations.top_positions[channel, i]
            face = padded[list(faces.rows).index(activations.top_rows[channel, i])]
            down, right = i // 2 * 16, i % 2 * 16
            drawn = mosaics[channel, down : down + 15, right : right + 15].reshape(5, 3, 5, 3, 3)
            np.testing.assert_array_equal(
                drawn, np.broadcast_to(face[y : y + 5, None, x : x + 5, None], drawn.shape), err_msg=f"{channel}, {i}"
            )


def test_dense_weights_on_pixels_are_pictures(dnn: nn.Module, cnn: nn.Module) -> None:
    first = weights_of(dnn, find_layer(dnn, 0))
    assert first is not None
    assert first.shape == (40, 1, 48, 48)
    np.testing.assert_array_equal(first.reshape(40, -1), dnn.get_submodule("classifier.1").weight.detach())
    later = weights_of(dnn, find_layer(dnn, 2))
    assert later is not None
    assert later.shape == (16, 40)
    assert weights_of(cnn, find_layer(cnn, 1)) is None
    weight_sheet(first[:3], find_layer(dnn, 0), (0,)).canvas.draw()


def test_only_the_first_faces_are_read(data: Path, faces: Faces) -> None:
    found = first_faces(data, None, 5)
    np.testing.assert_array_equal(found.images, faces.images[:5])
    assert len(first_faces(data, None, 999)) == 21


def test_filters_writes_pictures_tables_and_numbers(exports: Path, data: Path, tmp_path: Path) -> None:
    report = draw_filters(data, exports, "0", tmp_path / "out", config=FilterConfig(top=4, limit=10))
    names = ["duplicates.csv", "filters.csv", "filters.npz", "patches.png", "weights.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (report.layer.name, str(report.field), report.faces) == ("features.0", "3x3 pixels", 10)
    with (tmp_path / "out" / "filters.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    numbers = np.load(tmp_path / "out" / "filters.npz")
    assert [int(line["channel"]) for line in table] == [0, 1, 2, 3]
    assert [line["state"] for line in table] == list(report.states)
    assert [int(line["row"]) for line in table] == numbers["top_rows"][:, 0].tolist()
    assert numbers["top_positions"].shape == (4, 4, 2)
    assert numbers["field_rows"].tolist()[:2] == [[0, 2], [0, 3]]
    assert json.loads(str(numbers["settings"]))["limit"] == 10
    again = tmp_path / "again"
    draw_filters(data, exports, 0, again, config=FilterConfig(top=4, limit=10))
    for name in names:
        assert (again / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_deeper_weights_are_drawn_for_the_input_channels_asked_for(exports: Path, data: Path, tmp_path: Path) -> None:
    config = FilterConfig(limit=3)
    draw_filters(data, exports, 2, tmp_path / "none", config=config)
    assert not (tmp_path / "none" / "weights.png").exists()
    draw_filters(data, exports, 2, tmp_path / "some", inputs=(1, 3), config=config)
    assert (tmp_path / "some" / "weights.png").exists()
    with pytest.raises(ConfigError, match=r"inputs: layer features\.2 has input channels 0\.\.3, found 4$"):
        draw_filters(data, exports, 2, tmp_path / "wrong", inputs=(0, 4), config=config)
    for layer in ("features.1", "classifier.4"):
        with pytest.raises(ConfigError, match=rf"inputs: layer {layer} \(\w+\) has no two-dimensional weights"):
            draw_filters(data, exports, layer, tmp_path / "wrong", inputs=(0,), config=config)
    assert not (tmp_path / "wrong").exists()


def test_a_dense_network_is_looked_at_through_whole_faces(run: Path, data: Path, tmp_path: Path) -> None:
    report = draw_filters(data, run, "classifier.2", tmp_path / "out", config=FilterConfig(top=1))
    assert str(report.field) == "the whole image"
    assert len(report.states) == 40


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"top": 0}, "top: expected at least 1, found 0"),
        ({"limit": 0}, "limit: expected at least 1, found 0"),
        ({"rare": 1.5}, "rare: expected 0 to 1, found 1.5"),
        ({"cosine": -0.1}, "cosine: expected 0 to 1, found -0.1"),
    ],
)
def test_settings_outside_their_range_are_named(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        FilterConfig(**settings)


def test_the_command_reads_one_split(exports: Path, data: Path, tmp_path: Path) -> None:
    arguments = [
        "filters",
        data,
        "--model",
        exports,
        "--layer",
        0,
        "--output",
        tmp_path / "out",
        "--split",
        "PublicTest",
    ]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert "has no Usage column; cannot select PublicTest rows" in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_found(exports: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["filters", data, "--model", exports, "--layer", 1, "--top", 2, "--output", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    where, summary, pairs = result.stdout.splitlines()
    assert where == f"{tmp_path / 'out'}: duplicates.csv, filters.csv, filters.npz, patches.png"
    assert summary.startswith("1: features.1 (ReLU, 4x48x48), receptive field 3x3 pixels, 21 faces: ")
    assert pairs.startswith("pairs of duplicate filters: 0 by weights, ")


def test_filters_are_judged_by_the_relu_that_their_output_goes_to(faces: Faces) -> None:
    """BatchNorm turns what a convolution gives into what its ReLU lets through, and the other way round."""
    network = make_network("course-cnn", {**CNN, "batch_norm": True})
    norm = network.get_submodule("features.4")
    norm.bias.data[0] = -1e6  # silent, whatever the convolution gives
    convolution = network.get_submodule("features.3")
    convolution.weight.data[1] = -convolution.weight.data[1].abs()  # never above zero
    norm.bias.data[1] = 10.0
    states = {
        name: examine_filters(network, find_layer(network, name), faces)[0].states[:2]
        for name in ("features.3", "features.5", "classifier.7")
    }
    assert states["features.3"] == states["features.5"] == ("dead", "live")
    assert states["classifier.7"] == ("", "")  # a logit below zero is not silent


def test_where_no_relu_follows_no_filter_is_called_dead(exports: Path, data: Path, tmp_path: Path) -> None:
    report = draw_filters(data, exports, "classifier.7", tmp_path / "out")
    assert set(report.states) == {""}
    with (tmp_path / "out" / "filters.csv").open(newline="") as file:
        assert {(line["state"], line["active_fraction"]) for line in csv.DictReader(file)} == {("", "")}

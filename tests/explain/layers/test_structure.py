from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fer_core import ConfigError, DataError, Faces
from fer_explain.cli import main
from fer_explain.layers.feature_maps import draw_feature_maps, feature_map_sheet, layer_output
from fer_explain.layers.receptive_field import receptive_field
from fer_explain.layers.structure import Layer, Layers, find_layer, list_layers
from fer_explain.plots import save_figure
from fer_train.models.course import CourseCNN


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_layers_are_listed_in_forward_order(cnn: nn.Module) -> None:
    layers = list_layers(cnn)
    assert [layer.index for layer in layers] == list(range(22))
    assert [(layer.name, layer.kind, layer.shape) for layer in layers[:5]] == [
        ("features.0", "Conv2d", (4, 48, 48)),
        ("features.1", "ReLU", (4, 48, 48)),
        ("features.2", "Conv2d", (4, 48, 48)),
        ("features.3", "ReLU", (4, 48, 48)),
        ("features.4", "MaxPool2d", (4, 24, 24)),
    ]
    assert (layers[-1].name, layers[-1].kind, layers[-1].shape) == ("classifier.7", "Linear", (7,))
    assert hooks_of(cnn) == 0


def test_the_layers_are_printed_as_a_table_and_in_notebooks_as_html(cnn: nn.Module) -> None:
    layers = list_layers(cnn)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in cnn.parameters())
    lines = repr(layers).splitlines()
    assert lines[0].split() == ["index", "name", "kind", "output", "units", "parameters"]
    assert lines[1].split() == ["0", "features.0", "Conv2d", "4x48x48", "4", "40"]
    assert len(lines) == 1 + len(layers)
    html = layers._repr_html_()
    assert html.count("<tr>") == 1 + len(layers)
    assert "<td>features.0</td><td>Conv2d</td>" in html


def test_a_hostile_layer_name_stays_text_in_html() -> None:
    assert "<td>&lt;b&gt;</td>" in Layers([Layer(0, "<b>", "Linear", (7,))])._repr_html_()


def test_the_layers_command_lists_what_layer_accepts(exports: Path, cnn: nn.Module) -> None:
    result = CliRunner().invoke(main, ["layers", "--model", str(exports)])
    assert result.exit_code == 0, result.output
    text = result.stdout
    for layer in list_layers(cnn):
        (line,) = [line.split() for line in text.splitlines() if f" {layer.name} " in line]
        assert line[:4] == [str(layer.index), layer.name, layer.kind, "x".join(map(str, layer.shape))]
        assert line[4:6] == [f"{layer.shape[0]:,}", f"{layer.parameters:,}"]
        assert " ".join(line[6:]) == str(receptive_field(cnn, layer))


def test_the_layers_command_reports_where_receptive_fields_are_unknown(
    exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_explain.layers.receptive_field.POSITIONWISE", (nn.BatchNorm2d, nn.Dropout, nn.Identity))
    result = CliRunner().invoke(main, ["layers", "--model", str(exports)])
    assert result.exit_code == 0, result.output
    assert "receptive field: unsupported operation features.1, ReLU()" in result.stderr
    assert result.stdout.count("unknown") == 21


def test_a_layer_is_found_by_index_and_by_name(cnn: nn.Module) -> None:
    assert find_layer(cnn, 2) == find_layer(cnn, "2") == find_layer(cnn, "features.2")


def test_digits_are_an_index_even_where_modules_are_named_by_digits() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2304, 5), nn.ReLU(), nn.Linear(5, 7))
    assert find_layer(model, "1").name == "2"
    assert find_layer(model, 0).name == "1"
    with pytest.raises(ConfigError, match="layer: found '3', expected one of these by index or name: 0: 1 "):
        find_layer(model, "3")


@pytest.mark.parametrize("layer", ["features.99", "standardize", 22, "22", "-1", "²", ""])
def test_an_error_of_an_unknown_layer_lists_the_layers(cnn: nn.Module, layer: str | int) -> None:
    match = r"layer: found '.*', expected one of these .*: 0: features\.0 \(Conv2d, 4x48x48\); .*; 21: classifier\.7"
    with pytest.raises(ConfigError, match=match):
        find_layer(cnn, layer)


def test_a_layers_output_is_a_manual_forward_pass(cnn: nn.Module, faces: Faces) -> None:
    pixels = torch.from_numpy(faces.images[:1]).float()[:, None]
    with torch.no_grad():
        features = cnn.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        expected = features[:6](cnn.get_submodule("standardize")(pixels))[0]
    found = layer_output(cnn, faces.images[0], "features.5")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_the_last_layers_output_are_the_logits(cnn: nn.Module, dnn: nn.Module, faces: Faces) -> None:
    pixels = torch.from_numpy(faces.images[:1]).float()[:, None]
    for model in (cnn, dnn):
        last = list_layers(model)[-1].index
        with torch.no_grad():
            expected = model(pixels)[0].numpy()
        np.testing.assert_allclose(layer_output(model, faces.images[0], last), expected, atol=1e-6)


def test_the_mode_is_restored_and_hooks_are_gone_after_success_and_error(cnn: nn.Module, faces: Faces) -> None:
    cnn.train()
    layer_output(cnn, faces.images[0], 3)
    assert cnn.training
    assert hooks_of(cnn) == 0
    cnn.get_submodule("features.2").register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        layer_output(cnn, faces.images[0], 3)
    assert cnn.training
    assert hooks_of(cnn) == 0


def test_an_array_that_is_not_a_face_is_refused(cnn: nn.Module, faces: Faces) -> None:
    with pytest.raises(ConfigError, match=r"image: expected one face, uint8 \(48, 48\), found uint8 \(21, 48, 48\)"):
        layer_output(cnn, faces.images, 0)


@pytest.mark.parametrize("layer", ["features.1", "features.16", "classifier.1", "classifier.7"])
def test_a_sheet_is_the_same_bytes_for_the_same_values(
    cnn: nn.Module, faces: Faces, layer: str, tmp_path: Path
) -> None:
    values = layer_output(cnn, faces.images[0], layer)
    for name in ("a.png", "b.png"):
        save_figure(feature_map_sheet(values, find_layer(cnn, layer), 2), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_wide_dense_layer_is_drawn(dnn: nn.Module, faces: Faces) -> None:
    figure = feature_map_sheet(layer_output(dnn, faces.images[0], 1), find_layer(dnn, 1), 2)
    assert figure.get_suptitle() == "Row 2, layer 1: classifier.2 (ReLU), 40"


def test_a_constant_layer_is_drawn_without_warning(faces: Faces, cnn: nn.Module) -> None:
    for value in (0.0, -2.0):
        figure = feature_map_sheet(np.full((4, 48, 48), value, np.float32), find_layer(cnn, 1), 2)
        figure.canvas.draw()


def test_feature_maps_writes_sheet_and_numbers(
    exports: Path, data: Path, faces: Faces, cnn: CourseCNN, tmp_path: Path
) -> None:
    folder = draw_feature_maps(data, exports, "0", tmp_path / "out", row=4)
    assert sorted(path.name for path in folder.iterdir()) == ["feature_maps.npz", "sheet.png"]
    found = np.load(folder / "feature_maps.npz")
    np.testing.assert_allclose(found["feature_maps"], layer_output(cnn, faces.images[2], 0), atol=1e-6)
    assert (int(found["row"]), str(found["layer"])) == (4, "features.0")
    with pytest.raises(DataError, match=r"expected a row number in 2\.\.22 \(21 faces\), found 1$"):
        draw_feature_maps(data, exports, 0, tmp_path / "other", row=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_first_face_of_an_array_is_drawn_by_default(exports: Path, faces: Faces, tmp_path: Path) -> None:
    folder = draw_feature_maps(faces.images[:2], exports, 0, tmp_path / "out")
    assert int(np.load(folder / "feature_maps.npz")["row"]) == 0

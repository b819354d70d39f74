from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fer_core import ConfigError, DataError, Faces
from fer_core.settings import settings_of
from fer_explain.cli import main
from fer_explain.config import AscentConfig
from fer_explain.layers.structure import find_layer, run_to
from fer_explain.maximization.ascent import maximize_channels
from fer_explain.maximization.maximize import image_captions, maximization_sheet, maximize
from fer_explain.maximization.on_faces import FaceMaxima
from fer_explain.maximization.parametrization import SPACES
from fer_train.models.course import CourseCNN

FEW = AscentConfig(steps=12)
LAYERS = ["features.0", "features.1", "features.7", "features.9", "classifier.1", "classifier.2", "classifier.7"]


def mean_activations(model: nn.Module, layer: str, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        output = run_to(model, find_layer(model, layer), torch.from_numpy(images)[:, None])[1]
    return np.array([output[i, i].mean().item() for i in range(len(images))], np.float32)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_live_channel_is_raised(cnn: nn.Module, layer: str) -> None:
    found = maximize_channels(cnn, layer, config=FEW)
    assert found.images.shape == (found.layer.shape[0], 48, 48)
    assert found.images.dtype == np.float32
    assert 0 <= found.images.min() <= found.images.max() <= 255
    assert not found.dead.all()
    assert (found.reached > found.start)[~found.dead].all()
    live = ~found.dead
    np.testing.assert_allclose(
        found.reached[live], mean_activations(cnn, layer, found.images)[live], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("layer", ["features.1", "classifier.2", "classifier.7"])
def test_the_image_of_a_channel_does_not_depend_on_the_others(cnn: nn.Module, layer: str) -> None:
    together = maximize_channels(cnn, layer, config=FEW)
    for channel in (0, 3):
        alone = maximize_channels(cnn, layer, [channel], FEW)
        assert alone.channels.tolist() == [channel]
        np.testing.assert_allclose(alone.images[0], together.images[channel], atol=0.05)
        np.testing.assert_allclose(alone.start[0], together.start[channel], rtol=1e-4, atol=1e-6)
    batched = maximize_channels(cnn, layer, config=FEW, batch_size=2)
    np.testing.assert_allclose(batched.images, together.images, atol=0.05)


def test_dense_units_are_not_blurred_by_jitter(dnn: nn.Module) -> None:
    still = maximize_channels(dnn, 0, config=AscentConfig(steps=12, jitter=0))
    found = maximize_channels(dnn, 0, config=FEW)
    np.testing.assert_array_equal(found.images, still.images)
    assert (found.config.jitter, found.config.rotation, found.config.zoom) == (0, 0, 0)
    assert FEW.jitter > 0


def test_the_same_seed_gives_the_same_images_and_another_seed_others(cnn: nn.Module) -> None:
    first, again = (maximize_channels(cnn, 0, config=FEW) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    other = maximize_channels(cnn, 0, config=AscentConfig(steps=12, seed=1))
    assert not np.array_equal(first.images, other.images)


def test_a_dead_channel_is_flagged_and_mid_gray(cnn: nn.Module) -> None:
    convolution = cnn.get_submodule("features.2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.weight.data[1] = 0
    convolution.bias.data[1] = 0.3
    for layer in ("features.2", "features.3"):
        found = maximize_channels(cnn, layer, config=FEW)
        assert found.dead.tolist() == [False, True, False, False]
        np.testing.assert_array_equal(found.images[1], 127.5)
        assert np.isfinite(found.images).all()
        assert image_captions(found)[1] == "1: dead"


def test_a_relu_channel_that_is_never_active_is_dead(cnn: nn.Module) -> None:
    convolution = cnn.get_submodule("features.2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.bias.data[2] = -1e6
    found = maximize_channels(cnn, "features.3", config=FEW)
    assert found.dead.tolist() == [False, False, True, False]
    assert found.reached[2] == 0


def test_a_relu_channel_that_starts_inactive_is_activated(cnn: nn.Module) -> None:
    convolution = cnn.get_submodule("features.0")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.weight.data[0] = 0.2
    convolution.bias.data[0] = -0.8  # active only where the image is much brighter than the noise
    found = maximize_channels(cnn, "features.1", [0], AscentConfig(steps=40))
    assert found.start[0] == 0
    assert found.reached[0] > 0.1


def test_zero_weights_are_dead_and_never_nan(cnn: nn.Module) -> None:
    for parameter in cnn.parameters():
        parameter.data.zero_()
    for layer in ("features.1", "classifier.7"):
        found = maximize_channels(cnn, layer, config=FEW)
        assert found.dead.all()
        np.testing.assert_array_equal(found.images, 127.5)
        np.testing.assert_array_equal(found.reached, 0)


def test_nothing_stays_on_the_network(cnn: nn.Module) -> None:
    cnn.train()
    maximize_channels(cnn, 0, config=FEW)
    assert cnn.training
    assert all(parameter.grad is None for parameter in cnn.parameters())
    assert sum(len(module._forward_hooks) for module in cnn.modules()) == 0


@pytest.mark.parametrize(
    ("channels", "match"),
    [
        ([4], "found 4"),
        ([-1, 0, 9], "found -1, 9"),
        ([], "found none"),
        (list(range(2, 9004)), "found 4, 5, 6, 7, 8 and 8,995 more"),
    ],
)
def test_channels_that_do_not_exist_are_refused(cnn: nn.Module, channels: list[int], match: str) -> None:
    with pytest.raises(ConfigError, match=rf"channels: layer features\.0 has channels 0\.\.3, {match}$"):
        maximize_channels(cnn, 0, channels, FEW)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"steps": 0}, "steps: expected at least 1"),
        ({"decay": 1.0}, "decay: expected 0 to below 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        AscentConfig(**settings)  # type: ignore[arg-type]


def test_maximize_writes_a_sheet_and_its_numbers(exports: Path, tmp_path: Path) -> None:
    folder = maximize(exports, "classifier.7", tmp_path / "out", channels=(3, 0), config=FEW)
    assert sorted(path.name for path in folder.iterdir()) == ["maximization.npz", "sheet.png"]
    found = np.load(folder / "maximization.npz")
    assert found["channels"].tolist() == [3, 0]
    assert found["images"].shape == (2, 48, 48)
    assert (found["activation_reached"] > found["activation_start"]).all()
    assert not found["dead"].any()
    assert json.loads(str(found["settings"]))["jitter"] == FEW.jitter


def test_the_sheet_names_classes(cnn: nn.Module) -> None:
    found = maximize_channels(cnn, "classifier.7", config=AscentConfig(steps=1))
    names = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert [text.split(":")[0] for text in image_captions(found, names)] == list(names)
    assert "classifier.7" in maximization_sheet(found, names).texts[0].get_text()


def test_captions_compare_with_real_faces(cnn: nn.Module) -> None:
    original = maximize_channels(cnn, "classifier.7", [0, 1, 2], FEW)
    found = replace(original, reached=np.array([3.0, 1.0, 2.0], np.float32))
    maxima = FaceMaxima(np.array([1.5, 4.0, -0.5], np.float32), np.arange(3), 1234)
    captions = ["0: 3.00 (2.0x)", "1: 1.00 (0.2x)", "2: 2.00 (faces: -0.50)"]
    assert image_captions(found, maxima=maxima) == captions
    silent = replace(found, dead=np.array([True, False, False]))
    assert image_captions(silent, maxima=maxima) == ["0: dead (faces: 1.50)", *captions[1:]]
    title = maximization_sheet(found, maxima=maxima).texts[0].get_text()
    assert title.endswith("activation reached (relative to the maximum on 1,234 faces; 1 below it)")


def test_with_data_the_maxima_on_faces_are_saved(
    exports: Path, data: Path, faces: Faces, cnn: CourseCNN, tmp_path: Path
) -> None:
    config = AscentConfig(steps=2, images=2)
    folder = maximize(exports, "features.3", tmp_path / "out", channels=(2, 0), data=data, limit=15, config=config)
    found = np.load(folder / "maximization.npz")
    assert found["channels"].tolist() == [2, 2, 0, 0]
    assert int(found["faces"]) == 15
    with torch.no_grad():
        pixels = torch.from_numpy(faces.images[:15]).float()[:, None]
        means = run_to(cnn, find_layer(cnn, "features.3"), pixels)[1].mean((2, 3)).numpy()
    for i, channel in enumerate([2, 2, 0, 0]):
        assert found["rows_on_faces"][i] == faces.rows[means[:, channel].argmax()]
        assert found["activation_on_faces"][i] == pytest.approx(means[:, channel].max(), rel=1e-4)
    settings = json.loads(str(found["settings"]))
    assert {key: settings[key] for key in asdict(config)} == asdict(config)


def test_an_ascent_begins_with_the_mean_or_with_one_face(
    exports: Path, data: Path, faces: Faces, tmp_path: Path
) -> None:
    still = AscentConfig(steps=1, step_size=0, noise=0, space="pixel")
    for start, expected in (("mean", faces.images[:9].mean(0)), ("row:17", faces.images[15]), ("noise", 127.5)):
        name = start.replace(":", "-")
        maximize(exports, 0, tmp_path / name, channels=[0], start=start, data=data, limit=9, config=still)
        found = np.load(tmp_path / name / "maximization.npz")
        np.testing.assert_allclose(found["images"][0], np.broadcast_to(expected, (48, 48)), atol=1e-4)


def test_a_class_and_a_direction_are_maximized(exports: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "smile.npy", np.array([1.0, -1.0, 0, 0]))
    maximize(exports, "features.3", tmp_path / "a", direction=tmp_path / "smile.npy", position="center", config=FEW)
    found = np.load(tmp_path / "a" / "maximization.npz")
    assert (found["names"].tolist(), found["channels"].tolist()) == (["smile"], [-1])
    assert json.loads(str(found["settings"]))["position"] == [24, 24]
    maximize(exports, None, tmp_path / "b", class_name="happy", config=FEW)
    found = np.load(tmp_path / "b" / "maximization.npz")
    assert (found["names"].tolist(), found["channels"].tolist(), str(found["layer"])) == (
        ["happy"],
        [3],
        "classifier.7",
    )


@pytest.mark.parametrize(
    ("layer", "settings", "match"),
    [
        (None, {}, "layer: expected a name or an index, or `class_name` instead"),
        (0, {"class_name": "happy"}, "`class_name` cannot be combined with `layer` or `position`"),
        (
            0,
            {"channels": [0], "direction": "x.npy"},
            "expected only one of `channels`, `class_name` and `direction`",
        ),
        (0, {"start": "median"}, r"start: expected noise, mean or row:N, such as row:17, found 'median'"),
        (0, {"start": "mean"}, "start: mean requires `data`"),
        (0, {"limit": 5000}, "limit: requires `data`"),
        (
            0,
            {"limit": 0, "start": "row:2", "data": np.zeros((3, 48, 48), np.uint8)},
            "limit: expected at least 1, found 0",
        ),
        ("nose", {}, "layer: found 'nose', expected one of these by index or name"),
    ],
)
def test_invalid_objectives_are_refused(
    exports: Path, tmp_path: Path, layer: str | int | None, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        maximize(exports, layer, tmp_path / "out", config=FEW, **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_start_row_that_does_not_exist_is_refused(exports: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a row number in 2\.\.22"):
        maximize(exports, 0, tmp_path / "out", start="row:99", data=data, config=FEW)


def test_the_command_passes_every_setting_on(exports: Path, data: Path, tmp_path: Path) -> None:
    changed = AscentConfig(3, "pixel", 5.0, 4.0, 0.02, 0.3, 1, 2.0, 0.01, 2, 0.7, 9)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(changed).items()]
    output = tmp_path / "out"
    target = ["--layer=2", "--channels=1", "--position=5,6", f"--data={data}", "--limit=4", "--start=mean"]
    result = CliRunner().invoke(main, ["maximize", f"--model={exports}", f"--output={output}", *target, *options])
    assert (result.exit_code, result.stdout) == (0, f"{output}: sheet.png, maximization.npz\n"), result.output
    found = np.load(output / "maximization.npz")
    settings = json.loads(str(found["settings"]))
    assert {name: settings[name] for name in asdict(changed)} == asdict(changed)
    assert (settings["position"], settings["start"], int(found["faces"])) == ([5, 6], "mean", 4)


def test_the_command_requires_data_for_split_and_columns(exports: Path, tmp_path: Path) -> None:
    arguments = ["maximize", f"--model={exports}", "--layer=0", f"--output={tmp_path / 'out'}"]
    for option in ("--split=PublicTest", "--column=pixels=face"):
        result = CliRunner().invoke(main, [*arguments, option])
        assert result.exit_code == 2
        assert "--split, --faces and --column require --data" in result.stderr
    result = CliRunner().invoke(main, [*arguments, "--limit=9"])
    assert (result.exit_code, result.stderr) == (1, "fer-explain: --limit: requires --data\n")


def test_the_parametrizations_are_those_of_the_setting() -> None:
    assert tuple(SPACES) == settings_of(AscentConfig)["space"].choices


def test_the_help_states_the_defaults() -> None:
    texts = {option.name: option.help for option in main.commands["maximize"].params}
    for name, default in asdict(AscentConfig()).items():
        shown = f"[default: {default}" if isinstance(default, str) else f"[default: {default:g};"
        assert shown in texts[name], name

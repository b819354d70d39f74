"""Attribution maps in memory: the same as those of the command, checked input, and what a notebook shows."""

from __future__ import annotations

import base64
import io
import json
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from captum.attr import IntegratedGradients
from PIL import Image
from tiny_models import CNN, assert_same_maps, make_card
from torch import nn

import fer_explain
from fer_core import ConfigError, DataError, Faces, FerError, ModelError, OutputError
from fer_explain import Attributions, attribute, explain, load_verified
from fer_explain.attribution.masks import masked_face, salient_mask
from fer_explain.config import AttributionConfig
from fer_train.runs.checkpoint import save_weights


@pytest.fixture
def maps(exports: Path, faces: Faces) -> Attributions:
    return explain(exports, faces, method="integrated-gradients", samples=4)


@pytest.mark.parametrize(
    ("method", "settings"),
    [("saliency", {}), ("integrated-gradients", {"samples": 4}), ("smoothgrad", {"samples": 3, "seed": 7})],
)
def test_maps_are_those_that_attribute_writes(
    exports: Path, data: Path, tmp_path: Path, method: str, settings: dict[str, int]
) -> None:
    attribute(data, exports, method, tmp_path / "file.npz", target="true", config=AttributionConfig(**settings))
    explain(exports, data, method, target="true", **settings).save(tmp_path / "memory.npz")
    expected, found = np.load(tmp_path / "file.npz"), np.load(tmp_path / "memory.npz")
    assert set(found.files) == set(expected.files)
    for name in expected.files:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_integrated_gradients_are_those_of_captum(maps: Attributions, cnn: nn.Module, faces: Faces) -> None:
    pixels = torch.from_numpy(faces.images).float()[:, None]
    targets = cnn(pixels).argmax(dim=1)
    expected = IntegratedGradients(cnn).attribute(pixels, baselines=128.0, target=targets, n_steps=4)
    assert maps.targets.tolist() == targets.tolist()
    assert maps.to_numpy().dtype == np.float32
    assert_same_maps(maps.to_numpy(), expected[:, 0].detach().numpy())


@pytest.mark.parametrize("form", ["path", "array", "one array", "image", "images"])
def test_faces_come_in_any_form(exports: Path, data: Path, faces: Faces, form: str) -> None:
    images = [Image.fromarray(image) for image in faces.images]
    given = {"path": data, "array": faces.images, "one array": faces.images[0], "image": images[0], "images": images}
    found = explain(exports, given[form])
    expected = explain(exports, faces.take(slice(len(found))))
    np.testing.assert_array_equal(found.maps, expected.maps)
    assert len(found) == (1 if form in ("one array", "image") else len(faces))


def test_a_loaded_model_is_explained_without_loading_it_again(exports: Path, faces: Faces) -> None:
    found = explain(load_verified(exports), faces, target="fear")
    np.testing.assert_array_equal(found.maps, explain(exports, faces, target="fear").maps)
    assert set(found.targets.tolist()) == {2}


def test_an_index_gives_a_map_and_a_choice_of_positions_gives_attributions(maps: Attributions) -> None:
    assert len(maps) == 21
    np.testing.assert_array_equal(maps[-1], maps.maps[20])
    assert [each.shape for each in maps] == [(48, 48)] * 21
    for index in (slice(2, 6, 2), [2, 4], np.isin(np.arange(21), [2, 4])):
        chosen = maps[index]
        assert chosen.rows.tolist() == [4, 6]
        np.testing.assert_array_equal(chosen.maps, maps.maps[[2, 4]])
        assert chosen.deltas is not None
        assert len(chosen.deltas) == len(chosen.targets) == len(chosen.predictions) == len(chosen.logits) == 2
    assert len(maps[[]]) == 0
    with pytest.raises(IndexError, match="expected a position below 21, found 21"):
        maps[21]


def test_the_median_of_missed_sums_is_that_of_the_file(
    maps: Attributions, exports: Path, data: Path, tmp_path: Path
) -> None:
    config = AttributionConfig(samples=4)
    assert maps.missed == attribute(data, exports, "integrated-gradients", tmp_path / "m.npz", config=config).missed
    assert np.isnan(explain(exports, data).missed)


def test_a_plot_shows_the_face_its_map_and_its_salient_pixels(maps: Attributions, faces: Faces) -> None:
    figure = maps.plot(3)
    face, map_, masked = (axes.images[0].get_array() for axes in figure.axes)
    np.testing.assert_array_equal(face, faces.images[3])
    assert map_.shape == (48, 48, 3)
    np.testing.assert_array_equal(masked, masked_face(faces.images[3], salient_mask(maps[3])))
    predicted, probability = maps.predictions[3], maps.probabilities[3].max()
    assert figure.get_suptitle() == f"row 5: predicted {predicted} ({probability:.0%})"
    assert [axes.get_title() for axes in figure.axes] == ["face", "integrated-gradients", "most salient 20%"]
    with pytest.raises(IndexError, match="expected a position below 21, found -22"):
        maps.plot(-22)


def test_a_caption_names_the_image_and_a_class_that_is_not_predicted(
    exports: Path, faces: Faces, tmp_path: Path
) -> None:
    Image.fromarray(faces.images[0]).save(tmp_path / "ann.png")
    maps = explain(exports, tmp_path / "ann.png")
    other = next(name for name in maps.classes if name != maps.predictions[0])
    title = explain(exports, tmp_path / "ann.png", target=other).plot().get_suptitle()
    temperature = load_verified(exports).card.temperature["value"]
    probability = scipy.special.softmax(maps.logits[0] / temperature).max()
    assert title == f"ann.png: predicted {maps.predictions[0]} ({probability:.0%}), explained {other}"


def test_a_caption_states_the_error_of_an_unfinished_map(exports: Path, faces: Faces) -> None:
    some = faces.take(slice(3))
    short = explain(exports, some, method="integrated-gradients", tolerance=0.0, max_samples=16)
    assert short.unfinished.tolist() == [True] * 3
    assert short[1:].unfinished.tolist() == [True] * 2
    figure = short.plot(1)
    assert re.search(r"; sum off by \d", figure.get_suptitle())
    assert "sum off by" in short._repr_html_()
    done = explain(exports, some, method="integrated-gradients", tolerance=0.5)
    assert not done.unfinished.any()
    assert "sum off" not in done.plot().get_suptitle()
    assert explain(exports, some).unfinished.tolist() == [False] * 3


def test_a_notebook_shows_the_first_faces(maps: Attributions, faces: Faces) -> None:
    page = maps._repr_html_()
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) == page.count("<figure") == 4
    assert "21 faces, integrated-gradients, target &#x27;predicted&#x27;" in page
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))).convert("L"))
    np.testing.assert_array_equal(first[:96:2, :96:2], faces.images[0])
    assert maps[:2]._repr_html_().count("<figure") == 2
    assert "<figure" not in maps[[]]._repr_html_()


def test_names_of_classes_are_escaped_in_a_notebook(tmp_path: Path, cnn: nn.Module, faces: Faces) -> None:
    names = tuple(f'<script>"{i}"</script>' for i in range(7))
    card = replace(make_card(cnn, "course-cnn", CNN), labels=names)
    save_weights(tmp_path / "ema.safetensors", cnn.state_dict(), card)
    page = explain(tmp_path, faces.take([0, 1]), target=names[3])._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;&quot;3&quot;&lt;/script&gt;") >= 2
    assert re.search(r"alt=\"[^<>\"]*\"", page)


def test_saving_replaces_nothing_unless_forced(maps: Attributions, tmp_path: Path) -> None:
    path = tmp_path / "maps.npz"
    maps.save(path)
    with pytest.raises(OutputError, match=r"maps\.npz: exists already"):
        maps.save(path)
    maps[:2].save(path, force=True)
    found = np.load(path)
    assert found["attributions"].shape == (2, 48, 48)
    assert json.loads(str(found["settings"]))["samples"] == 4
    assert [each.name for each in tmp_path.iterdir()] == ["maps.npz"]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"method": "lime"}, ConfigError, r"method: expected one of saliency, .*, found 'lime'"),
        ({"samples": 3}, ConfigError, r"samples: not a setting of saliency, which uses `of`"),
        ({"depth": 3}, ConfigError, r"depth: not a setting of saliency, which uses `of`"),
        ({"temperature": 2.0}, ConfigError, r"temperature: comes from the model card and cannot be set"),
        ({"of": "ranks"}, ConfigError, r"of: expected one of logits, probabilities, found 'ranks'"),
        ({"method": "smoothgrad", "samples": "many"}, ConfigError, r"samples: expected int \| None, found 'many'"),
        ({"target": "joy"}, ConfigError, r"target: expected predicted, true or one of angry, .*, found 'joy'"),
        ({"memory_mb": float("nan")}, ConfigError, r"memory_mb: expected a positive number of MiB, found nan"),
        ({"data": np.zeros((2, 40, 48), np.uint8)}, DataError, r"found uint8 of shape \(2, 40, 48\)"),
        ({"data": np.zeros((2, 48, 48))}, DataError, r"found float64 of shape"),
        ({"data": np.zeros((2, 48, 48), np.uint8), "target": "true"}, DataError, r"has no labels"),
        ({"data": 17}, DataError, r"found int"),
        ({"model": "nowhere"}, ModelError, r"nowhere: expected an exports folder or a run"),
    ],
)
def test_hostile_input_is_one_clear_error(
    exports: Path, faces: Faces, arguments: dict[str, object], error: type[FerError], match: str
) -> None:
    with pytest.raises(error, match=match):
        explain(**{"model": exports, "data": faces, **arguments})  # type: ignore[arg-type]


def test_no_faces_give_no_maps(exports: Path) -> None:
    found = explain(exports, np.empty((0, 48, 48), np.uint8))
    assert (len(found), found.maps.shape, found.logits.shape) == (0, (0, 48, 48), (0, 7))


def test_public_names_resolve_and_none_is_hidden_by_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(fer_explain.__path__)}
    assert modules.isdisjoint(fer_explain.__all__)
    for name in fer_explain.__all__:
        assert getattr(fer_explain, name) is not None

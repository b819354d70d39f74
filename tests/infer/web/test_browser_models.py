"""The page predicts and explains faces as ONNX Runtime does in Python, and draws the same maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from page_modules import decoded, encoded, png, run, scoring_page
from visits import ROOT, require_browser

from fer_core.fer2013 import PIXELS
from fer_core.outputs.map_colors import normalize, overlay, scale_strip
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import Scorer
from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.map_overlay import bounds_of, corners_of, overlay_pixels
from fer_infer.saliency import SaliencyModel

require_browser()

COMPACT = ROOT / "exports" / "compact"
EIGHT = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")

BYTES_OF_OUTPUTS = """() => {
  window.bytes = (outputs) => Object.fromEntries(
    Object.entries(outputs).map(([name, values]) => [name, values === null ? null : textOf(values)])
  );
}"""


def save_explaining(path: Path, classes: int, *, has_grad_cam: bool) -> NDArray[np.float32]:
    """Write a linear graph with the interface of `saliency.onnx`; return its weights, which are its saliency maps."""
    rng = np.random.default_rng(classes)
    weights = rng.normal(0, 1e-3, (PIXELS, classes)).astype(np.float32)
    constants = {
        "weights": weights,
        "maps": np.ascontiguousarray(weights.T).reshape(classes, 48, 48),
        "flat": np.array([-1, PIXELS]),
        "zero": np.array(0),
    }
    nodes = [
        helper.make_node("Cast", ["faces"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["levels", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        helper.make_node("ArgMax", ["logits"], ["predicted"], axis=-1, keepdims=0),
        helper.make_node("Less", ["target", "zero"], ["is_predicted"]),
        helper.make_node("Where", ["is_predicted", "predicted", "target"], ["chosen"]),
        helper.make_node("Gather", ["maps", "chosen"], ["saliency"]),
    ]
    outputs: dict[str, list[str | int]] = {
        "logits": ["batch", classes],
        "probabilities": ["batch", classes],
        "saliency": ["batch", 48, 48],
    }
    if has_grad_cam:
        nodes.append(helper.make_node("Relu", ["saliency"], ["grad_cam"]))
        outputs["grad_cam"] = ["batch", 48, 48]
    inputs = [
        helper.make_tensor_value_info("faces", TensorProto.UINT8, ["batch", 48, 48]),
        helper.make_tensor_value_info("target", TensorProto.INT64, ["batch"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return weights


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float32]]:
    folder = tmp_path_factory.mktemp("explaining")
    save_explaining(folder / "without.onnx", 8, has_grad_cam=False)
    return folder, save_explaining(folder / "with.onnx", 8, has_grad_cam=True)


@pytest.fixture(scope="module")
def eight(model_class: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    model = model_class(labels=EIGHT)
    return model.save(tmp_path_factory.mktemp("eight") / "model"), model


@pytest.fixture(scope="module")
def page(explaining: tuple[Path, Any], eight: tuple[Path, Any]) -> Iterator[Any]:
    with scoring_page(compact=COMPACT, eight=eight[0], explaining=explaining[0]) as opened:
        opened.evaluate(BYTES_OF_OUTPUTS)
        yield opened


PREDICT = """
  const card = await (await fetch(`./${given[0]}/card.json`)).json();
  const model = await classifier.createClassifier(ort, { model: `./${given[0]}/${given[1]}`, card });
  return { labels: model.labels, ...bytes(await model.predict(bytesOf(given[2]), given[3])) };
"""


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 40])
def test_probabilities_are_those_of_python_at_every_batch_size(page: Any, n: int) -> None:
    images = draw_faces(40, seed=2).images[:n]
    found = run(page, PREDICT, "compact", "model.onnx", encoded(images), n)
    with Scorer(COMPACT, "cpu", precision="fp32", threads=1) as scorer:
        assert tuple(found["labels"]) == scorer.card.labels
        expected = scorer.predict_proba(images) if n else np.empty((0, 7), np.float32)
    np.testing.assert_allclose(decoded(found["probabilities"], np.float32).reshape(-1, 7), expected, atol=1e-5)


def test_probabilities_of_the_int8_graph_are_those_of_python(page: Any) -> None:
    images = draw_faces(64, seed=4).images
    found = run(page, PREDICT, "compact", "model.int8.onnx", encoded(images), len(images))
    probabilities = decoded(found["probabilities"], np.float32).reshape(-1, 7)
    with Scorer(COMPACT, "cpu", precision="int8", threads=1) as scorer:
        expected = scorer.predict_proba(images)
    # a sum that lies between two levels of int8 can be rounded to the other one
    np.testing.assert_allclose(probabilities, expected, atol=1e-2)


def test_classes_come_from_the_card(page: Any, eight: tuple[Path, Any]) -> None:
    images = np.random.default_rng(3).integers(0, 256, (5, 48, 48), np.uint8)
    found = run(page, PREDICT, "eight", "model.onnx", encoded(images), 5)
    logits, probabilities = eight[1].run(images)
    assert found["labels"] == list(EIGHT)
    np.testing.assert_allclose(decoded(found["logits"], np.float32).reshape(5, 8), logits, atol=1e-4)
    np.testing.assert_allclose(decoded(found["probabilities"], np.float32).reshape(5, 8), probabilities, atol=1e-5)


EXPLAIN = """
  const card = await (await fetch("./eight/card.json")).json();
  const saliency = given[0] && `./explaining/${given[0]}`;
  const model = await classifier.createClassifier(ort, { model: "./eight/model.onnx", saliency, card });
  try {
    return bytes(await model.explain(bytesOf(given[1]), given[2], given[3]));
  } catch (error) {
    return { error: error.message, canExplain: model.canExplain };
  }
"""


@pytest.mark.parametrize("targets", [None, [0, 7, 3] * 13])
def test_each_face_is_explained_for_its_target(
    page: Any, targets: list[int] | None, explaining: tuple[Path, NDArray[np.float32]]
) -> None:
    images = np.random.default_rng(8).integers(0, 256, (39, 48, 48), np.uint8)
    found = {
        name: decoded(text, np.float32)
        for name, text in run(page, EXPLAIN, "with.onnx", encoded(images), 39, targets).items()
    }
    logits = images.reshape(39, -1) @ explaining[1]
    np.testing.assert_allclose(found["logits"].reshape(39, 8), logits, atol=1e-3)
    np.testing.assert_allclose(found["probabilities"].reshape(39, 8).sum(axis=1), 1, atol=1e-5)
    chosen = logits.argmax(axis=1) if targets is None else targets
    maps = explaining[1].T[chosen].ravel()
    np.testing.assert_array_equal(found["saliency"], maps)
    np.testing.assert_array_equal(found["gradCam"], np.maximum(maps, 0))


@pytest.mark.parametrize("target", [None, 3])
def test_maps_of_an_exported_model_are_those_of_python(page: Any, target: int | None) -> None:
    images = draw_faces(20, seed=9).images
    with SaliencyModel(COMPACT, "cpu", threads=1) as explaining_model:
        expected = explaining_model.explain(images, target)
    script = """
      const card = await (await fetch("./compact/card.json")).json();
      const [model, saliency] = ["./compact/model.onnx", "./compact/saliency.onnx"];
      const explaining = await classifier.createClassifier(ort, { model, saliency, card });
      return bytes(await explaining.explain(bytesOf(given[0]), 20, given[1]));
    """
    found = run(page, script, encoded(images), None if target is None else [target] * 20)
    for name, outputs in (("logits", expected.logits), ("probabilities", expected.probabilities)):
        np.testing.assert_allclose(decoded(found[name], np.float32), outputs.ravel(), atol=1e-4)
    assert expected.grad_cam is not None
    for name, originals in (("saliency", expected.saliency), ("gradCam", expected.grad_cam)):
        differences = np.abs(decoded(found[name], np.float32).reshape(20, 48, 48) - originals)
        assert (differences.max(axis=(1, 2)) < 1e-3 * np.abs(originals).max(axis=(1, 2))).all()


def test_a_network_without_convolutions_has_no_grad_cam(page: Any) -> None:
    found = run(page, EXPLAIN, "without.onnx", encoded(bytes(PIXELS)), 1, None)
    assert found["gradCam"] is None
    assert len(decoded(found["saliency"], np.float32)) == PIXELS


@pytest.mark.parametrize(
    ("graph", "n", "error"),
    [
        (None, 1, "the model has no graph of saliency maps"),
        ("absent.onnx", 1, "./explaining/absent.onnx: cannot be read: HTTP status 404"),
        ("with.onnx", 2, "expected 4608 gray levels, found 2304"),
    ],
)
def test_what_cannot_be_explained_is_an_error(page: Any, graph: str | None, n: int, error: str) -> None:
    found = run(page, EXPLAIN, graph, encoded(bytes(PIXELS)), n, None)
    assert found == {"error": error, "canExplain": graph is not None}


def test_a_call_that_fails_does_not_stop_later_ones(page: Any) -> None:
    script = """
      const card = await (await fetch("./eight/card.json")).json();
      const model = await classifier.createClassifier(ort, { model: "./eight/model.onnx", card });
      const run = model.model.run(() => ({ faces: ["uint8", new Uint8Array(7), [7]] }), () => null);
      const after = model.predict(new Uint8Array(2304), 1);
      return [await run.then(() => "ran", () => "failed"), (await after).logits.length];
    """
    assert run(page, script) == ["failed", 8]


@pytest.mark.parametrize("explained", [False, True])
def test_a_released_model_ends_its_calls_first(page: Any, explained: bool) -> None:
    script = """
      const card = await (await fetch("./eight/card.json")).json();
      const files = { model: "./eight/model.onnx", saliency: "./explaining/with.onnx", card };
      const model = await classifier.createClassifier(ort, files);
      const call = given[0] ? model.explain(new Uint8Array(2304), 1) : model.predict(new Uint8Array(2304), 1);
      await model.release();
      return (await call).logits.length;
    """
    assert run(page, script, explained) == 8


MAPS = {
    "signed": np.random.default_rng(1).normal(0, 1, (48, 48)).astype(np.float32),
    "magnitudes": np.random.default_rng(2).gamma(0.5, 1, (48, 48)).astype(np.float32),
    "constant": np.full((48, 48), 0.3, np.float32),
    "zero but for one pixel": np.eye(1, PIXELS, 777, dtype=np.float32).reshape(48, 48),
    "tiny": np.random.default_rng(3).normal(0, 1e-30, (48, 48)).astype(np.float32),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_scaled_as_in_reports(page: Any, name: str) -> None:
    found = run(page, "return textOf(maps.normalize(new Float32Array(bytesOf(given[0]).buffer)))", encoded(MAPS[name]))
    np.testing.assert_allclose(decoded(found, np.float32), normalize(MAPS[name]).ravel(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("signed", [True, False])
def test_a_map_over_the_face_has_the_colors_of_reports(page: Any, name: str, signed: bool) -> None:
    image = draw_faces(1, seed=6).images[0]
    script = """
      const map = new Float32Array(bytesOf(given[1]).buffer);
      const { width, height, data } = maps.overlayFace(bytesOf(given[0]), map, { signed: given[2] });
      return [width, height, textOf(data)];
    """
    width, height, data = run(page, script, encoded(image), encoded(MAPS[name]), signed)
    found = decoded(data, np.uint8).reshape(height, width, 4)
    assert np.abs(found[..., :3].astype(int) - overlay(image, MAPS[name], signed=signed)).max() <= 1
    assert (found[..., 3] == 255).all()


TRANSFORMS = {
    "large": (0.21, 0.2, 9.0, -3.0),
    "rolled": (0.5, -0.9, 40.0, 20.0),
    "beyond the border": (0.4, 0.3, 60.0, 70.0),
    "enlarged": (2.7, 0.1, -300.0, -200.0),
    "outside": (0.5, 0.0, -5000.0, 0.0),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("signed", [True, False])
def test_a_map_over_the_photo_is_drawn_as_in_python(page: Any, name: str, signed: bool) -> None:
    scale, angle, x, y = TRANSFORMS[name]
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    transform = np.array([[cosine, -sine, x], [sine, cosine, y]])
    photo = np.random.default_rng(5).integers(0, 256, (200, 260, 3), np.uint8)
    face = FoundFace(Box(0.0, 0.0, 1.0, 1.0), 1.0, np.zeros((5, 2)), transform, np.zeros((48, 48), np.uint8))
    expected = overlay_pixels(photo, face, MAPS["signed"], signed=signed, outline=False)
    script = """
      const map = new Float32Array(bytesOf(given[1]).buffer);
      const { data, ...place } = maps.overlayPhoto(await pictureOf(given[0]), given[2], map, { signed: given[3] });
      return [place, textOf(data), maps.cornersOf(given[2])];
    """
    place, data, corners = run(page, script, png(photo), encoded(MAPS["signed"]), transform.ravel().tolist(), signed)
    left, top, right, bottom = bounds_of(face, photo.shape)
    assert place == {"left": left, "top": top, "width": right - left, "height": bottom - top}
    shown = photo.astype(int)
    if place["width"] and place["height"]:
        shown[top:bottom, left:right] = decoded(data, np.uint8).reshape(bottom - top, right - left, 4)[..., :3]
    assert np.abs(shown - expected).max() <= 1
    np.testing.assert_allclose(corners, corners_of(face))


@pytest.mark.parametrize("signed", [True, False])
def test_the_color_scale_is_that_of_reports(page: Any, signed: bool) -> None:
    found = run(page, "return textOf(maps.colorScale({ signed: given[0] }).data)", signed)
    colors = decoded(found, np.uint8).reshape(1, 96, 4)[..., :3]
    assert np.abs(colors.astype(int) - scale_strip(signed=signed)).max() <= 1


def test_the_colors_of_magnitudes_are_those_of_inferno(page: Any) -> None:
    found = run(page, "return Array.from({ length: 257 }, (_, i) => colors.magnitudeColor(i / 256))")
    positions = np.arange(257) / 256
    np.testing.assert_array_equal(found, np.rint(255 * matplotlib.colormaps["inferno"](positions)[:, :3]))

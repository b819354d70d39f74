"""A model with its gradient: predictions equal those of the scorer, and wrong files and arguments are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fer_core import CardError, ConfigError, DataError, Faces, ModelError
from fer_core.io.csv.writer import write_csv
from fer_infer import SaliencyModel, Scorer
from fer_infer.runtime.runners import NotFiniteError

EXPORTS = Path(__file__).resolve().parents[2] / "exports"


@pytest.fixture(scope="module")
def model() -> SaliencyModel:
    return SaliencyModel(EXPORTS / "compact", device="cpu", threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model.onnx", "saliency.onnx", "card.json", "parity.json"):
        (tmp_path / "compact").mkdir(exist_ok=True)
        shutil.copy(EXPORTS / "compact" / name, tmp_path / "compact" / name)
    return tmp_path / "compact"


def changed_graph(path: Path, change: Any) -> None:
    graph = onnx.load(path)
    change(graph)
    path.write_bytes(graph.SerializeToString())
    path.with_name("parity.json").unlink(missing_ok=True)


def test_predictions_and_maps_do_not_depend_on_the_batch(model: SaliencyModel, drawn_faces: Faces) -> None:
    images = drawn_faces.images[:9]
    whole = model.explain(images)
    logits, probabilities = Scorer(EXPORTS / "compact", device="cpu", precision="fp32").run(images)
    np.testing.assert_allclose(whole.logits, logits, atol=1e-5)
    np.testing.assert_allclose(whole.probabilities, probabilities, atol=1e-6)
    np.testing.assert_array_equal(whole.targets, logits.argmax(axis=1))
    single = [model.explain(image[None], batch_size=1) for image in images]
    np.testing.assert_allclose(np.concatenate([one.saliency for one in single]), whole.saliency, atol=1e-6)
    assert whole.grad_cam is not None
    assert whole.grad_cam.min() >= 0


def test_the_saliency_is_the_slope_of_the_targets_logit(model: SaliencyModel, drawn_faces: Faces) -> None:
    image = drawn_faces.images[:1]
    found = model.explain(image, 2)
    pixel = np.unravel_index(np.abs(found.saliency[0]).argmax(), (48, 48))
    step = np.zeros((1, 48, 48), np.float32)
    step[0][pixel] = 0.125
    rise = model.explain(image, 2, offsets=step).logits[0, 2] - model.explain(image, 2, offsets=-step).logits[0, 2]
    assert rise / 0.25 == pytest.approx(float(found.saliency[0][pixel]), rel=0.05)


def test_targets_may_be_one_class_or_one_per_face(model: SaliencyModel, drawn_faces: Faces) -> None:
    images = drawn_faces.images[:3]
    each = model.explain(images, np.array([4, -1, 4]))
    same = model.explain(images, 4)
    assert each.targets.tolist() == [4, int(same.logits[1].argmax()), 4]
    np.testing.assert_array_equal(each.saliency[[0, 2]], same.saliency[[0, 2]])


def test_no_faces_give_no_maps(model: SaliencyModel) -> None:
    found = model.explain(np.empty((0, 48, 48), np.uint8))
    assert (found.logits.shape, found.saliency.shape, found.targets.shape) == ((0, 7), (0, 48, 48), (0,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "joy"}, r"^targets: expected one of angry, .*, neutral, found 'joy'$"),
        ({"targets": 7}, r"^targets: expected classes 0 to 6, or -1 for the predicted one, found 7$"),
        ({"targets": np.array([0, -2])}, r"^targets: expected classes 0 to 6, .* found -2$"),
        ({"targets": np.array([0])}, r"^targets: expected integers \(2,\), found int64 \(1,\)$"),
        ({"targets": np.array([0.0, 1.0])}, r"^targets: expected integers \(2,\), found float64 \(2,\)$"),
        (
            {"offsets": np.zeros((2, 48, 48))},
            r"^offsets: expected float32 \(2, 48, 48\), as the images, found float64 \(2, 48, 48\)$",
        ),
        ({"batch_size": 0}, r"^batch_size: expected at least 1, found 0$"),
    ],
)
def test_wrong_arguments_are_named(model: SaliencyModel, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.explain(np.zeros((2, 48, 48), np.uint8), **arguments)


def test_data_may_be_what_a_scorer_takes(model: SaliencyModel, drawn_faces: Faces, tmp_path: Path) -> None:
    write_csv(drawn_faces.take(slice(3)), tmp_path / "faces.csv")
    found, expected = model.explain(tmp_path / "faces.csv", "sad"), model.explain(drawn_faces.images[:3], 4)
    np.testing.assert_array_equal(found.saliency, expected.saliency)
    with pytest.raises(DataError, match=r"expected uint8 of shape \(48, 48\) or \(N, 48, 48\), found float64"):
        model.explain(np.zeros((2, 48, 48)))


def test_a_folder_without_the_graph_names_the_remedy(folder: Path) -> None:
    (folder / "saliency.onnx").unlink()
    with pytest.raises(ModelError, match=r"with saliency\.onnx, found none; `fer-train export --saliency` writes one$"):
        SaliencyModel(folder)
    with pytest.raises(ModelError, match=r"absent: expected an exports folder with saliency\.onnx, found none"):
        SaliencyModel(folder / "absent")


def test_the_graph_of_other_weights_is_refused(folder: Path) -> None:
    shutil.copy(EXPORTS / "course-cnn" / "saliency.onnx", folder / "saliency.onnx")
    with pytest.raises(ModelError, match=r"is damaged or from another export: expected SHA-256 "):
        SaliencyModel(folder)
    (folder / "parity.json").unlink()
    with pytest.raises(CardError, match=r"saliency\.onnx.*card\.json"):
        SaliencyModel(folder)


def test_a_graph_without_a_checksum_is_read(folder: Path) -> None:
    parity = json.loads((folder / "parity.json").read_text())
    del parity["graph_sha256"]["saliency.onnx"]
    (folder / "parity.json").write_text(json.dumps(parity))
    assert SaliencyModel(folder, device="cpu").card.architecture == "compact"


def test_a_graph_of_another_contract_is_refused(folder: Path) -> None:
    def rename(graph: Any) -> None:
        graph.graph.output[2].name = "gradient"
        graph.graph.node[-2].output[0] = "gradient"

    changed_graph(folder / "saliency.onnx", rename)
    with pytest.raises(ModelError, match=r"expected output .*'saliency' float32 \(batch, 48, 48\).*, found "):
        SaliencyModel(folder)


def test_logits_that_are_not_finite_name_the_face(folder: Path) -> None:
    def poison(graph: Any) -> None:
        tensor = next(one for one in graph.graph.initializer if one.name == "model.classifier.3.bias")
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(7, np.nan, np.float32), tensor.name))

    changed_graph(folder / "saliency.onnx", poison)
    with pytest.raises(
        NotFiniteError, match=r"saliency\.onnx: the logits of face 0 \(counted from 0\) are not finite$"
    ):
        SaliencyModel(folder, device="cpu").explain(np.zeros((2, 48, 48), np.uint8))


def test_a_closed_model_fails(folder: Path) -> None:
    with SaliencyModel(folder, device="cpu") as closed:
        assert repr(closed) == "SaliencyModel(compact, CPU)"
    with pytest.raises(ModelError, match=r"saliency\.onnx: failed on 1 faces: "):
        closed.explain(np.zeros((1, 48, 48), np.uint8))

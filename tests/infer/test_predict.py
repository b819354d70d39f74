"""`predict` and `predict_proba` take faces in any form and follow the conventions of scikit-learn."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataError, FerError, ModelError, read_faces
from fer_infer import Scorer
from fer_infer.model_files import count_parameters

Images = NDArray[np.uint8]
SHIPPED = Path(__file__).parents[2] / "exports"


@pytest.fixture
def scorer(exports: Path) -> Scorer:
    return Scorer(exports, "cpu")


@pytest.fixture
def csv(images: Images, csv_of: Callable[..., str], tmp_path: Path) -> Path:
    """Thirty faces whose labels and splits cannot be read."""
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(images, emotion=["contempt"] * 30, Usage=["?"] * 30))
    return path


def frame_of(images: Images, index: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"pixels": [" ".join(map(str, image.ravel())) for image in images]}, index=index)


def forms(images: Images, csv: Path) -> dict[str, Any]:
    return {
        "path": csv,
        "text": str(csv),
        "Faces": read_faces(csv, roles=()),
        "array": images,
        "PIL images": [Image.fromarray(image) for image in images],
        "DataFrame": frame_of(images),
    }


@pytest.mark.parametrize("form", ["path", "text", "Faces", "array", "PIL images", "DataFrame"])
def test_faces_in_any_form_give_the_scores_of_the_slow_reference(
    scorer: Scorer, model: Any, images: Images, csv: Path, form: str
) -> None:
    faces = forms(images, csv)[form]
    logits, probabilities = model.run(images)
    np.testing.assert_allclose(np.asarray(scorer.predict_proba(faces)), probabilities, atol=1e-5)
    assert list(scorer.predict(faces)) == [EXPRESSIONS[n] for n in logits.argmax(axis=1)]


def test_results_for_arrays_are_arrays(scorer: Scorer, images: Images) -> None:
    names, probabilities = scorer.predict(images), scorer.predict_proba(images)
    assert (type(names), names.dtype.kind, names.shape) == (np.ndarray, "U", (30,))
    assert (type(probabilities), probabilities.dtype, probabilities.shape) == (np.ndarray, np.float32, (30, 7))
    assert (scorer.classes_.dtype.kind, tuple(scorer.classes_)) == ("U", EXPRESSIONS)


def test_results_for_a_data_frame_keep_its_index(scorer: Scorer, images: Images) -> None:
    frame = frame_of(images[:3], index=["c", "a", "b"])
    names, probabilities = scorer.predict(frame), scorer.predict_proba(frame)
    assert isinstance(names, pd.Series)
    assert isinstance(probabilities, pd.DataFrame)
    assert list(names.index) == list(probabilities.index) == ["c", "a", "b"]
    assert list(probabilities.columns) == list(EXPRESSIONS)
    assert list(probabilities.idxmax(axis=1)) == list(names) == list(scorer.predict(images[:3]))


@pytest.mark.parametrize("single", [lambda image: image, Image.fromarray])
def test_a_single_face_gives_one_result(scorer: Scorer, images: Images, single: Any) -> None:
    assert scorer.predict(single(images[4])).tolist() == scorer.predict(images[4:5]).tolist()


def test_no_faces_give_empty_results(scorer: Scorer) -> None:
    assert scorer.predict(np.empty((0, 48, 48), np.uint8)).shape == (0,)
    assert scorer.predict_proba(frame_of(np.empty((0, 48, 48), np.uint8))).shape == (0, 7)


def test_augmentation_and_batch_size_are_those_of_run(scorer: Scorer, images: Images) -> None:
    _, expected = scorer.run(images, batch_size=7, tta="flip")
    np.testing.assert_array_equal(scorer.predict_proba(images, batch_size=7, tta="flip"), expected)
    with pytest.raises(ConfigError, match=r"^batch_size: expected at least 1, found 0$"):
        scorer.predict(images, batch_size=0)


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (np.zeros((2, 32, 32), np.uint8), r"expected uint8 of shape"),
        (np.zeros((2, 48, 48), np.float32), r"expected uint8 of shape"),
        (["a"], r"expected a PIL image or a uint8 array \(48, 48\), found str"),
        (7, r"expected a path, Faces, a uint8 array, PIL images or a pandas DataFrame, found int"),
        (pd.DataFrame({"pixels": ["1 2 3"]}), r"expected 2304 integers in 0\.\.255, found 3"),
        ("absent.csv", r"absent\.csv: cannot be "),
    ],
)
def test_what_is_not_faces_is_refused(scorer: Scorer, faces: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scorer.predict(faces)


def test_arrays_need_no_pandas(exports: Path) -> None:
    code = (
        "import sys, numpy, fer_infer\n"
        "with fer_infer.Scorer(sys.argv[1], 'cpu') as model:\n"
        "    model.predict(numpy.zeros((2, 48, 48), numpy.uint8))\n"
        "assert not {'pandas', 'torch', 'onnx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(exports)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _predict(scorer: Scorer, images: Images) -> list[str]:
    return list(scorer.predict(images))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_scorer_predicts_in_other_processes(scorer: Scorer, images: Images, method: str) -> None:
    expected = _predict(scorer, images)
    assert _predict(pickle.loads(pickle.dumps(scorer)), images) == expected  # noqa: S301 - made here
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(_predict, scorer, images).result(timeout=120) == expected


def test_a_closed_scorer_does_not_predict(exports: Path, images: Images) -> None:
    with Scorer(exports, "cpu") as scorer:
        scorer.predict(images)
    with pytest.raises(ModelError, match=r"model\.onnx: this scorer is closed$"):
        scorer.predict(images)


# Files of the exports folder


def test_the_number_of_parameters_is_shown_where_the_weights_are(tmp_path: Path) -> None:
    torch_count = 472_999  # sum(p.numel() for p in load_model("exports/compact").parameters())
    assert repr(Scorer(SHIPPED / "compact", "cpu", "int8")) == "Scorer(compact, int8, CPU, 0.47 M parameters)"
    graph = SHIPPED / "compact" / "model.onnx"
    sha256 = Scorer(graph, "cpu").card.weights_sha256
    assert count_parameters(graph, sha256) == torch_count
    assert count_parameters(graph, "0" * 64) is None
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 64)
    assert count_parameters(tmp_path / "model.onnx", sha256) is None


@pytest.mark.parametrize("damaged", ["model.onnx", "model.int8.onnx"])
def test_damaged_weights_are_refused_where_the_export_states_checksums(tmp_path: Path, damaged: str) -> None:
    folder = tmp_path / "compact"
    shutil.copytree(SHIPPED / "compact", folder)
    graphs = {name: folder / name for name in ("model.onnx", "model.int8.onnx")}
    content = bytearray(graphs[damaged].read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    checksums = {name: hashlib.sha256(graph.read_bytes()).hexdigest() for name, graph in graphs.items()}
    graphs[damaged].write_bytes(content)
    parity = json.loads((folder / "parity.json").read_text())
    parity.pop("graph_sha256", None)
    (folder / "parity.json").write_text(json.dumps(parity))
    precision = "fp32" if damaged == "model.onnx" else "int8"
    Scorer(folder, "cpu", precision)  # an export without checksums is not checked

    (folder / "parity.json").write_text(json.dumps(parity | {"graph_sha256": checksums}))
    where = re.escape(str(graphs[damaged]))
    expected = rf"^{where}: is damaged or from another export: expected SHA-256 [0-9a-f]{{12}}\.\.\., as parity\.json"
    with pytest.raises(ModelError, match=expected):
        Scorer(folder, "cpu", precision)
    Scorer(folder, "cpu", "int8" if precision == "fp32" else "fp32")


def test_an_unreadable_parity_file_is_refused(model: Any, tmp_path: Path) -> None:
    folder = model.save(tmp_path / "linear")
    (folder / "parity.json").write_text("{")
    with pytest.raises(FerError, match=r"parity\.json: cannot be read as JSON: "):
        Scorer(folder, "cpu")


def test_a_home_folder_is_expanded(model: Any, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save(tmp_path / "linear")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Scorer("~/linear", "cpu").predict(images).shape == (30,)

"""Answers of JavaScript libraries become probabilities of FER2013's classes; no npm package is needed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser_peers import side_of
from benchmarks.harness.pictures import Condition, put_into_picture
from benchmarks.peers.browser.library import (
    FOLDER,
    BrowserLibrary,
    Found,
    install,
    nearest,
    probabilities_of,
)
from fer_core import EXPRESSIONS
from fer_infer.photos.found_face import Box

FACE_API = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
HUMAN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

FAKE_NODE = """#!{python}
import json, struct, sys
print(json.dumps({{"ready": sys.argv[3]}}), flush=True)
while header := sys.stdin.buffer.read(20):
    count, height, width, per_call, find = struct.unpack("<5I", header)
    pixels = sys.stdin.buffer.read(count * height * width)
    first = [pixels[n * height * width] for n in range(count)]
    names = {names!r}
    faces = [[{{"probabilities": {{name: float(n == value) for n, name in enumerate(names)}},
               "box": [1, 2, height, width], "score": per_call / 100}}] for value in first]
    print(json.dumps({{"faces": faces, "ms": 1500, "find": find}}), flush=True)
"""

STAND_IN = """
exports.env = { wasm: {} };
exports.Tensor = class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } };
exports.InferenceSession = {
  create: async (file) => ({
    run: async ({ faces }) => {
      if (faces.type !== 'uint8' || !file.endsWith('graph.onnx')) throw new Error('unexpected input');
      const [count, height, width] = faces.dims;
      const data = new Float32Array(count * 7);
      for (let n = 0; n < count; n += 1) data[n * 7 + faces.data[n * height * width]] = 1;
      return { probabilities: { data } };
    },
  }),
};
"""


@pytest.fixture
def fake_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "node"
    program.parent.mkdir()
    program.write_text(FAKE_NODE.format(python=sys.executable, names=FACE_API))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


@pytest.mark.parametrize("names", [FACE_API, HUMAN])
def test_each_class_of_a_library_is_the_one_of_fer2013(names: tuple[str, ...]) -> None:
    same = {"fearful": "fear", "disgusted": "disgust", "surprised": "surprise"}
    for name in names:
        row = probabilities_of({other: float(other == name) for other in names})
        assert row.tolist() == [float(expression == same.get(name, name)) for expression in EXPRESSIONS]


def test_probabilities_cut_to_two_digits_are_scaled_to_a_sum_of_one() -> None:
    row = probabilities_of({"happy": 0.5, "sad": 0.3, "neutral": 0.0})
    np.testing.assert_allclose(row, [0, 0, 0, 0.625, 0.375, 0, 0])
    assert row.dtype == np.float32


@pytest.mark.parametrize("by_name", [{"contempt": 1.0}, {"3": 1.0}, {"fear": 0.5, "fearful": 0.5}])
def test_names_that_are_not_distinct_expressions_are_refused(by_name: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^expected distinct names of expressions, found "):
        probabilities_of(by_name)


@pytest.mark.parametrize("by_name", [{}, {"happy": 0.0}, {"happy": float("nan")}, {"happy": 1.0, "sad": -0.1}])
def test_values_that_are_not_probabilities_are_refused(by_name: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^expected probabilities, found "):
        probabilities_of(by_name)


@pytest.mark.usefixtures("fake_node")
def test_faces_and_pictures_are_sent_and_their_answers_parsed(tmp_path: Path) -> None:
    faces = np.arange(3, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    with BrowserLibrary(tmp_path, "face-api", "tiny") as library:
        predictions = library.predict(faces)
        found, elapsed_s = library.find(np.full((60, 80), 4, np.uint8))
    expected = [EXPRESSIONS.index(name) for name in ("neutral", "happy", "sad")]
    assert predictions.probabilities.argmax(axis=1).tolist() == expected
    assert predictions.elapsed_s == elapsed_s == 1.5
    [face] = found
    assert face.box == Box(1, 2, 60, 80)
    assert face.score == 0.01
    assert EXPRESSIONS[face.probabilities.argmax()] == "fear"


def test_a_library_that_cannot_be_loaded_or_ends_is_reported(tmp_path: Path, fake_node: Path) -> None:
    fake_node.write_text(f"#!{sys.executable}\n")
    with pytest.raises(LookupError, match=r"^human cannot be loaded from .*; `node predict\.mjs` shows why$"):
        BrowserLibrary(tmp_path, "human", "none")
    fake_node.write_text(f"#!{sys.executable}\nprint('{{}}')\n")
    with (
        BrowserLibrary(tmp_path, "human", "none") as library,
        pytest.raises(RuntimeError, match=r"^the library ended$"),
    ):
        library.predict(np.zeros((1000, 48, 48), np.uint8))


def test_without_node_nothing_is_installed_or_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LookupError, match=r"^Node\.js with npm is not installed$"):
        install(tmp_path)
    with pytest.raises(LookupError, match=r"^Node\.js is not installed$"):
        BrowserLibrary(tmp_path, "human", "none")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("fake_node")
def test_a_failed_installation_is_reported_with_what_npm_says(tmp_path: Path) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('npm error code EINTEGRITY')\n")
    npm.chmod(0o755)
    with pytest.raises(LookupError, match=r"^npm cannot install the packages: 'npm error code EINTEGRITY'$"):
        install(tmp_path)
    assert (tmp_path / "package-lock.json").is_file()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize("per_call", [1, 2])
def test_the_script_predicts_with_a_stand_in_for_onnx_runtime_web(tmp_path: Path, per_call: int) -> None:
    module = tmp_path / "node_modules" / "onnxruntime-web"
    module.mkdir(parents=True)
    (module / "index.js").write_text(STAND_IN)
    (tmp_path / "card.json").write_text(json.dumps({"labels": FACE_API}))
    faces = np.arange(7, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    with BrowserLibrary(tmp_path, "onnxruntime-web", str(tmp_path), "graph.onnx") as library:
        for _ in range(2):
            predictions = library.predict(faces, per_call=per_call)
            assert predictions.probabilities.argmax(axis=1).tolist() == [6, 3, 4, 0, 2, 1, 5]
            assert 0 < predictions.elapsed_s < 60


def test_the_face_of_the_highest_score_near_the_center_counts() -> None:
    row = np.zeros(7, np.float32)
    near, better, far = (Found(Box(left, 90, 20, 20), score, row) for left, score in ((90, 0.5), (99, 0.8), (150, 0.9)))
    center = np.array([100.0, 100.0])
    assert nearest([near, better, far], center, 30) is better
    assert nearest([near, better, far], center, 5) is near
    assert nearest([far], center, 30) is None
    assert nearest([], center, 30) is None


@pytest.mark.parametrize("side", [96.0, 192.0])
def test_the_side_of_a_face_in_a_picture_is_known(side: float) -> None:
    how = Condition(side=side, roll=20)
    assert side_of(put_into_picture(np.zeros((48, 48), np.uint8), how, np.random.default_rng(0))) == pytest.approx(side)


def test_versions_are_exact_and_the_lock_file_names_no_server() -> None:
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    lock = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert lock[f"node_modules/{name}"]["version"] == version
    assert all("integrity" in package for place, package in lock.items() if place)
    assert not any("resolved" in package for package in lock.values())

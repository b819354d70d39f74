"""The graph that runs is the one asked for, or by a fixed rule the one that suits the device."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from fer_core import ConfigError, ModelCard, ModelError
from fer_core.exports_folder import INT8_WEIGHTS
from fer_infer import Scorer
from fer_infer import graph_selection as precision
from fer_infer import scorer as session
from fer_infer.cli import main
from fer_infer.graph_selection import find_graph

Images = NDArray[np.uint8]


@pytest.fixture
def folder(model: Any, model_class: Any, card_with: Callable[..., ModelCard], tmp_path: Path) -> Path:
    """An exports folder with three graphs, each of which scores differently."""
    path: Path = model.save(tmp_path / "three")
    for number, name in enumerate(("int8", "fp16"), start=1):
        other = model_class(metadata=card_with(precision=name, selection=f"as {name}, {INT8_WEIGHTS}").to_metadata())
        other.bias[:] = number
        file = other.save(tmp_path / name) / "model.onnx"
        file.rename(path / f"model.{name}.onnx")
    return path


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def pretend(*, cuda: bool) -> None:
        monkeypatch.setattr(precision, "available_devices", lambda: ["cpu", "cuda"] if cuda else ["cpu"])

    return pretend


@pytest.mark.parametrize(
    ("device", "cuda", "expected"),
    [
        ("cpu", False, "int8"),
        ("cpu", True, "int8"),
        ("auto", False, "int8"),
        ("auto", True, "fp16"),
        ("cuda", True, "fp16"),
    ],
)
def test_auto_takes_what_suits_the_device(
    folder: Path, hardware: Callable[..., None], device: str, cuda: bool, expected: str
) -> None:
    hardware(cuda=cuda)
    files = {"fp32": "model.onnx", "int8": "model.int8.onnx", "fp16": "model.fp16.onnx"}
    assert find_graph(folder, "auto", device) == folder / files[expected]


@pytest.mark.parametrize("missing", ["int8", "fp16"])
@pytest.mark.parametrize("cuda", [False, True])
def test_auto_takes_float32_where_the_suited_graph_is_missing(
    folder: Path, hardware: Callable[..., None], missing: str, cuda: bool
) -> None:
    (folder / f"model.{missing}.onnx").unlink()
    hardware(cuda=cuda)
    suited = "fp16" if cuda else "int8"
    expected = "model.onnx" if missing == suited else f"model.{suited}.onnx"
    assert find_graph(folder, "auto", "auto").name == expected


def test_a_graph_for_a_gpu_that_cannot_take_it_gives_way_to_that_of_the_cpu(
    folder: Path, hardware: Callable[..., None], images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_graph = session.open_graph

    def without_cuda(path: Path, content: bytes, device: str, cuda: Any) -> tuple[Any, str]:
        opened.append(device)
        return open_graph(path, content, "cpu", cuda)[0], "the GPU is full"

    monkeypatch.setattr(session, "open_graph", without_cuda)
    hardware(cuda=True)
    scorer = Scorer(folder, "auto")
    assert (scorer.card.precision, scorer.path.name, opened) == ("int8", "model.int8.onnx", ["auto", "cpu"])
    assert scorer.provider_note == "the GPU is full"
    np.testing.assert_array_equal(scorer.run(images)[0], Scorer(folder, "cpu", "int8").run(images)[0])
    assert Scorer(folder, "auto", "fp16").card.precision == "fp16"  # which was asked for


def test_float32_alone_needs_no_look_at_the_hardware(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "available_devices", None)
    assert find_graph(exports, "auto", "auto") == exports / "model.onnx"


@pytest.mark.parametrize("name", ["fp32", "int8", "fp16"])
def test_the_graph_asked_for_is_the_one_that_scores(folder: Path, images: Images, model: Any, name: str) -> None:
    scorer = Scorer(folder, "cpu", name)
    assert scorer.card.precision == name
    expected = model.run(images)[0]
    if name != "fp32":
        expected = expected - model.bias + {"int8": 1, "fp16": 2}[name]
    np.testing.assert_allclose(scorer.run(images)[0], expected, rtol=0, atol=1e-4)


def test_a_file_stands_for_itself_whatever_lies_beside_it(folder: Path, hardware: Callable[..., None]) -> None:
    hardware(cuda=True)
    assert Scorer(folder / "model.onnx", "cpu").card.precision == "fp32"
    assert Scorer(folder / "model.int8.onnx", "cpu").card.precision == "int8"


@pytest.mark.parametrize("name", ["int8", "fp16"])
def test_a_precision_that_is_not_there_is_refused_with_the_file_expected(exports: Path, name: str) -> None:
    message = f"{exports}: expected model.{name}.onnx for precision {name}, found none"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        Scorer(exports, "cpu", name)


@pytest.mark.parametrize(("file", "asked"), [("model.onnx", "int8"), ("model.int8.onnx", "fp32")])
def test_a_file_of_another_precision_than_asked_for_is_refused(folder: Path, file: str, asked: str) -> None:
    found = "fp32" if asked == "int8" else "int8"
    with pytest.raises(ModelError, match=rf"{file}: expected a graph of precision {asked}, found {found}$"):
        Scorer(folder / file, "cpu", asked)


def test_a_graph_under_the_name_of_another_precision_is_refused(folder: Path) -> None:
    (folder / "model.fp16.onnx").replace(folder / "model.int8.onnx")
    with pytest.raises(ModelError, match=r"model\.int8\.onnx: expected a graph of precision int8, found fp16$"):
        Scorer(folder / "model.int8.onnx", "cpu")


@pytest.mark.parametrize("asked", ["auto", "int8"])
def test_an_int8_graph_that_states_no_small_weights_is_refused(
    folder: Path, model_class: Any, card_with: Callable[..., ModelCard], tmp_path: Path, asked: str
) -> None:
    other = model_class(metadata=card_with(precision="int8", selection="of all 8 bits").to_metadata())
    (other.save(tmp_path / "old") / "model.onnx").replace(folder / "model.int8.onnx")
    why = "expected an int8 graph with weights of 7 bits, which gives equal results on all processors"
    with pytest.raises(ModelError, match=rf"model\.int8\.onnx: {why}; `fer-train export` makes a new one$"):
        Scorer(folder, "cpu", asked)


def test_an_unknown_precision_is_refused(exports: Path) -> None:
    with pytest.raises(ConfigError, match=r"^precision: expected one of auto, fp32, int8, fp16, found 'int4'$"):
        Scorer(exports, "cpu", "int4")


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_the_commands_say_which_precision_ran(
    folder: Path, images: Images, tmp_path: Path, csv_of: Callable[..., str], name: str
) -> None:
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images, emotion=[0] * len(images)))
    settings = [str(data), "--model", str(folder), "--device", "cpu", "--precision", name]
    for command, output in {"score": "out.csv", "evaluate": "evaluation"}.items():
        done = CliRunner().invoke(main, [command, *settings, "--output", str(tmp_path / output)])
        assert done.exit_code == 0, done.output
        assert f"ran on CPUExecutionProvider in {name} (CPU requested)\n" in done.output
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["precision"] == name

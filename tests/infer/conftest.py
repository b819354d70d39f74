"""A small exported model, its slow reference in NumPy, and files of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_core import EXPRESSIONS, Faces, ModelCard
from fer_core.synthetic.data_set import synthesize

MEAN, STD = 129.5, 65.0


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plain line of progress, which a slow machine would have among the lines that tests expect."""
    monkeypatch.setattr("fer_core.terminal.progress.PLAIN_INTERVAL_S", float("inf"))


def make_card(labels: Sequence[str] = EXPRESSIONS, **changes: Any) -> ModelCard:
    entries: dict[str, Any] = {
        "architecture": "linear",
        "architecture_arguments": {},
        "labels": tuple(labels),
        "input_size": (48, 48),
        "standardization": {"mean": MEAN, "std": STD},
        "temperature": {"value": 1.0, "fitted_on": "none"},
        "precision": "fp32",
        "weights_sha256": "0" * 64,
        "training_data": {"source": "drawn", "sha256": "1" * 64, "rows": {"Training": 1}},
        "selection": "none",
        "seeds": (0,),
        "scores": {},
        "versions": {},
        "git_commit": "unknown",
    }
    return ModelCard(**entries | changes)


@dataclass
class Model:
    """A linear classifier of standardized pixels; `save` writes it as an exports folder."""

    labels: Sequence[str] = EXPRESSIONS
    input_name: str = "faces"
    input_type: int = TensorProto.UINT8
    input_shape: Sequence[int | str] = ("batch", 48, 48)
    output_name: str = "probabilities"
    metadata: dict[str, str] | None = None
    poison: bool = False
    weights: NDArray[np.float32] = field(init=False)
    bias: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(20260131)
        self.weights = rng.normal(0, 0.03, (2304, len(self.labels))).astype(np.float32)
        self.bias = rng.normal(0, 1, len(self.labels)).astype(np.float32)
        if self.poison:
            self.bias[1] = np.nan

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The slow reference: one face and one class at a time, in float64."""
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        logits = np.zeros((len(images), len(bias)))
        for face, image in enumerate(images):
            pixels = (image.ravel().astype(np.float64) - MEAN) / STD
            for label in range(len(bias)):
                logits[face, label] = sum(pixels * weights[:, label]) + bias[label]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return logits, powers / powers.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> Path:
        classes = len(self.labels)
        constants = {
            "mean": np.float32(MEAN),
            "std": np.float32(STD),
            "weights": self.weights,
            "bias": self.bias,
            "flat": np.array([-1, 2304]),
        }
        nodes = [
            helper.make_node("Cast", [self.input_name], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["pixels", "mean"], ["centered"]),
            helper.make_node("Div", ["centered", "std"], ["standardized"]),
            helper.make_node("Reshape", ["standardized", "flat"], ["features"]),
            helper.make_node("MatMul", ["features", "weights"], ["products"]),
            helper.make_node("Add", ["products", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [self.output_name], axis=-1),
        ]
        scores: list[tuple[str, list[str | int | None]]] = [
            ("logits", ["batch", classes]),
            (self.output_name, ["batch", classes]),
        ]
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info(self.input_name, self.input_type, self.input_shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in scores],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        card = make_card(self.labels)
        helper.set_model_props(model, card.to_metadata() if self.metadata is None else self.metadata)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / "model.onnx")
        card.save_json(folder / "card.json")
        return folder


@pytest.fixture(scope="session")
def model_class() -> type[Model]:
    return Model


@pytest.fixture(scope="session")
def card_with() -> Callable[..., ModelCard]:
    return make_card


@pytest.fixture(scope="session")
def model() -> Model:
    return Model()


@pytest.fixture(scope="session")
def exports(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound exports folder; tests that harm one make their own."""
    return model.save(tmp_path_factory.mktemp("exports") / "linear")


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """Thirty random faces; the reference tells their labels apart by far more than rounding."""
    return np.random.default_rng(7).integers(0, 256, (30, 48, 48), dtype=np.uint8)


@pytest.fixture(scope="session")
def drawn_faces() -> Faces:
    """Return a hundred drawn faces with labels and splits."""
    return synthesize(100, seed=3)


@pytest.fixture(scope="session")
def csv_of() -> Callable[..., str]:
    """Return the text of a CSV of faces; `columns` are (name, cells) beside the pixels."""

    def text(images: NDArray[np.uint8], pixels_name: str = "pixels", **columns: Sequence[object]) -> str:
        lines = [",".join([*columns, pixels_name])]
        for n, image in enumerate(images):
            cells = [str(cells[n]) for cells in columns.values()]
            lines.append(",".join([*cells, " ".join(map(str, image.ravel().tolist()))]))
        return "\n".join(lines) + "\n"

    return text

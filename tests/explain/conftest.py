"""Tiny networks with known weights, drawn faces as a CSV, and an exports folder made from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CNN, DNN, make_card, make_network, write_csv
from torch import nn

from fer_core import Faces
from fer_core.synthetic.drawn_faces import draw_faces
from fer_train.exporting.graph import write_graph
from fer_train.runs.checkpoint import save_weights


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks are faster without threads, and sums are then always taken in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def faces() -> Faces:
    drawn = draw_faces(21, seed=3)
    return Faces(drawn.images, np.arange(2, 23), drawn.labels)


@pytest.fixture
def cnn() -> nn.Module:
    return make_network("course-cnn", CNN)


@pytest.fixture
def dnn() -> nn.Module:
    return make_network("course-dnn", DNN)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, faces: Faces) -> Path:
    path = tmp_path_factory.mktemp("data") / "faces.csv"
    assert faces.labels is not None
    ids = ["<script>alert(1)</script>", *[f"face-{row}" for row in faces.rows[1:].tolist()]]
    return write_csv(path, faces.images, faces.labels.tolist(), ids)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    folder.mkdir()
    network = make_network("course-cnn", CNN)
    card = make_card(network, "course-cnn", CNN)
    write_graph(network, card, folder / "model.onnx")
    save_weights(folder / "weights.safetensors", network.state_dict(), card)
    card.save_json(folder / "card.json")
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never exported, of a dense network."""
    folder = tmp_path_factory.mktemp("runs") / "dense"
    folder.mkdir()
    network = make_network("course-dnn", DNN)
    save_weights(folder / "ema.safetensors", network.state_dict(), make_card(network, "course-dnn", DNN))
    return folder

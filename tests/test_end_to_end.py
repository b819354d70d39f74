"""The whole road on drawn faces, as a user walks it: by the three programs, each in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_core import read_faces

BIN = Path(sys.executable).parent


def program(name: Any, *arguments: Any, cwd: Any) -> Any:
    command = [BIN / name, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("road")
    program("fer-train", "synthesize", "faces.csv", "--faces", 300, "--seed", 1, cwd=folder)
    small = [
        "--architecture-argument",
        "widths=[4,8,8]",
        "--architecture-argument",
        "hidden=16",
        "--epochs",
        2,
        "--batch-size",
        32,
    ]
    program("fer-train", "fit", "faces.csv", "--output", "runs/small", *small, cwd=folder)
    program("fer-train", "export", "runs/small", "--output", "exports/small", cwd=folder)
    program("fer-infer", "score", "faces.csv", "--model", "exports/small", "--output", "out.csv", cwd=folder)
    return folder


def test_every_prediction_equals_that_of_the_pytorch_original(road: Path) -> None:
    from fer_train.prediction import predict_logits
    from fer_train.runs.checkpoint import load_model

    images = read_faces(road / "faces.csv").images
    expected = predict_logits(load_model(road / "exports" / "small"), images).argmax(axis=1)
    with (road / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(number) for number in range(300)]
    np.testing.assert_array_equal([int(row["label"]) for row in rows], expected)


def test_both_evaluations_give_the_same_figures(road: Path) -> None:
    for name, arguments in {
        "fer-infer": ["evaluate", "faces.csv", "--model", "exports/small"],
        "fer-train": ["evaluate", "faces.csv", "--model", "runs/small"],
    }.items():
        program(name, *arguments, "--split", "PublicTest", "--output", name, cwd=road)
    first, second = (json.loads((road / name / "metrics.json").read_text()) for name in ("fer-infer", "fer-train"))
    assert first["n"] == second["n"] == 30
    assert first["accuracy"] == second["accuracy"]
    assert first["unseen"] == second["unseen"]
    assert first["nll"] == pytest.approx(second["nll"], rel=1e-5)
    assert first["ece"] == pytest.approx(second["ece"], abs=1e-5)
    assert (road / "fer-infer" / "confusion.csv").read_text() == (road / "fer-train" / "confusion.csv").read_text()


def test_the_report_proves_that_it_explains_the_scored_model(road: Path) -> None:
    program(
        "fer-explain", "report", "faces.csv", "--split", "PublicTest", "--model", "exports/small", "--worst", 3,
        "--output", "report", cwd=road,
    )  # fmt: skip
    page = (road / "report" / "index.html").read_text()
    card = json.loads((road / "exports" / "small" / "card.json").read_text())
    assert card["weights_sha256"] in re.sub(r"<wbr>|\s", "", page)
    stored = np.load(road / "report" / "attributions.npz")
    assert stored["attributions"].shape[1:] == (48, 48)
    assert np.isfinite(stored["attributions"]).all()


def test_nothing_temporary_is_left_behind(road: Path) -> None:
    assert [path for path in road.rglob("*") if path.name.endswith((".part", ".old"))] == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("through_a_link", [False, True])
def test_the_demo_deletes_no_faces_that_it_is_given(tmp_path: Path, through_a_link: bool) -> None:
    """In a checkout of its own: what it makes anew is the folder demo/ beside scripts/."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / "demo" / "tree").mkdir(parents=True)
    (checkout / "demo" / "faces.csv").write_text("mine")
    shutil.copy(Path(__file__).resolve().parent.parent / "scripts" / "demo.sh", checkout / "scripts")
    if through_a_link:
        (tmp_path / "link").symlink_to(checkout)
    script = tmp_path / ("link" if through_a_link else "checkout") / "scripts" / "demo.sh"
    for data, message in (
        ("demo/faces.csv", "demo: DATA is in demo/, which would be deleted; move it elsewhere"),
        ("demo", "demo: DATA is in demo/, which would be deleted; move it elsewhere"),
        ("no/where.csv", "demo: expected a file or folder of faces, but no/where.csv does not exist"),
    ):
        done = subprocess.run(["bash", script, data], cwd=checkout, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{message}\n")
        assert (checkout / "demo" / "faces.csv").read_text() == "mine"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("name", ["notes.txt", "report/notes.txt", "run/notes.csv", "exports/mine/card.json"])
@pytest.mark.parametrize("listed", [False, True])
def test_the_demo_deletes_nobodys_files_in_its_folder(tmp_path: Path, name: str, listed: bool) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(Path(__file__).resolve().parent.parent / "scripts" / "demo.sh", checkout / "scripts")
    earlier = ("faces.csv", "report/index.html", "run/metrics.csv") if listed else ()
    for file in (*earlier, name):
        (checkout / "demo" / file).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "demo" / file).write_text("mine")
    if listed:
        (checkout / "demo" / ".files").write_text("".join(f"demo/{file}\n" for file in earlier))
    done = subprocess.run(["bash", checkout / "scripts" / "demo.sh"], capture_output=True, text=True)
    message = f"demo: demo/{name} was not created by an earlier demo and would be deleted; move it elsewhere\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
    assert (checkout / "demo" / name).read_text() == "mine"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(("accuracy", "code"), [(0.81, 0), (0.6, 0), (0.599, 1), (0.124, 1)])
def test_the_demo_fails_where_its_network_has_not_learned(tmp_path: Path, accuracy: float, code: int) -> None:
    """With programs that only write the accuracy, so that no network is trained here."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(Path(__file__).resolve().parent.parent / "scripts" / "demo.sh", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    for name in ("fer-train", "fer-infer", "fer-explain"):
        script = (
            f"#!/bin/sh\nmkdir -p demo/evaluation\necho '{{\"accuracy\": {accuracy}}}' > demo/evaluation/metrics.json\n"
        )
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for _ in range(2):  # the second one replaces what the first one made
        done = subprocess.run(
            ["bash", tmp_path / "scripts" / "demo.sh"], capture_output=True, text=True, env=environment
        )
        assert done.returncode == code
        assert f"Accuracy {100 * accuracy:.1f}% on the held-out faces (PublicTest)" in done.stdout
        assert "fer-infer web --model demo/exports/small --output demo/page" in done.stdout
        assert done.stderr == (
            f"demo: expected an accuracy of at least 0.60, found {accuracy}: the network has not learned\n"
            if code
            else ""
        )

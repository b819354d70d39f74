"""The program: exit codes, one line an error, and help for whatever it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from fer_infer.cli import main
from fer_infer.config import COLUMNS, DEFAULT_BATCH_SIZE, DEVICES
from fer_infer.runtime import session as devices
from fer_infer.scoring.pipeline import CPU_BATCHES

Images = NDArray[np.uint8]
PROGRAM = [sys.executable, "-c", "from fer_infer.cli import main; main(prog_name='fer-infer')"]


@pytest.fixture
def data(images: Images, csv_of: Callable[..., str], tmp_path: Path) -> Path:
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(images, emotion=[n % 7 for n in range(30)]))
    return path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.mark.parametrize(("name", "command"), [("fer-infer", main), *main.commands.items()])
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help
    assert len(command.help) > 40
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("name", ["score", "evaluate", "doctor"])
def test_help_is_printed(name: str) -> None:
    done = run(name, "--help")
    assert done.exit_code == 0
    assert done.output.startswith("Usage: fer-infer " + name)


def test_choices_and_defaults_are_those_of_the_library() -> None:
    options = {parameter.name: parameter for parameter in main.commands["score"].params}
    assert tuple(options["columns"].type.choices) == COLUMNS  # type: ignore[attr-defined]
    assert tuple(options["device"].type.choices) == DEVICES  # type: ignore[attr-defined]
    assert f"default: {DEFAULT_BATCH_SIZE}" in options["batch_size"].help  # type: ignore[attr-defined]


def test_inputs_of_a_graph_are_not_taken_for_options(data: Path, model_class: Any, tmp_path: Path) -> None:
    folder = model_class(input_name="images").save(tmp_path)
    done = run("score", data, "--model", folder, "--output", tmp_path / "out.csv", "--device", "cpu")
    assert done.exit_code == 1
    expected = "expected input 'faces' uint8 (batch, 48, 48), found 'images' uint8 (batch, 48, 48)"
    assert done.stderr == f"fer-infer: {folder / 'model.onnx'}: {expected}\n"


def test_version_is_told() -> None:
    done = run("--version")
    assert done.exit_code == 0
    assert done.output.startswith("fer-infer, version ")


def test_score_writes_and_says_where(data: Path, exports: Path, tmp_path: Path) -> None:
    done = run("score", data, "--model", exports, "--output", tmp_path / "out.csv", "--device", "cpu")
    assert done.exit_code == 0, done.output
    first, predicted, provider = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'out.csv'}: 30 rows in ")
    assert predicted.startswith("predicted: angry ")
    assert provider == "ran on CPUExecutionProvider in fp32 (CPU requested)"
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 31


def test_every_option_of_score_reaches_the_library(data: Path, exports: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    with data.open("a") as file:
        file.write("0,1 2 3\n")
    options = ["--columns", "logits", "--tta", "flip", "--device", "cpu", "--batch-size", 8, "--threads", 1]
    options += ["--on-error", "skip"]
    done = run("score", data, "--model", exports, "--output", tmp_path / "out.csv", *options, "--force")
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'out.csv.rejects.csv'}: rows left out: 1" in done.stdout
    assert done.stdout.endswith("(CPU requested), test-time augmentation flip\n")
    assert (tmp_path / "out.csv").read_text().startswith("id,label,angry,")


def test_standard_input_is_a_dash(data: Path, exports: Path, tmp_path: Path) -> None:
    arguments = ["score", "-", "--model", str(exports), "--output", str(tmp_path / "out.csv"), "--device", "cpu"]
    done = subprocess.run([*PROGRAM, *arguments], input=data.read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith(b"score: ")] == []  # progress, if slow
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 31


def test_evaluate_writes_and_says_where(data: Path, exports: Path, tmp_path: Path) -> None:
    done = run("evaluate", data, "--model", exports, "--output", tmp_path / "scores", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "of 30 faces, 95% interval" in done.stdout
    assert "expected calibration error" in done.stdout
    assert "most confused: " in done.stdout
    assert (tmp_path / "scores" / "metrics.json").is_file()


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_wrong_input_is_one_line_and_exit_code_1(command: str, exports: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "absent.csv", "--model", exports, "--output", tmp_path / "out.csv"]
    done = run(command, *paths, "--device", "cpu")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"fer-infer: {tmp_path / 'absent.csv'}: cannot be ")
    assert done.stderr.endswith(": No such file or directory\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["score"],
        ["score", "faces.csv"],
        ["score", "faces.csv", "--model", "m", "--output", "o", "--columns", "labels"],
        ["score", "faces.csv", "--model", "m", "--output", "o", "--batch-size", "0"],
        ["evaluate", "faces.csv", "--model", "m"],
        ["sing"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.skipif(devices.cuda_problem() is None, reason="there is a GPU")
def test_cuda_without_a_gpu_is_one_line_and_leaves_nothing(data: Path, exports: Path, tmp_path: Path) -> None:
    arguments = ["score", str(data), "--model", str(exports), "--output", str(tmp_path / "out.csv")]
    done = subprocess.run([*PROGRAM, *arguments, "--device", "cuda"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("fer-infer: CUDA was requested but is not available: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


def test_a_failed_run_does_not_wait_for_a_silent_pipe(data: Path, model_class: Any, tmp_path: Path) -> None:
    """The reader is still waiting for its next row when the model fails on the first ones."""
    folder = model_class(poison=True).save(tmp_path / "poisoned")
    arguments = ["score", "-", "--model", str(folder), "--output", str(tmp_path / "out.csv"), "--batch-size", "1"]
    arguments += ["--threads", "1"]
    with subprocess.Popen([*PROGRAM, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"".join(data.read_bytes().splitlines(keepends=True)[: 1 + CPU_BATCHES]))
        process.stdin.flush()
        code = process.wait(timeout=60)
        line = process.stderr.read().decode()
    assert code == 1
    assert line == f"fer-infer: {folder / 'model.onnx'}: the logits of -, row 2, are not finite\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "poisoned"]


def test_doctor_prints_its_table() -> None:
    done = run("doctor")
    assert done.exit_code == 0, done.output
    for subject in ("python", "processors", "ONNX Runtime", "NVIDIA driver", "provider of a session"):
        assert any(line.startswith(subject) for line in done.stdout.splitlines()), subject


def test_doctor_fails_where_the_model_does(tmp_path: Path) -> None:
    done = run("doctor", "--model", tmp_path)
    assert done.exit_code == 1
    assert "\nprovider of a session   problem  " in done.stdout
    why = "expected an exports folder, found no model.onnx in it; `fer-train export` makes one from a run"
    assert done.stderr == f"fer-infer: provider of a session: {tmp_path}: {why}\n"


def test_columns_are_chosen_by_role(images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path) -> None:
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images, "gray", target=[n % 7 for n in range(30)], emotion=["-"] * 30, note=[""] * 30))
    common = ("--model", exports, "--device", "cpu", "--column", "pixels=gray")
    done = run("score", data, "--output", tmp_path / "out.csv", *common)
    assert done.exit_code == 0, done.output
    assert done.stderr == f"fer-infer: {data}: columns left out: 'target', 'note'\n"
    done = run("evaluate", data, "--output", tmp_path / "evaluation", *common, "--column", "label=target")
    assert done.exit_code == 0, done.output
    assert done.stderr == f"fer-infer: {data}: columns left out: 'note'\n"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["label"], "expected ROLE=NAME with one of pixels, label, split, id, found 'label'"),
        (["emotion=label"], "expected ROLE=NAME with one of pixels, label, split, id, found 'emotion=label'"),
        (["label=a", "label=b"], "expected one column of label, found 'a' and 'b'"),
    ],
)
def test_a_malformed_choice_of_columns_is_a_mistake_of_usage(
    data: Path, exports: Path, tmp_path: Path, pairs: list[str], message: str
) -> None:
    options = [part for pair in pairs for part in ("--column", pair)]
    done = run("score", data, "--model", exports, "--output", tmp_path / "out.csv", *options)
    assert done.exit_code == 2
    assert f"Invalid value for '--column': {message}" in " ".join(done.stderr.split())


def test_a_split_is_evaluated_by_any_of_its_names(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path
) -> None:
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images, emotion=["Happy", "sad"] * 15, split=["train", "val", "TEST"] * 10))
    for asked, split in (("TRAIN", "Training"), ("val", "validation"), ("test", "test")):
        arguments = ("evaluate", data, "--model", exports, "--output", tmp_path / split, "--split", asked)
        done = run(*arguments, "--device", "cpu")
        assert done.exit_code == 0, done.output
        figures = json.loads((tmp_path / split / "metrics.json").read_text())
        assert (figures["split"], figures["n"]) == (split, 10)
    done = run("evaluate", data, "--model", exports, "--output", tmp_path / "none", "--split", "PublicTest")
    assert done.stderr == f"fer-infer: {data}: has no row of split 'PublicTest'; found Training, test, validation\n"


def test_scoring_a_short_file_loads_nothing_that_it_does_not_need(data: Path, exports: Path, tmp_path: Path) -> None:
    heavy = "{'numba', 'llvmlite', 'scipy', 'sklearn', 'matplotlib', 'PIL', 'rich', 'pandas', 'torch', 'pyarrow'}"
    arguments = ["score", data, "--model", exports, "--output", tmp_path / "out.csv", "--columns", "probabilities"]
    code = (
        "import sys\n"
        "from fer_infer.cli import main\n"
        f"main({[str(argument) for argument in arguments]}, standalone_mode=False)\n"
        f"assert not {heavy} & sys.modules.keys(), {heavy} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from fer_infer.cli import main\n"
        "main(['score', '--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'onnxruntime', 'sklearn', 'matplotlib', 'numba', 'rich', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr

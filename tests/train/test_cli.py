from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from fer_core import read_faces
from fer_core.faces import Faces
from fer_core.io.csv.writer import write_csv
from fer_train.cli import main
from fer_train.models import ARCHITECTURES
from fer_train.runs.checkpoint import load_model_and_card


def run_command(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


ARGUMENTS = ["--architecture-argument", "widths=[2,2,2]", "--architecture-argument", "hidden=4"]
SMALL = ["--epochs", 1, "--batch-size", 64, *ARGUMENTS]


def test_every_command_and_option_has_help() -> None:
    for command in main.commands.values():
        assert command.help
        assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


def test_help_needs_no_torch() -> None:
    script = (
        "import sys\nfrom fer_train.cli import main\nassert 'torch' not in sys.modules and 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_synthesize_writes_faces_that_read_back(tmp_path: Path) -> None:
    result = run_command("synthesize", tmp_path / "out.csv", "--faces", 20, "--seed", 1)
    assert result.exit_code == 0
    assert "out.csv: 20 drawn faces" in result.output
    assert len(read_faces(tmp_path / "out.csv", "Training")) == 16
    again = run_command("synthesize", tmp_path / "out.csv")
    assert again.exit_code == 1
    assert again.output == f"fer-train: {tmp_path}/out.csv: exists already; --force replaces it\n"


def test_architectures_are_listed_with_their_sizes() -> None:
    header, *lines = run_command("architectures").output.splitlines()
    assert header.split() == ["architecture", "parameters", "multiply-adds", "description"]
    assert [line.split()[0] for line in lines] == list(ARCHITECTURES)
    assert lines[0].split()[:3] == ["course-cnn", "2,813,207", "241,710,848"]


def test_architectures_are_listed_without_torch() -> None:
    script = "import sys\nfrom fer_train.cli import main\nmain(['architectures'], standalone_mode=False)\n"
    subprocess.run([sys.executable, "-c", script + "assert 'torch' not in sys.modules"], check=True)


def test_an_architecture_is_described_with_its_arguments_and_settings() -> None:
    text = run_command("architectures", "compact").output
    assert "parameters: 472,999\n  multiply-adds per face: 28,330,880\n" in text
    assert "100% of multiply-adds in full int8 kernels" in text
    assert "arguments: widths=[[32],[32,64,64,64],[128,128,128]], space_to_depth=false, dropout=0.1\n" in text
    assert 'optimizer="sgd", lr=0.1' in text
    assert "the defaults of `fer-train fit`" in run_command("architectures", "course-dnn").output
    unknown = run_command("architectures", "vgg")
    assert unknown.exit_code == 1
    assert unknown.output.startswith("fer-train: architecture: expected one of course-cnn, ")


def test_audit_prints_counts_and_writes_findings(tmp_path: Path, data: Path) -> None:
    result = run_command("audit", data, "--output", tmp_path / "found")
    assert result.exit_code == 0
    assert "200 faces" in result.output
    assert "0 faces in 0 groups of exact duplicates" in result.output
    assert "0 faces in 0 groups of near duplicates" in result.output
    header = "kind,group,row,label,split,conflict,leak,similarity,flat_share\n"
    assert (tmp_path / "found" / "findings.csv").read_text() == header
    again = run_command("audit", data, "--output", tmp_path / "found", "--no-near-duplicates")
    assert (again.exit_code, again.output) == (
        1,
        f"fer-train: {tmp_path}/found: exists already; --force replaces it\n",
    )
    short = run_command("audit", data, "--no-near-duplicates")
    assert short.exit_code == 0
    assert "near" not in short.output


def test_dropped_faces_stand_in_the_settings_and_the_card_and_a_resumed_run_drops_them_too(
    tmp_path: Path, drawn: Faces
) -> None:
    faces = drawn.take([0, 0, *range(200)])
    labels = faces.labels.copy()
    labels[0] = (labels[0] + 1) % 7
    write_csv(replace(faces, labels=labels), tmp_path / "conflict.csv")
    run = tmp_path / "run"
    fitted = run_command("fit", tmp_path / "conflict.csv", "--output", run, *SMALL, "--drop-conflicts", "--drop-leaks")
    assert fitted.exit_code == 0, fitted.output
    config = json.loads((run / "config.json").read_text())
    assert (config["drop_conflicts"], config["drop_leaks"]) == (True, True)
    card = load_model_and_card(run)[1]
    assert card.training_data["dropped"] == {"conflicts": 3, "leaks": 0}
    assert card.training_data["rows"]["Training"] == 159
    resumed = run_command("fit", tmp_path / "conflict.csv", "--output", run, "--resume")
    assert resumed.exit_code == 0, resumed.output


def test_fit_resume_evaluate_and_export_from_the_command_line(tmp_path: Path, data: Path) -> None:
    run, out = tmp_path / "runs" / "small", tmp_path / "exports" / "small"
    fitted = run_command("fit", data, "--output", run, *SMALL)
    assert fitted.exit_code == 0, fitted.output
    assert "epoch 1: training loss" in fitted.output
    assert "of 20 faces, 95% interval" in fitted.output
    resumed = run_command("fit", data, "--output", run, "--resume")
    assert resumed.exit_code == 0, resumed.output
    exported = run_command("export", run, "--output", out)
    assert exported.exit_code == 0, exported.output
    assert "parity on 20 faces" in exported.output
    for folder in (run, out):
        target = tmp_path / f"evaluation-{folder.parent.name}"
        evaluated = run_command("evaluate", data, "--model", folder, "--split", "PublicTest", "--output", target)
        assert evaluated.exit_code == 0, evaluated.output
        assert "of 20 faces, 95% interval" in evaluated.output
    figures = [(tmp_path / f"evaluation-{name}" / "metrics.json").read_text() for name in ("runs", "exports")]
    assert figures[0] == figures[1]


def test_resume_takes_no_other_settings(tmp_path: Path, data: Path) -> None:
    result = run_command("fit", data, "--output", tmp_path / "run", "--resume", "--lr", 1, "--epochs", 2)
    assert result.exit_code == 2
    assert "--resume uses the saved settings of the run; leave out --lr, --epochs" in result.output


@pytest.mark.parametrize("command", ["fit", "distill"])
def test_options_to_leave_out_are_named_as_they_are_typed(tmp_path: Path, data: Path, command: str) -> None:
    start = [command, data, "--output", tmp_path / "run"]
    settings = ["--ema", 0.9, "--architecture-argument", "hidden=4", "--no-augment", "--rotation", 3, "--drop-leaks"]
    result = run_command(*start, "--resume", *settings)
    assert result.exit_code == 2
    words = result.output.split("leave out ")[1].replace(",", "").split()
    assert set(words) == {"--ema", "--architecture-argument", "--no-augment", "--rotation", "--drop-leaks"}
    teachers = ["--teachers", "a"] if command == "distill" else []
    result = run_command(*start, *teachers, "--no-augment", "--rotation", 3, "--shift", 0.1)
    assert result.exit_code == 2
    assert "--no-augment cannot be combined with --rotation, --shift" in result.output


@pytest.mark.parametrize("text", ["batch_norm", "batch_norm=yes", "=1x"])
def test_architecture_arguments_that_are_no_json_are_usage_errors(tmp_path: Path, data: Path, text: str) -> None:
    result = run_command("fit", data, "--output", tmp_path / "run", "--architecture-argument", text)
    assert result.exit_code == 2
    assert f"expected KEY=JSON, e.g. batch_norm=true, found {text!r}" in result.output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--architecture-argument", "widths=[1]", "widths: expected three numbers of channels, found (1,)"),
        ("--architecture-argument", "hidden=0", "hidden: expected an integer of at least 1, found 0"),
        ("--seeds", "0,18446744073710", "--seed: expected 0 to 4,294,967,295, found 18446744073710"),
        ("--mild-epochs", 101, "--mild-epochs: expected at most the 100 epochs, found 101"),
        ("--whitening", None, "--whitening: expected a network with a convolution, found none"),
    ],
)
def test_wrong_settings_are_one_line_and_leave_nothing(
    tmp_path: Path, data: Path, option: str, value: int | str | None, message: str
) -> None:
    network = ["--architecture", "course-dnn"] if option == "--whitening" else []
    words = [option] if value is None else [option, value]
    result = run_command("fit", data, "--output", tmp_path / "run", *network, *words)
    assert result.exit_code == 1
    assert result.output == f"fer-train: {message}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--epochs", 0, "expected at least 1, found 0"),
        ("--lr", "nan", "expected above 0 and finite, found nan"),
        ("--architecture", "vgg", "'vgg' is not one of 'course-cnn', 'course-dnn', 'residual', 'residual-small'"),
    ],
)
def test_options_out_of_range_are_usage_errors(
    tmp_path: Path, data: Path, option: str, value: int | str, message: str
) -> None:
    result = run_command("fit", data, "--output", tmp_path / "run", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': {message}" in result.output


def test_a_wrong_row_stops_training_before_a_run_exists(tmp_path: Path, data: Path) -> None:
    damaged = tmp_path / "drawn.csv"
    damaged.write_text(data.read_text() + "3,1 2 3,Training\n")
    result = run_command("fit", damaged, "--output", tmp_path / "run", *SMALL)
    assert result.exit_code == 1
    assert "drawn.csv row 202, column 'pixels': expected 2304 integers in 0..255, found 3" in result.output
    assert not (tmp_path / "run").exists()


def test_int8_and_fp16_are_exported_from_the_command_line(
    tmp_path: Path, run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_train.exporting import quantize

    monkeypatch.setattr(quantize, "METHODS", {"MinMax": {}})
    settings = ["--int8", "--calibration", data, "--int8-tolerance", 100, "--fp16"]
    result = run_command("export", run, "--output", tmp_path / "small", *settings)
    assert result.exit_code == 0, result.output
    assert "int8 on 20 faces: " in result.output
    assert "fp16 on 20 faces: " in result.output
    assert "small: model.onnx, model.int8.onnx, model.fp16.onnx, weights.safetensors" in result.output


def test_int8_without_data_is_one_line(tmp_path: Path, run: Path) -> None:
    result = run_command("export", run, "--output", tmp_path / "small", "--int8")
    assert result.exit_code == 1
    expected = "fer-train: --int8: requires --calibration, the faces to calibrate on\n"
    assert result.output == expected


@pytest.mark.parametrize(
    ("capability", "precision", "told"), [("AVX2", "bf16", 1), ("AVX512", "bf16", 0), ("AVX2", "fp32", 0)]
)
def test_a_precision_that_the_processor_does_not_compute_in_is_told(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capability: str, precision: str, told: int
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    result = run_command("fit", data, "--output", tmp_path / "run", *SMALL, "--device", "cpu", "--precision", precision)
    assert result.exit_code == 0, result.output
    why = "this processor has no AVX-512, without which bf16 is about ten times slower than fp32"
    assert result.stderr.splitlines().count(f"fer-train: precision bf16: {why}") == told


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_an_argument_beyond_what_python_reads_is_wrong_usage(data: Path, tmp_path: Path, value: str) -> None:
    result = run_command("fit", data, "--output", tmp_path / "run", "--architecture-argument", f"hidden={value}")
    assert result.exit_code == 2
    assert "expected KEY=JSON, e.g. batch_norm=true, found 'hidden=" in result.output


def test_a_run_is_gone_on_with_by_the_command_that_began_it(data: Path, tmp_path: Path) -> None:
    assert run_command("fit", data, "--output", tmp_path / "run", *SMALL).exit_code == 0
    result = run_command("distill", data, "--output", tmp_path / "run", "--resume")
    assert result.exit_code == 1
    assert result.output == (
        f"fer-train: {tmp_path}/run: was not created by `distill`; resume it with `fer-train fit --resume`\n"
    )


def test_synthesize_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"sys.argv = ['fer-train', 'synthesize', {str(tmp_path / 'faces.csv')!r}, '--faces', '10']\n"
        "from fer_train.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "faces.csv").is_file()

"""What holds for the outputs of all commands: nobody's work is deleted, and two runs never share an output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fer_core.outputs.claims import claimed
from fer_explain.cli import main as explain
from fer_infer.cli import main as infer
from fer_train.cli import main as train

EXPORTS = Path(__file__).resolve().parents[1] / "exports"
MODEL = str(EXPORTS / "course-cnn")
FOLDERS: list[tuple[click.Group, str]] = [
    (infer, "crop absent.jpg"),
    (infer, f"evaluate absent.csv --model {MODEL}"),
    (infer, f"web --model {MODEL}"),
    (train, "audit absent.csv"),
    (train, f"evaluate absent.csv --model {MODEL}"),
    (train, f"export {MODEL}"),
    (train, "ensemble absent.csv one other"),
    (explain, f"report absent.csv --model {MODEL}"),
    (explain, f"maximize --model {MODEL} --layer 0"),
    (explain, f"filters absent.csv --model {MODEL} --layer 0"),
    (explain, f"feature-maps absent.csv --model {MODEL} --layer 0 --row 2"),
    (explain, f"faithfulness absent.csv --model {MODEL} --methods saliency"),
    (explain, f"sanity absent.csv --model {MODEL} --methods saliency"),
    (explain, f"ground-truth --model {MODEL} --methods saliency"),
    (explain, f"regions absent.csv --model {MODEL} --methods saliency"),
]
FILES: list[tuple[click.Group, str, str]] = [
    (infer, f"score absent.csv --model {MODEL} --output", ".csv, .csv.gz, .csv.zst or .parquet"),
    (infer, f"bench absent.csv --model {MODEL} --json", ".json"),
    (train, "synthesize", ".csv, .csv.gz or .csv.zst"),
    (explain, f"attribute absent.csv --model {MODEL} --output", ".npz"),
]


def run(program: click.Group, command: str, *more: object) -> Any:
    return CliRunner().invoke(program, [*command.split(), *map(str, more)])


def test_all_commands_that_write_are_here() -> None:
    known = {(program.name, command.split()[0]) for program, command, *_ in [*FOLDERS, *FILES]}
    writing = {
        (program.name, name)
        for program in (infer, train, explain)
        for name, command in program.commands.items()
        if any(option.name == "force" for option in command.params)
    }
    assert known == writing


@pytest.mark.parametrize(("program", "command"), FOLDERS, ids=[command.split()[0] for _, command in FOLDERS])
def test_force_never_replaces_a_folder_with_somebodys_work_and_says_so_before_any_work(
    program: click.Group, command: str, tmp_path: Path
) -> None:
    thesis = tmp_path / "keep" / "chapters" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    done = run(program, command, "--output", tmp_path / "keep", "--force")
    reason = "which does not belong to such an output and would be lost; move it or choose another output"
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"{program.name}: {tmp_path}/keep: contains chapters/thesis.tex, {reason}\n"
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize(("program", "command", "endings"), FILES, ids=[command.split()[0] for _, command, _ in FILES])
def test_force_never_replaces_a_file_of_another_kind(
    program: click.Group, command: str, endings: str, tmp_path: Path
) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years of work")
    done = run(program, command, thesis, "--force")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"{program.name}: {thesis}: expected the name of an output to end in {endings}\n"
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize(("program", "command"), FOLDERS, ids=[command.split()[0] for _, command in FOLDERS])
def test_an_output_that_another_run_writes_is_refused_before_any_work(
    program: click.Group, command: str, tmp_path: Path
) -> None:
    with claimed(tmp_path / "out"):
        done = run(program, command, "--output", tmp_path / "out", "--force")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{program.name}: {tmp_path}/out: is being written by another run (process ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", sorted(EXPORTS.iterdir()), ids=lambda path: path.name)
def test_the_exports_kept_here_can_be_made_anew(folder: Path) -> None:
    from fer_train.exporting.export import FOLDER

    FOLDER.require_ours(folder, folder)


@pytest.mark.parametrize("name", ["fer_train", "fer_infer", "fer_explain"])
def test_each_package_runs_as_a_module_under_the_name_of_its_program(name: str) -> None:
    program = name.replace("_", "-")
    command = [sys.executable, "-m", name]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Usage: {program} ")
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{program}, version ")
    done = subprocess.run([*command, "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Usage: {program} ")

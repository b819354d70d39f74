"""The README is run, and the help texts in the docs are held to what the programs print."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
SHIPPED = ("best", "compact", "course-cnn", "course-dnn")


def console_blocks(text: Any) -> Any:
    return re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)


def steps(block: Any) -> Any:
    """Split a console block into (command, the lines that it prints)."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line != "...":
            found[-1][1].append(line)
    return found


def shape(line: Any) -> Any:
    """What of a printed line does not depend on machine and chance: its words, without any number."""
    return re.sub(r"[\d.,%]+(e-?\d+)?", "#", line).strip()


@pytest.mark.parametrize("page", ["README.md", "docs/guides/quickstart.md"])
def test_the_commands_in_console_blocks_print_what_is_shown(page: str, tmp_path: Path) -> None:
    blocks = console_blocks((ROOT / page).read_text(encoding="utf-8"))
    example = [step for block in blocks for step in steps(block)]
    for name in ("exports", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    assert len(example) >= 2
    for command, lines in example:
        done = subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed = {shape(line) for line in done.stdout.splitlines()}
        for line in lines:
            assert shape(line) in printed, f"{command}\nprinted\n{done.stdout}\nnot\n{line}"


def test_no_two_examples_of_the_readme_write_the_same_output() -> None:
    outputs = re.findall(r"--output (\S+)", README) + re.findall(r'\.export\(\w+, "(.+?)"', README)
    assert len(outputs) > 4
    assert len(outputs) == len(set(outputs))


def updates() -> Any:
    spec = importlib.util.spec_from_file_location("update_docs", ROOT / "scripts" / "update_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_help_texts_are_those_of_the_programs() -> None:
    assert updates().page() == (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


def test_every_goal_that_was_measured_is_in_the_docs() -> None:
    measured = [line for line in RESULTS.splitlines() if re.search(r"\| at (least|most) [\d,.]+ \|", line)]
    assert len(measured) >= 15
    page = (ROOT / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
    assert updates().filled(page, results=updates().goals(RESULTS)) == page
    assert [line for line in measured if line not in page] == []


def test_goals_are_listed_under_the_titles_of_their_sections() -> None:
    results = "\n".join(
        [
            "# Measured on 2026-01-02 by `make bench`",
            *("", "a machine", "numpy 1", ""),
            *("reading", "two cores", "", "| goal | bound | found | reached |", "|---|---:|---:|---|"),
            *("| one | at least 5 | 6 | yes |", "| two | at most 1 | 1.5 | no |"),
            *("", "memory", "", "| goal | bound | found | reached |", "|---|---:|---:|---|"),
            *("| three | at most 1,000 | 999.5 | yes |", "| four | at least 3 | | not measured |"),
        ]
    )
    assert updates().goals(results).splitlines() == [
        "a machine",
        "numpy 1",
        "",
        "| measured on 2026-01-02 | goal | bound | found | reached |",
        "|---|---|---|---:|---|",
        "| reading | one | at least 5 | 6 | yes |",
        "|  | two | at most 1 | 1.5 | no |",
        "| memory | three | at most 1,000 | 999.5 | yes |",
        "|  | four | at least 3 | | not measured |",
        "",
        "2 of 4 goals were reached, 1 not measured.",
    ]


def test_the_quickstart_in_python_prints_what_its_comments_say(tmp_path: Path) -> None:
    block = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)[1]
    for name in ("exports", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"print\(.*\)  # (.*)", block)
    assert len(said) == 3
    for line, comment in zip(done.stdout.splitlines(), said, strict=True):
        assert line.startswith(comment) or float(line) == pytest.approx(float(comment), abs=0.01)
    assert (tmp_path / "explanation.png").stat().st_size > 10_000


def test_the_picture_is_what_the_code_draws(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "scripts" / "draw_readme_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.draw(tmp_path / "drawn.png")
    drawn, shown = (
        np.asarray(Image.open(path).convert("RGB"), np.int16) for path in (tmp_path / "drawn.png", module.PICTURE)
    )
    assert drawn.shape == shown.shape
    assert (np.abs(drawn - shown).max(axis=2) > 16).mean() < 0.01  # processors round differently


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 160


def test_the_models_in_the_readme_are_those_in_exports() -> None:
    rows = {
        row[0]: row
        for line in README.splitlines()
        if len(row := line.strip("| ").split(" | ")) == 5 and line.startswith("|")
    }
    for folder in [ROOT / "exports" / name for name in SHIPPED]:
        scores = json.loads((folder / "card.json").read_text(encoding="utf-8"))["scores"]["PublicTest"]
        low, high = scores["wilson_95"]
        assert rows[folder.name][3] == f"{scores['accuracy']:.2%} ({low:.2%} to {high:.2%})"
        int8 = json.loads((folder / "parity.json").read_text(encoding="utf-8"))["int8"]["chosen"]["agreement"]
        assert rows[folder.name][4] == f"{int8['accuracy']:.2%}"


@pytest.mark.parametrize(
    "text", ["a", "<!-- x -->\nb\n<!-- end of y -->\nc", "<!-- x -->\n\n<!-- end of x -->" * 2, "<!-- x -->b"]
)
def test_a_page_without_its_marks_is_left_as_it_is(text: str) -> None:
    with pytest.raises(ValueError, match="expected one block between <!-- x --> and <!-- end of x -->"):
        updates().filled(text, x="new")
    assert (
        updates().filled("a\n<!-- x -->\nb\n<!-- end of x -->\nc", x="new")
        == "a\n<!-- x -->\nnew\n<!-- end of x -->\nc"
    )


def test_the_files_that_readme_and_docs_link_to_exist() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8"))
        assert [link for link, _ in links if not (page.parent / link).exists()] == []
        for link, anchor in links:
            if anchor:
                text = (page.parent / link if link else page).read_text(encoding="utf-8")
                headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
                assert anchor in [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]

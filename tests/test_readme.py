"""The README is run, and the help texts in the docs are held to what the programs print."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def console_blocks(text):
    return re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)


def steps(block):
    """Split a console block into (command, the lines that it prints)."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line != "...":
            found[-1][1].append(line)
    return found


def shape(line):
    """What of a printed line does not depend on machine and chance: its words, without any number."""
    return re.sub(r"[\d.,%]+(e-?\d+)?", "#", line).strip()


@pytest.mark.parametrize("page", ["README.md", "docs/guides/quickstart.md"])
def test_the_commands_in_console_blocks_print_what_is_shown(page, tmp_path):
    blocks = console_blocks((ROOT / page).read_text(encoding="utf-8"))
    example = [step for block in blocks for step in steps(block)]
    (tmp_path / "exports").mkdir()
    for model in (ROOT / "exports").iterdir():
        (tmp_path / "exports" / model.name).symlink_to(model)
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    assert len(example) >= 3
    for command, lines in example:
        done = subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed = {shape(line) for line in done.stdout.splitlines()}
        for line in lines:
            assert shape(line) in printed, f"{command}\nprinted\n{done.stdout}\nnot\n{line}"


def updates():
    spec = importlib.util.spec_from_file_location("update_docs", ROOT / "scripts" / "update_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_help_texts_are_those_of_the_programs():
    assert updates().page() == (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert updates().readme(README, RESULTS) == README
    assert all(updates().help_text(program) in README for program in updates().PROGRAMS)


def test_every_goal_that_was_measured_stands_in_the_docs_and_those_that_were_missed_in_the_readme():
    measured = [line for line in RESULTS.splitlines() if re.search(r"\| at (least|most) [\d,.]+ \|", line)]
    missed = [line for line in measured if "| no |" in line]
    assert len(measured) >= 15
    page = (ROOT / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
    assert updates().filled(page, results=updates().goals(RESULTS, foremost=False)) == page
    assert [line for line in measured if line not in page] == []
    block = README.partition("<!-- results -->")[2].partition("<!-- end of results -->")[0]
    assert [line for line in missed if line not in block] == []
    assert block.count("| no |") == len(missed)
    assert f"Of {len(measured)} goals, {len(measured) - len(missed)} were reached" in block


def test_the_foremost_goals_are_the_first_of_each_section_and_those_missed():
    results = "\n".join(
        [
            "# Measured on 2026-01-02 by `make bench`",
            *("", "a machine", "numpy 1", ""),
            *("reading", "two cores", "", "| goal | bound | found | reached |", "|---|---:|---:|---|"),
            *("| one | at least 5 | 6 | yes |", "| two | at most 1 | -0.5 | yes |", "| three | at least 2 | 1 | no |"),
            *("", "memory", "", "| goal | bound | found | reached |", "|---|---:|---:|---|"),
            *("| four | at most 1,000 | 999.5 | yes |", "| five | at least 3 | | not measured |"),
        ]
    )
    assert updates().goals(results, foremost=True).splitlines()[-7:] == [
        "|---|---|---|---:|---|",
        "| reading | one | at least 5 | 6 | yes |",
        "|  | three | at least 2 | 1 | no |",
        "| memory | four | at most 1,000 | 999.5 | yes |",
        "|  | five | at least 3 | | not measured |",
        "",
        "Of 5 goals, 3 were reached, 1 not measured.",
    ]
    assert "|  | two | at most 1 | -0.5 | yes |" in updates().goals(results, foremost=False)


@pytest.mark.parametrize(
    "text", ["a", "<!-- x -->\nb\n<!-- end of y -->\nc", "<!-- x -->\n\n<!-- end of x -->" * 2, "<!-- x -->b"]
)
def test_a_page_without_its_marks_is_left_as_it_is(text):
    with pytest.raises(ValueError, match="expected one block between <!-- x --> and <!-- end of x -->"):
        updates().filled(text, x="new")
    assert (
        updates().filled("a\n<!-- x -->\nb\n<!-- end of x -->\nc", x="new")
        == "a\n<!-- x -->\nnew\n<!-- end of x -->\nc"
    )


@pytest.mark.parametrize("program", updates().PROGRAMS)
def test_every_command_stands_in_the_readme(program):
    module = importlib.import_module(f"{updates().PROGRAMS[program]}.cli")
    missing = [command for command in module.main.commands if f"{program} {command}" not in README]
    assert missing == []


def test_the_files_that_readme_and_docs_link_to_exist():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8"))
        assert [link for link, _ in links if not (page.parent / link).exists()] == []
        for link, anchor in links:
            if anchor:
                text = (page.parent / link if link else page).read_text(encoding="utf-8")
                headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
                assert anchor in [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]

"""Write generated parts of the documentation: the programs' `--help`, and the goals of benchmarks/RESULTS.md.

docs/reference/commands.md gets the help of each command, docs/reference/results.md the goals, and
docs/reference/attribution-methods.md the table of methods. The tests compare them with what the programs print and what
was measured.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click

from fer_explain.attribution import methods_table

PROGRAMS = {"fer-train": "fer_train", "fer-infer": "fer_infer", "fer-explain": "fer_explain"}
ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "docs" / "reference" / "commands.md"
METHODS = ROOT / "docs" / "reference" / "attribution-methods.md"
PAGE = ROOT / "docs" / "reference" / "results.md"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
GOALS = "| goal | bound | found | reached |"


def help_text(program: str, command: str | None = None) -> str:
    """Return what `PROGRAM [COMMAND] --help` prints, at a width of 100 columns."""
    group: click.Group = importlib.import_module(f"{PROGRAMS[program]}.cli").main
    parent = click.Context(group, info_name=program, max_content_width=100, terminal_width=100)
    if command is None:
        return group.get_help(parent)
    chosen = group.commands[command]
    context = click.Context(chosen, info_name=command, parent=parent, max_content_width=100, terminal_width=100)
    return chosen.get_help(context)


def page() -> str:
    """Return the whole of docs/reference/commands.md."""
    parts = [
        "# Commands",
        "Written by `scripts/update_docs.py`. Exit codes: 0 done, 1 wrong input or environment, 2 wrong usage.",
    ]
    for program, package in PROGRAMS.items():
        parts += [f"## {program}", f"```\n{help_text(program)}\n```"]
        for command in sorted(importlib.import_module(f"{package}.cli").main.commands):
            parts += [f"### {program} {command}", f"```\n{help_text(program, command)}\n```"]
    return "\n\n".join(parts) + "\n"


def goals(results: str) -> str:
    """Return the machine of RESULTS.md and all goals in it as one table, those of a section under its title."""
    title, machine, *lines = results.splitlines()
    rows, verdicts, section, before, in_goals = [], [], "", "", False
    for line in [machine, *lines]:
        if not line.startswith("|"):
            in_goals = False
            if line and not before:
                section = line
        elif line == GOALS:
            in_goals = True
        elif in_goals and not line.startswith("|---"):
            rows.append(f"| {section} {line}")
            verdicts.append(line.strip("| ").rpartition("|")[2].strip())
            section = ""  # only the first goal of a section names it
        before = line
    date = re.search(r"\d{4}-\d\d-\d\d", title)
    if date is None or not rows:
        raise ValueError(f"{RESULTS}: is not what `make bench` prints")
    head = f"| measured on {date[0]} {GOALS}\n|---|---|---|---:|---|"
    unknown = f", {n} not measured" if (n := verdicts.count("not measured")) else ""
    count = f"{verdicts.count('yes')} of {len(verdicts)} goals were reached{unknown}."
    return "\n".join([*(line for line in lines[:3] if line), "", head, *rows, "", count])


def filled(text: str, **blocks: str) -> str:
    """Return a page with its marked blocks renewed."""
    for name, block in blocks.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        if text.count(start) != 1 or rest.count(end) != 1:
            raise ValueError(f"expected one block between {start.strip()} and {end.strip()}")
        text = before + start + block + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    COMMANDS.write_text(page(), encoding="utf-8")
    results = RESULTS.read_text(encoding="utf-8")
    every = filled(PAGE.read_text(encoding="utf-8"), results=goals(results))
    PAGE.write_text(every, encoding="utf-8")
    METHODS.write_text(filled(METHODS.read_text(encoding="utf-8"), methods=methods_table()), encoding="utf-8")

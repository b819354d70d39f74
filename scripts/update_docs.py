"""Write what others say into the documentation: the programs' `--help`, and the goals of benchmarks/RESULTS.md.

The README gets the help of each program and the goals, docs/commands.md that of each command. The tests hold both to
what the programs print and to what was measured last.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click

PROGRAMS = {"fer-train": "fer_train", "fer-infer": "fer_infer", "fer-explain": "fer_explain"}
ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "docs" / "commands.md"
README = ROOT / "README.md"
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
    """Return the whole of docs/commands.md."""
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
    """Return the machine of RESULTS.md and every goal in it as one table, each under the title of its section."""
    title, machine, *lines = results.splitlines()
    rows, section, before, in_goals = [], "", "", False
    for line in [machine, *lines]:
        if not line.startswith("|"):
            in_goals = False
            if line and not before:
                section = line
        elif line == GOALS:
            in_goals = True
        elif in_goals and not line.startswith("|---"):
            rows.append(f"| {section} {line}")
            section = ""  # the first goal of a section names it
        before = line
    date = re.search(r"\d{4}-\d\d-\d\d", title)
    if date is None or not rows:
        raise ValueError(f"{RESULTS}: is not what `make bench` prints")
    head = f"| what, on {date[0]} {GOALS}\n|---|---|---|---:|---|"
    return "\n".join([*(line for line in lines[:3] if line), "", head, *rows])


def readme(text: str, results: str) -> str:
    """Return the README with the help of the three programs and the goals where it has them."""
    blocks = {
        "help": "\n\n".join(f"```\n{help_text(program)}\n```" for program in PROGRAMS),
        "results": goals(results),
    }
    for name, block in blocks.items():
        marks = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
        text = re.sub(marks, lambda m, block=block: m[1] + block + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    COMMANDS.write_text(page(), encoding="utf-8")
    texts = (path.read_text(encoding="utf-8") for path in (README, RESULTS))
    README.write_text(readme(*texts), encoding="utf-8")

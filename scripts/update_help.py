"""Write the present `--help` of each program and command into docs/commands.md; the tests hold it to that."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

PROGRAMS = {"fer-train": "fer_train", "fer-infer": "fer_infer", "fer-explain": "fer_explain"}
TARGET = Path(__file__).resolve().parent.parent / "docs" / "commands.md"


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
    parts = ["# Commands", "Written by `scripts/update_help.py`; exit codes are 0 done, 1 wrong input, 2 wrong usage."]
    for program, package in PROGRAMS.items():
        parts += [f"## {program}", f"```\n{help_text(program)}\n```"]
        for command in sorted(importlib.import_module(f"{package}.cli").main.commands):
            parts += [f"### {program} {command}", f"```\n{help_text(program, command)}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")

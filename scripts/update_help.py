"""Write the present `--help` of each program into README.md, and of each command into docs/commands.md.

The tests hold both to what the programs print.
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
        "Written by `scripts/update_help.py`. Exit codes: 0 done, 1 wrong input or environment, 2 wrong usage.",
    ]
    for program, package in PROGRAMS.items():
        parts += [f"## {program}", f"```\n{help_text(program)}\n```"]
        for command in sorted(importlib.import_module(f"{package}.cli").main.commands):
            parts += [f"### {program} {command}", f"```\n{help_text(program, command)}\n```"]
    return "\n\n".join(parts) + "\n"


def readme(text: str) -> str:
    """Return the README with the help of the three programs where it has them."""
    block = "\n\n".join(f"```\n{help_text(program)}\n```" for program in PROGRAMS)
    return re.sub(r"(<!-- help -->\n).*?(\n<!-- end of help -->)", lambda m: m[1] + block + m[2], text, flags=re.DOTALL)


if __name__ == "__main__":
    COMMANDS.write_text(page(), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")

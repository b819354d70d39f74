"""Commands, options, Python names and files that README and docs name exist."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fer_core", "fer_infer", "fer_train", "fer_explain")
PROGRAMS = {"fer-train": "fer_train", "fer-infer": "fer_infer", "fer-explain": "fer_explain"}
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "commands.md"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


def group(program: str) -> click.Group:
    main: click.Group = importlib.import_module(f"{PROGRAMS[program]}.cli").main
    return main


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command of ours in the code blocks of a page."""
    for block in FENCE.findall(page):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(rf"(?:{'|'.join(PROGRAMS)}) [a-z].*", line)
            if found and "Usage:" not in line and "..." not in line:
                yield shlex.split(found[0], comments=True)


def options_in_prose(page: str) -> Iterator[str]:
    """Yield the options in inline code that is an option or a command of ours."""
    names = {name for program in PROGRAMS for name in (program, *group(program).commands)}
    for code in re.findall(r"`([^`]+)`", FENCE.sub("", page)):
        if code.startswith("--") or code.split()[0] in names:
            yield from re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", code)


def check(words: list[str]) -> None:
    program, name, *arguments = words
    command = group(program).commands[name]
    if "--help" not in arguments:
        command.make_parser(click.Context(command, info_name=f"{program} {name}")).parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_code_blocks_exist_and_take_their_options(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        try:
            check(words)
        except (KeyError, click.UsageError) as error:
            pytest.fail(f"{page.relative_to(ROOT)}: {shlex.join(words)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_in_prose_exist(page: Path) -> None:
    named = set(options_in_prose(page.read_text(encoding="utf-8")))
    every = [command for program in PROGRAMS for command in group(program).commands.values()]
    known = {option for command in every for param in command.params for option in (*param.opts, *param.secondary_opts)}
    assert named - known - {"--help", "--version"} == set()


def is_python_name(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[depth:]:
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_names_and_files_in_prose_exist(page: Path) -> None:
    code = re.findall(r"`([^`\s]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))
    names = [name for name in code if re.fullmatch(r"fer_(?:core|infer|train|explain)\.[\w.]+", name)]
    paths = [path for path in code if re.fullmatch(r"(?:fer_\w+|tests|scripts|benchmarks|exports)/[\w./-]+", path)]
    assert [name for name in names if not is_python_name(name)] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_architecture_page_lists_every_folder_of_the_packages() -> None:
    page = (ROOT / "docs" / "reference" / "architecture.md").read_text(encoding="utf-8")
    folders = [found.parent for package in PACKAGES for found in (ROOT / package).rglob("*/__init__.py")]
    assert len(folders) > 15
    assert [
        folder.relative_to(ROOT)
        for folder in folders
        if f" {folder.name}/" not in page and f"/{folder.name}/" not in page
    ] == []


def test_python_names_are_found_by_import() -> None:
    assert is_python_name("fer_core.model_card.ModelCard.load_json")
    assert not is_python_name("fer_core.model_card.ModelCards")
    assert not is_python_name("fer_cores.model_card")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("fer-train fit faces.csv --no-such 3", "No such option"),
        ("$ fer-infer paint faces.csv", "paint"),
        ("fer-infer score a.csv \\\n    --modell x", "No such option"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, error: str) -> None:
    [words] = commands(f"text\n```console\n{line}\n```\n")
    with pytest.raises((KeyError, click.UsageError), match=error):
        check(words)


def test_an_option_in_prose_is_found() -> None:
    page = "`--a`, `fit --b 2`, `fer-infer score x --c`, `pip install --d`\n```\nfer-infer score --e\n```\n"
    assert list(options_in_prose(page)) == ["--a", "--b", "--c"]

"""Help, README, docs and docstrings use the words of the field, and none of a short list of phrases.

Each finding is printed with its place and a replacement.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {"fer-train": "fer_train", "fer-infer": "fer_infer", "fer-explain": "fer_explain"}
PACKAGES = ("fer_core", "fer_infer", "fer_train", "fer_explain")
WIDTH = 100

UNIT = "step|second|face|epoch|batch|class|file|device|core|seed|channel|row|image|pixel|filter|teacher|part|input"
COUNTED = "faces|rows|images|epochs|steps|points|bytes|values|multiply-adds|parameters|batches|scales|maps|requests"
COMPARED = "longer|more|less|fewer|better|worse|different|larger|smaller|faster|slower|higher|lower|other|need|way"


@dataclass(frozen=True)
class Rule:
    """A phrase, what to write instead, a text that has it, and one that has not."""

    pattern: str  # a space matches any white space
    instead: str
    bad: str
    good: str
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(self.pattern.replace(" ", r"\s+")))


RULES = [
    Rule(r"\bof all chance\b", "the random seed", "the seed of all chance", "the random seed"),
    Rule(r"\b[Tt]ell(?:s|ing)?\b|\btold\b", "identify, report, distinguish", "cannot be told", "cannot be identified"),
    Rule(r"\b[Cc]limb(?:s|ed|ing)?\b", "maximize, gradient ascent", "the image is climbed", "the image is optimized"),
    Rule(r"\b[Ww](?:akes?|aking|oken?)\b", "activate", "what wakes a filter", "what activates a filter"),
    Rule(r"\banswers? to\b", "respond to, activate", "a filter answers to brows", "the answer is 3"),
    Rule(r"\b[Mm]end(?:s|ed|ing)?\b", "fix", "mend the file", "amend the file"),
    Rule(r"\b[Bb]eside\b", "with, next to, alongside", "the file beside it", "besides, the file"),
    Rule(r"\bgo(?:es)? on\b", "resume, continue", "the run goes on", "the run continues"),
    Rule(r"\btakes? the place of\b", "replace", "it takes the place of SGD", "it takes place"),
    Rule(r"\banew\b", "again, from scratch", "it is made anew", "it is made again"),
    Rule(r"\bcan(?:not)? be had\b", "is (not) available", "CUDA cannot be had", "CUDA is not available"),
    Rule(rf"\b(?:{COUNTED}) an? (?:{UNIT})\b", "per", "128 faces a step", "the faces of a step"),
    Rule(rf"\b(?:one|two|three|once|twice) an? (?:{UNIT})\b", "per", "one a device", "one per device, a file"),
    Rule(rf"\ba (?:row|number|digit|name|scale) an? (?:{UNIT})\b", "per", "a row an epoch", "a row per epoch"),
    Rule(r"\bpasses a face\b(?! through)", "passes per face", "two passes a face", "passes a face through the network"),
    Rule(
        r"(?<!left\s)(?<!leave\s)(?<!leaves\s)(?<!let\s)(?<!-)\balone\b",
        "only, by itself",
        "in float32 alone",
        "is left alone",
    ),
    Rule(
        rf"(?<![Tt]here\s)\b(?:is|are) no (?!(?:{COMPARED})\b)[a-z]",
        "is not a",
        "this is no network",
        "there is no network, it is no longer used",
    ),
    Rule(r"\b(?:is|are) none of\b", "is not a", "it is none of these", "none of these is"),
    Rule(r"\d %", "95%, without a space", "95 % of them", "95% of them"),
    Rule(r"(?<!\w)[Ss]ome \d", "about", "some 20 minutes", "some of 20 minutes"),
    Rule(r"\bstands? in (?!for\b)", "is in", "it stands in the card", "it stands in for the card"),
    Rule(r"\bheat ?maps?\b", "attribution map", "a heat map", "an attribution map"),
    Rule(r"\b(?:views|one view|two views)\b", "augmented copies", "10 views of a face", "the image viewer"),
    Rule(
        r"\b(?i:that|this|each|every|a|the|its|same|other|given|no) usage\b(?! (?:error|events|statistics))",
        "split",
        "faces of that usage",
        "wrong usage; memory usage; its Usage column; pixels, label, usage or id",
    ),
    Rule(
        r"\brecipe's\b|\b(?:own|default|course's) recipe\b",
        "config; a recipe is a file of settings",
        "the recipe's optimizer",
        "the recipe file",
    ),
    Rule(
        r"\b(?:grey|(?:colou|behaviou|neighbou|favou)r\w*|licence|label(?:led|ling)|centr(?:e|es|ed|ing)|"
        r"(?:normal|optim|visual|initial|regular|maxim|minim|standard)is(?:e|es|ed|ing|ation)|artefacts?)\b",
        "US spelling",
        "labelled rows in grey",
        "labeled rows in gray",
    ),
]
FRAGMENT = Rule(r"^Of (?!course\b)", "a noun: 'Random seed.', 'Layer that ...'", "Of the drawing.", "Offset.")


@dataclass(frozen=True)
class Text:
    """A text that a person reads: to which place its findings count, where it is exactly, and its first line."""

    place: str
    where: str
    words: str
    line: int | None = None
    is_description: bool = False

    def findings(self) -> Iterator[str]:
        for rule in [*RULES, FRAGMENT] if self.is_description else RULES:
            for found in rule.regex.finditer(self.words):
                where = self.where
                if self.line is not None:
                    where += f":{self.line + self.words.count(chr(10), 0, found.start())}"
                yield f"{where}: {' '.join(found[0].split())!r}: write {rule.instead}"


def help_texts(program: str) -> Iterator[Text]:
    group: click.Group = importlib.import_module(f"{PROGRAMS[program]}.cli").main
    yield Text(program, program, group.help or "")
    for name, command in group.commands.items():
        yield Text(program, f"{program} {name}", command.help or "")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.help:
                yield Text(program, f"{program} {name} {parameter.opts[0]}", parameter.help, is_description=True)


def pages() -> list[Path]:
    generated = ROOT / "docs" / "reference" / "commands.md"
    docs = sorted(page for page in (ROOT / "docs").rglob("*.md") if page != generated)
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs]


def blank(text: str, *patterns: str) -> str:
    """Return the text with what matches replaced by nothing but its line ends, so that lines keep their numbers."""
    for pattern in patterns:
        text = re.sub(pattern, lambda found: "~" + "\n" * found[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    return text


BLOCKS = (r"^ *```.*?^ *```$", r"<!-- (\w+) -->.*?<!-- end of \1 -->")
"""Code blocks, and blocks that a program writes."""

CODE = r"`[^`]+`"
TARGET = r"(?<=\])\([^)]*\)"


def page_texts(page: Path) -> Iterator[Text]:
    name = page.relative_to(ROOT).as_posix()
    yield Text(name, name, blank(page.read_text(encoding="utf-8"), *BLOCKS, CODE, TARGET), line=1)


def example_texts() -> Iterator[Text]:
    """Yield the text cells of the examples, which are comments of a script."""
    for script in sorted((ROOT / "examples").glob("*.py")):
        name = script.relative_to(ROOT).as_posix()
        lines = script.read_text(encoding="utf-8").splitlines()
        prose = "\n".join(line[2:] if line.startswith("# ") else "" for line in lines)
        yield Text(name, name, blank(prose, *BLOCKS, CODE, TARGET), line=1)


def long_lines(page: Path) -> Iterator[str]:
    """Yield the lines of prose beyond `WIDTH`; tables, code blocks, headings, images and link targets do not count."""
    lines = blank(page.read_text(encoding="utf-8"), *BLOCKS, TARGET).splitlines()
    for number, line in enumerate(lines, start=1):
        if len(line) > WIDTH and not line.lstrip().startswith(("|", "#", "![")):
            yield f"{page.relative_to(ROOT)}:{number}: {len(line)} characters: wrap prose at {WIDTH}"


def docstring_texts(package: str) -> Iterator[Text]:
    """Yield the first line of each docstring, and the first line of each description in its sections."""
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (ast.get_docstring(node) or "").splitlines()
            if not lines:
                continue
            start = node.body[0].lineno
            yield Text(package, name, blank(lines[0], CODE), line=start)
            for number, (entry, line) in enumerate(pairwise(lines), start=1):
                if entry and not entry[0].isspace() and line.startswith("    "):
                    yield Text(package, name, blank(line.strip(), CODE), line=start + number, is_description=True)


def findings_by_place() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    helps = (text for program in PROGRAMS for text in help_texts(program))
    docs = (text for page in pages() for text in page_texts(page))
    strings = (text for package in PACKAGES for text in docstring_texts(package))
    for text in (*helps, *docs, *strings, *example_texts()):
        found.setdefault(text.place, []).extend(text.findings())
    for page in pages():
        found[page.relative_to(ROOT).as_posix()].extend(long_lines(page))
    return found


FOUND = findings_by_place()


@pytest.mark.parametrize("place", FOUND)
def test_texts_use_the_words_of_the_field(place: str) -> None:
    assert FOUND[place] == [], "\n".join(FOUND[place])


@pytest.mark.parametrize("rule", [*RULES, FRAGMENT], ids=lambda rule: rule.pattern[:30])
def test_each_rule_finds_its_phrase_and_spares_its_look_alike(rule: Rule) -> None:
    assert rule.regex.search(rule.bad)
    assert rule.regex.search(rule.bad.replace(" ", "\n"))
    assert not rule.regex.search(rule.good)


def test_a_finding_names_line_phrase_and_replacement() -> None:
    text = Text("README.md", "README.md", "One line.\nA rate of 128 faces\na step.", line=1)
    assert list(text.findings()) == ["README.md:2: 'faces a step': write per"]


def test_code_and_generated_blocks_are_not_read_and_lines_keep_their_numbers() -> None:
    page = "a `told`\n```\ntold\n```\n<!-- help -->\ntold\n<!-- end of help -->\n[b](told.md) told\n"
    text = blank(page, *BLOCKS, CODE, TARGET)
    assert [found.split(":")[1] for found in Text("x", "x", text, line=1).findings()] == ["8"]


if __name__ == "__main__":
    for place, texts in FOUND.items():
        print(*texts, f"{place}: {len(texts)}", sep="\n")  # noqa: T201

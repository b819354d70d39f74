"""The examples in docstrings run as written, and public names have one.

An example runs in a temporary working directory with `faces.csv` (64 drawn faces, made by
`fer-train synthesize faces.csv --faces 64 --seed 0`) and the shipped models, such as `exports/compact`. As in
`pytest --doctest-modules`, the names of the module are defined, and so is `np`.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_train.cli import main

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fer_core", "fer_infer", "fer_train", "fer_explain")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    with_examples = [file for file in files if ">>> " in file.read_text(encoding="utf-8")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in with_examples]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.fixture(scope="module")
def drawn_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("doctests") / "faces.csv"
    main(["synthesize", str(path), "--faces", "64", "--seed", "0"], standalone_mode=False)
    return path


@pytest.fixture
def workplace(drawn_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(drawn_faces, tmp_path)
    (tmp_path / "exports").mkdir()
    for model in (ROOT / "exports").iterdir():
        (tmp_path / "exports" / model.name).symlink_to(model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run_as_written(name: str, workplace: Path) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    ran = 0
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={"np": np}):
        ran += len(example.examples)
        runner.run(example, out=report.append)
    assert ran > 0
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def lacks_example(value: Any) -> bool:
    """Whether a function or class has no section `Examples`, or only skips it; constants and exceptions need none."""
    if not inspect.isroutine(value) and (not inspect.isclass(value) or issubclass(value, Exception)):
        return False
    text = inspect.getdoc(value) or ""
    return "doctest: +SKIP" in text or not re.search(r"^Examples\n-{8}\n", text, flags=re.MULTILINE)


def test_public_names_have_an_example() -> None:
    lacking = {
        f"{package}.{name}"
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
        if lacks_example(getattr(importlib.import_module(package), name))
    }
    assert lacking == set()

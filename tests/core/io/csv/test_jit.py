"""Compiled code is kept on disk where that is possible; what is damaged or out of date there is compiled again."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core.errors import TypingError

from fer_core.errors import CacheWarning
from fer_core.io.csv.jit import jit

MODULE = """
import numba
import constants
from fer_core.io.csv.jit import jit

@jit(numba.int64(numba.int64), constants=(constants,))
def add(x):
    return x + constants.SUMMAND
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Return a function that compiles and calls `add(1)` in a process of its own."""
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "constants.py").write_text("SUMMAND = 1\n")

    def run_() -> subprocess.CompletedProcess[str]:
        code = "from module import add; print(add(1), sum(add.stats.cache_hits.values()))"
        path = os.pathsep.join([str(tmp_path), *sys.path])
        variables = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": path}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)

    return run_


def files(folder: Path, ending: str) -> list[Path]:
    return sorted((folder / "cache").rglob(f"*.{ending}"))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
}
OTHER_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in its last byte": lambda content: content[:-1],
    "other bytes": lambda content: b"\xff" * len(content),
    "text": lambda content: b"<html>\n",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_damaged_files_are_replaced_with_one_note(
    tmp_path: Path, run: Callable[[], subprocess.CompletedProcess[str]], ending: str
) -> None:
    assert run().stdout.split() == ["2", "0"]
    assert run().stdout.split() == ["2", "1"]
    (file,) = files(tmp_path, ending)
    whole = file.read_bytes()
    for name, damage in DAMAGES.items():
        file.write_bytes(damage(whole))
        done = run()
        assert (done.returncode, done.stdout[:1]) == (0, "2"), name
        assert done.stderr.count("CacheWarning: ") == 1, name
        assert "compiled code cannot be reused" in done.stderr
        after = run()
        assert (after.stdout.split(), after.stderr) == (["2", "1"], ""), name


@pytest.mark.parametrize("damage", OTHER_DAMAGES.values(), ids=OTHER_DAMAGES)
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_no_damage_is_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))

    def double(x: Any) -> Any:
        return 2 * x

    signature = numba.int64(numba.int64)
    assert jit(signature)(double)(21) == 42
    (file,) = files(tmp_path, ending)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(CacheWarning, match=r"cache.*: compiled code cannot be reused \(.+\); compiling it again$"):
        assert jit(signature)(double)(21) == 42
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jit(signature)(double)(21) == 42


def test_a_changed_constant_is_compiled_in(tmp_path: Path, run: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    assert run().stdout.split() == ["2", "0"]
    (tmp_path / "constants.py").write_text("SUMMAND = 41\n")
    done = run()
    assert (done.stdout.split(), done.stderr) == (["42", "0"], "")


@pytest.mark.parametrize("error", [RuntimeError("no locator available"), OSError(28, "No space left on device")])
def test_functions_are_compiled_where_no_machine_code_can_be_kept(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    original = numba.njit
    asked = []

    def njit(*arguments: Any, cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr("fer_core.io.csv.jit.njit", njit)

    def double(x: Any) -> Any:
        return 2 * x

    assert jit(numba.int64(numba.int64))(double)(21) == 42
    assert asked == [True, False]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def triple(x: Any) -> Any:
        return 3 * x

    with pytest.warns(CacheWarning, match=r"compiled code cannot be reused \(OSError: .*No space left on device\)"):
        compiled = jit(numba.int64(numba.int64))(triple)
    assert compiled(14) == 42


def test_a_mistake_in_a_function_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def wrong(x: Any) -> Any:
        return x.nothing

    with pytest.raises(TypingError, match="Unknown attribute 'nothing'"):
        jit(numba.int64(numba.int64))(wrong)

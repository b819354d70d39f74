"""Libraries that do something to the user's process or cache when they are imported are imported in one place each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fer_core", "fer_infer", "fer_train", "fer_explain")


def imported(file: Path) -> Iterator[str]:
    """Name every module and every name of a module that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("module", "folders", "places"),
    [
        (
            "onnxruntime",
            (*PACKAGES, "benchmarks", "scripts", "tests"),
            {"fer_infer/runtime/onnx_runtime.py"},
        ),  # telemetry
        ("captum", PACKAGES, {"fer_explain/attribution/methods/captum_methods.py"}),  # imports pyplot
        ("matplotlib.pyplot", PACKAGES, set()),  # needs the backend of MPLBACKEND
        ("pylab", PACKAGES, set()),
    ],
)
def test_a_module_is_imported_only_where_its_effects_are_dealt_with(
    module: str, folders: tuple[str, ...], places: set[str]
) -> None:
    found = {
        str(file.relative_to(ROOT))
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        if any(f"{name}.".startswith(f"{module}.") for name in imported(file))
    }
    assert found == places


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from matplotlib import pyplot as plt", ["matplotlib.pyplot"]),
        ("import matplotlib.pyplot", ["matplotlib.pyplot"]),
        (
            "def f():\n    from onnxruntime.quantization import a, b",
            ["onnxruntime.quantization.a", "onnxruntime.quantization.b"],
        ),
    ],
)
def test_imports_are_found_wherever_they_are(tmp_path: Path, line: str, found: list[str]) -> None:
    file = tmp_path / "module.py"
    file.write_text(line)
    assert list(imported(file)) == found

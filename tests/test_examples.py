"""The notebooks of examples/ run, show what they say, and are what their scripts make."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

for needed in ("ipykernel", "jupytext", "nbclient"):
    pytest.importorskip(needed, reason=f"the notebooks need {needed}: pip install '.[notebooks]'")
v4 = pytest.importorskip("nbformat.v4")

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
LARGEST_NOTEBOOK = 1_500_000
"""Bytes of a committed notebook at most."""


def load_builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_examples", ROOT / "scripts" / "build_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = load_builder()


def run_small(name: str, folder: Path) -> tuple[Any, Path]:
    """Execute a script on few faces; return the notebook, and the folder with its output."""
    notebook = builder.execute(ROOT / "examples" / f"{name}.py", folder, {"FER_EXAMPLES": "small"})
    return notebook, folder / "examples" / "output" / name


def committed(script: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return content


def shown(notebook: Any, kind: str) -> list[Any]:
    """Return what the cells of a notebook show as `kind`, such as image/png; text is what they print."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    if kind == "text":
        return [output["text"] for output in outputs if output.get("name") == "stdout"]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def test_course_report_trains_compares_and_explains_two_networks(tmp_path: Path) -> None:
    notebook, output = run_small("course_report", tmp_path)
    for name in ("cnn", "dnn"):
        assert len((output / name / "metrics.csv").read_text().splitlines()) == 2  # one epoch
        assert json.loads((output / "exports" / name / "parity.json").read_text())["changed_predictions"] == 0
        assert json.loads((output / f"evaluation-{name}" / "metrics.json").read_text())["n"] == 20
    text = "".join(shown(notebook, "text"))
    assert re.search(r"correct only by the CNN: \d+ faces, only by the DNN: \d+ faces of 20; p = ", text)
    assert "features.3: 12 of 12 channels" in text
    assert "accuracy on 20 faces" in text
    assert len(shown(notebook, "image/png")) >= 9
    tables = "".join(shown(notebook, "text/html"))
    for title in ("multiply-adds per face", "course-cnn", "course-dnn", "most salient", "recall"):
        assert title in tables


def test_score_and_explain_ends_with_a_report_on_the_worst_mistakes(tmp_path: Path) -> None:
    notebook, output = run_small("score_and_explain", tmp_path)
    text = "".join(shown(notebook, "text"))
    assert "predictions.parquet: 100 rows, int8 on CPUExecutionProvider" in text
    assert "damaged.csv row 3, column 'pixels': expected" in text
    assert (output / "damaged_predictions.csv.rejects.csv").is_file()
    assert json.loads((output / "evaluation" / "metrics.json").read_text())["n"] == 100
    page = (output / "report" / "index.html").read_text(encoding="utf-8")
    rows = re.findall(r"row (\d+): predicted \w+", "".join(shown(notebook, "text/html")))
    assert len(set(rows)) == 2
    for row in rows:
        assert re.search(rf"\b{row}\b", page)
    assert len(shown(notebook, "image/png")) >= 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_committed_notebook_has_the_cells_of_its_script(script: Path) -> None:
    cells = [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in builder.read_script(script).cells]
    found = [
        (cell["id"], cell["cell_type"], "".join(cell["source"]), cell["metadata"])
        for cell in committed(script)["cells"]
    ]
    assert found == cells, f"run `make examples` and commit {script.stem}.ipynb"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_committed_notebook_was_executed_in_order_and_without_errors(script: Path) -> None:
    code = [cell for cell in committed(script)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert kinds <= {"display_data", "execute_result", "stream"}
    assert shown(committed(script), "image/png")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_committed_notebook_is_small_and_names_no_place_of_the_machine(script: Path) -> None:
    notebook = script.with_suffix(".ipynb")
    assert notebook.stat().st_size < LARGEST_NOTEBOOK
    without_images = re.sub(r"[A-Za-z0-9+/=]{200,}", "", notebook.read_text(encoding="utf-8"))
    assert re.findall(r"(?:/home|/root|/tmp|/usr|/work|/Users|site-packages)\S*|[A-Z]:\\\\\S*", without_images) == []
    assert "fer2013.csv:" not in without_images


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_text_of_notebooks_is_wrapped(script: Path) -> None:
    prose = [cell.source for cell in builder.read_script(script).cells if cell.cell_type == "markdown"]
    long = [line for text in prose for line in text.splitlines() if len(line) > 100 and "](http" not in line]
    assert long == []


def test_notebooks_show_figures_without_pyplot(tmp_path: Path) -> None:
    names = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    rows = [dict.fromkeys(names, 1.0)]
    code = f"from fer_train.runs.curves import plot_curves\nplot_curves({rows}, 'run', 'PublicTest')"
    notebook = v4.new_notebook(cells=[v4.new_code_cell(code)])
    builder.run(notebook, tmp_path)
    assert len(shown(notebook, "image/png")) == 1


def test_clean_removes_what_differs_between_executions() -> None:
    html = '<style>#T_0a1b2_row0 {}</style><table id="T_0a1b2"><td id="T_0a1b2_row0">T_shirt</td></table>'
    outputs = [
        v4.new_output("stream", name="stderr", text="fit cnn: 100 faces/s"),
        v4.new_output("stream", name="stdout", text="kept"),
        v4.new_output("display_data", {"text/html": html, "text/plain": "<Styler at 0x7f00aa>"}),
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("1", outputs=outputs)])
    builder.clean(notebook)
    kept = notebook.cells[0].outputs
    assert [output.get("name") for output in kept] == ["stdout", None]
    assert kept[1].data["text/html"] == html.replace("0a1b2", "0")
    assert kept[1].data["text/plain"] == "<Styler>"

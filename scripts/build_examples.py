"""Make the notebooks of examples/ from their scripts, executed on drawn faces: `make examples`.

The scripts are the source; they are in jupytext's percent format. A notebook that is committed never contains a face of
FER2013, because the environment variable that names its folder is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
CELL_TIMEOUT_S = 1200


def read_script(script: Path) -> Any:
    """Return a script as a notebook without outputs, whose cells are numbered."""
    notebook = jupytext.read(script)
    notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec",)}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def execute(script: Path, folder: Path, environment: Mapping[str, str] | None = None) -> Any:
    """Execute a script as a notebook, and return the notebook with its outputs.

    Parameters
    ----------
    script : Path
        Script of examples/.
    folder : Path
        Empty folder to work in; it gets the files that the notebooks open.
    environment : mapping of str to str, optional
        Environment variables to add.
    """
    workplace = folder / "examples"
    workplace.mkdir()
    shutil.copy(EXAMPLES / "astronaut.png", workplace)
    (folder / "exports").symlink_to(ROOT / "exports")
    notebook = read_script(script)
    run(notebook, workplace, environment)
    return notebook


def run(notebook: Any, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Execute a notebook in a folder, without a network and without the user's settings of Jupyter."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("FER2013_DIR", "FER_EXAMPLES")}
    with tempfile.TemporaryDirectory() as settings:
        places = dict.fromkeys(("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"), settings)
        connection = {"transport": "ipc", "connection_file": str(Path(settings) / "kernel.json")}
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_S,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": connection}),
        )
        client.execute(env=inherited | places | dict(environment or {}))


def clean(notebook: Any) -> None:
    """Remove from the outputs what differs between two executions: progress, addresses and random ids."""
    ids: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        return ids.setdefault(found[0], f"T_{len(ids)}")

    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = re.sub(r"\bT_[0-9a-f]{5}(?=\b|_)", numbered, data["text/html"])
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])


def main() -> None:
    """Execute each script, or those that are named, and write the notebooks."""
    for script in map(Path, sys.argv[1:] or SCRIPTS):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(script, Path(folder))
        clean(notebook)
        target = script.with_suffix(".ipynb")
        nbformat.write(notebook, target)
        sys.stdout.write(f"{target.name}: {len(notebook.cells)} cells, {target.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()

"""Select the graph of an exports folder to run: float32, or a lower precision that suits the device."""

from __future__ import annotations

from pathlib import Path

from fer_core import ModelError
from fer_core.exports_folder import GRAPH_FILES, ExportsFolder
from fer_infer.config import require
from fer_infer.runtime.session import available_devices


def find_graph(model: Path, precision: str, device: str) -> Path:
    """Return the ONNX file to run.

    Parameters
    ----------
    model : Path
        Exports folder, or an ONNX file, which is returned as it is.
    precision : {"auto", "fp32", "int8", "fp16"}
        `auto` selects fp16 on CUDA and int8 on CPU if the folder contains such a graph, else fp32.
    device : {"auto", "cpu", "cuda"}
        Device to run it on.

    Raises
    ------
    ModelError
        If the file is absent.
    ConfigError
        If `precision` is unknown.
    """
    require("precision", precision)
    if not model.is_dir():
        if not model.is_file():
            raise ModelError(f"{model}: expected an exports folder or an ONNX file, found none")
        return model
    if not ExportsFolder(model).exists():
        why = f"found no {GRAPH_FILES['fp32']} in it; `fer-train export` makes one from a run"
        raise ModelError(f"{model}: expected an exports folder, {why}")
    chosen = _suited(model, device) if precision == "auto" else precision
    file = model / GRAPH_FILES[chosen]
    if not file.is_file():
        raise ModelError(f"{model}: expected {file.name} for precision {chosen}, found none")
    return file


def _suited(folder: Path, device: str) -> str:
    """Return the precision that suits the device; a fixed rule, because timings vary between runs."""
    present = ExportsFolder(folder).precisions()
    if present == ("fp32",):
        return "fp32"  # without asking ONNX Runtime for its devices
    fast = "fp16" if device != "cpu" and "cuda" in available_devices() else "int8"
    return fast if fast in present else "fp32"

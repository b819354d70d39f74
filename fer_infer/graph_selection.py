"""Which graph of an exports folder is run: float32, or one of lower precision that suits the device."""

from __future__ import annotations

from pathlib import Path

from fer_core import ConfigError, ModelError
from fer_core.exports_folder import GRAPH_FILES, ExportsFolder
from fer_infer.runtime.session import available_devices


def find_graph(model: Path, precision: str, device: str) -> Path:
    """Return the ONNX file to run.

    Parameters
    ----------
    model : Path
        An exports folder, or an ONNX file, which stands for itself.
    precision : {"auto", "fp32", "int8", "fp16"}
        `auto` takes what the folder holds: fp16 on CUDA; int8 on a CPU; fp32 otherwise.
    device : {"auto", "cpu", "cuda"}
        On which it is to run.

    Raises
    ------
    ModelError
        If the file is absent.
    ConfigError
        If `precision` is unknown.
    """
    if precision != "auto" and precision not in GRAPH_FILES:
        raise ConfigError(f"precision: expected one of auto, {', '.join(GRAPH_FILES)}, found {precision!r}")
    if not model.is_dir():
        if not model.is_file():
            raise ModelError(f"{model}: expected an exports folder or an ONNX file, found none")
        return model
    if not ExportsFolder(model).exists():
        why = f"found no {GRAPH_FILES['fp32']} in it; `fer-train export` makes one of a run"
        raise ModelError(f"{model}: expected an exports folder, {why}")
    chosen = _suited(model, device) if precision == "auto" else precision
    file = model / GRAPH_FILES[chosen]
    if not file.is_file():
        raise ModelError(f"{model}: expected {file.name} for precision {chosen}, found none")
    return file


def _suited(folder: Path, device: str) -> str:
    """Return the precision that suits the device, by a rule and not by a timing, which would vary."""
    present = ExportsFolder(folder).precisions()
    if present == ("fp32",):
        return "fp32"  # without asking ONNX Runtime for its devices
    fast = "fp16" if device != "cpu" and "cuda" in available_devices() else "int8"
    return fast if fast in present else "fp32"

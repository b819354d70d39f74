"""Create ONNX Runtime sessions, and report the provider that they use and why it is not CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fer_core import DeviceError, FerError, ModelError
from fer_core.errors import NO_THREADS, lacks_threads
from fer_infer.config import require
from fer_infer.runtime.cuda import (
    CUDA_PROVIDER,
    LIBRARIES_REMEDY,
    CudaOptions,
    Obstacle,
    find_libraries,
    find_obstacle,
    preload_libraries,
)
from fer_infer.runtime.onnx_runtime import LOG_NOTHING, first_line, load_runtime

CPU_PROVIDER: Final = "CPUExecutionProvider"

SESSION_REMEDY: Final = "nvidia-smi, which reports whether the GPU is free and its driver"
"""Remedy if driver and libraries are present but no CUDA session can be created."""

PROBE_MODEL: Final = (
    # ModelProto, encoded by hand because the base installation lacks `onnx`; a field is tag, length and content.
    b"\x08\x08"  # ir_version = 8
    b"\x3a\x37"  # graph, 55 bytes
    b"\x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu"  # node: input "x", output "y", op_type "Relu"
    b"\x12\x05probe"  # name
    b"\x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"  # input "x": a tensor of float, shape (1,)
    b"\x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"  # output "y": likewise
    b"\x42\x02\x10\x0d"  # opset_import: version 13 of the default domain
)
"""Smallest model with a kernel, y = max(x, 0), to find out which providers this machine can use."""


def cuda_problem() -> Obstacle | None:
    """Return why CUDA cannot be used, or None if a session should be tried."""
    return find_obstacle(load_runtime())


def open_session(model: str | Path | bytes, device: str = "auto", cuda: CudaOptions | None = None) -> tuple[Any, str]:
    """Create a session on a device.

    Parameters
    ----------
    model : str, Path or bytes
        ONNX file, or its content.
    device : {"auto", "cpu", "cuda"}
        `auto` uses CUDA if the session reports it, else the CPU.
    cuda : CudaOptions, optional
        Options of the CUDA provider.

    Returns
    -------
    session : onnxruntime.InferenceSession
        Session on the CPU or on CUDA, see ``session.get_providers()[0]``. A call uses only the caller's thread.
    note : str
        Why it is not on CUDA; empty if it is.

    Raises
    ------
    DeviceError
        If `device` is ``"cuda"`` and the created session does not use CUDA; the message ends with a remedy.
    ConfigError
        If `device` is unknown.
    Exception
        Exception of ONNX Runtime if the model cannot be loaded on the CPU.
    """
    require("device", device)
    if device == "cpu":
        return _create(model, None), "CPU requested"
    obstacle = cuda_problem()
    if obstacle is None:
        opened = _try_cuda(model, cuda or CudaOptions())
        if not isinstance(opened, Obstacle):
            return opened, ""
        obstacle = opened
    if device == "cuda":
        raise DeviceError(f"CUDA was requested but is not available: {obstacle.text}; remedy: {obstacle.remedy}")
    return _create(model, None), obstacle.text


def open_graph(path: Path, content: bytes, device: str, cuda: CudaOptions | None) -> tuple[Any, str]:
    """Create a session as `open_session` does; raise ModelError, naming `path`, if the graph cannot be loaded."""
    try:
        return open_session(content, device, cuda)
    except FerError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base class
        if lacks_threads(error):
            raise DeviceError(NO_THREADS) from None
        raise ModelError(f"{path}: cannot be loaded by ONNX Runtime: {first_line(error)}") from None


def provider_text(provider: str, note: str, precision: str, tta: str = "none") -> str:
    """Return on which provider and in which precision a model ran, as a line."""
    augmented = "" if tta == "none" else f", test-time augmentation {tta}"
    return f"ran on {provider} in {precision}" + (f" ({note})" if note else "") + augmented


def _try_cuda(model: str | Path | bytes, options: CudaOptions) -> Any | Obstacle:
    """Return a session that uses CUDA, or why there is none."""
    runtime = load_runtime()
    preload_libraries(runtime)
    try:
        session = _create(model, options)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        return Obstacle(first_line(error), SESSION_REMEDY)
    if session.get_providers()[0] == CUDA_PROVIDER:
        return session
    missing = [name for name, found in find_libraries(runtime).items() if not found]
    if missing:
        return Obstacle(f"missing {', '.join(missing)}", LIBRARIES_REMEDY)
    return Obstacle("ONNX Runtime could not load its CUDA provider", SESSION_REMEDY)


def _create(model: str | Path | bytes, cuda: CudaOptions | None) -> Any:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = LOG_NOTHING
    options.intra_op_num_threads = 1  # `fer_infer.runtime.runners` makes concurrent calls
    providers = [CPU_PROVIDER] if cuda is None else [(CUDA_PROVIDER, cuda.provider_options()), CPU_PROVIDER]
    source = model if isinstance(model, bytes) else str(model)
    # Else ONNX Runtime replaces a failing provider and prints to standard output.
    return runtime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def available_devices() -> list[str]:
    """Return the devices on which a session can be created: ``["cpu"]`` or ``["cpu", "cuda"]``."""
    session, _ = open_session(PROBE_MODEL)
    return ["cpu", "cuda"] if session.get_providers()[0] == CUDA_PROVIDER else ["cpu"]

"""Which device an ONNX Runtime session really gets, and why it is not CUDA."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from fer_core import DeviceError, FerError, ModelError
from fer_core.errors import NO_THREADS, lacks_threads
from fer_core.io.reader import available_cores
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

SESSION_REMEDY: Final = "nvidia-smi, which says whether the GPU is free and which driver it has"
"""Where driver and libraries are there, and no session of CUDA can be had all the same."""

PROBE_MODEL: Final = (
    # ModelProto, written by hand for the base install has no `onnx`; a field is its tag, length and content.
    b"\x08\x08"  # ir_version = 8
    b"\x3a\x37"  # graph, 55 bytes
    b"\x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu"  # node: input "x", output "y", op_type "Relu"
    b"\x12\x05probe"  # name
    b"\x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"  # input "x": a tensor of float, shape (1,)
    b"\x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"  # output "y": likewise
    b"\x42\x02\x10\x0d"  # opset_import: version 13 of the default domain
)
"""The smallest model with a real kernel, y = max(x, 0): a session of it tells what this machine can run."""


def physical_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Return how many cores this process may use, where hardware threads that share one count once.

    Two threads of a core have one unit for matrix products between them. Where the system does not tell, each counts.
    """
    try:
        usable = os.sched_getaffinity(0)
        cores = {(topology / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii") for cpu in usable}
    except (AttributeError, OSError):  # not Linux, or a sandbox without /sys
        return available_cores()
    return min(len(cores), available_cores())


def cuda_problem() -> Obstacle | None:
    """Say why no CUDA session can be expected, or None where it is worth a try."""
    return find_obstacle(load_runtime())


def open_session(model: str | Path | bytes, device: str = "auto", cuda: CudaOptions | None = None) -> tuple[Any, str]:
    """Create a session on the device asked for.

    Parameters
    ----------
    model : str, Path or bytes
        An ONNX file, or its content.
    device : {"auto", "cpu", "cuda"}
        `auto` takes CUDA where the session itself reports it, and the CPU otherwise.
    cuda : CudaOptions, optional
        How the GPU is used where it is; the defaults of `CudaOptions` where None.

    Returns
    -------
    session : onnxruntime.InferenceSession
        On the CPU or on CUDA; ``session.get_providers()[0]`` tells. A call of it takes one thread, the caller's.
    note : str
        Why it is not on CUDA; empty where it is.

    Raises
    ------
    DeviceError
        If `device` is ``"cuda"`` and the created session is not on it; it ends with what would change that.
    ConfigError
        If `device` is unknown.
    Exception
        What ONNX Runtime raises where the model cannot be loaded on the CPU either.
    """
    require("device", device)
    if device == "cpu":
        return _create(model, None), "the CPU was asked for"
    obstacle = cuda_problem()
    if obstacle is None:
        opened = _try_cuda(model, cuda or CudaOptions())
        if not isinstance(opened, Obstacle):
            return opened, ""
        obstacle = opened
    if device == "cuda":
        raise DeviceError(f"cuda was asked for and cannot be had: {obstacle.text}; remedy: {obstacle.remedy}")
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
    why = "" if provider == CUDA_PROVIDER else "not CUDA: "
    augmented = "" if tta == "none" else f", test-time augmentation {tta}"
    return f"ran on {provider} in {precision}" + (f" ({why}{note})" if note else "") + augmented


def _try_cuda(model: str | Path | bytes, options: CudaOptions) -> Any | Obstacle:
    """Return a session that reports CUDA itself, or why there is none."""
    runtime = load_runtime()
    preload_libraries(runtime)
    try:
        session = _create(model, options)
    except Exception as error:  # ONNX Runtime's errors have no base of their own
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
    options.intra_op_num_threads = 1  # `fer_infer.runtime.runners` makes several calls at once
    providers = [CPU_PROVIDER] if cuda is None else [(CUDA_PROVIDER, cuda.provider_options()), CPU_PROVIDER]
    source = model if isinstance(model, bytes) else str(model)
    # Without this, a failing provider is replaced by another one and a line is printed on standard output.
    return runtime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def available_devices() -> list[str]:
    """Return the devices on which a real session was just created: ``["cpu"]`` or ``["cpu", "cuda"]``."""
    session, _ = open_session(PROBE_MODEL)
    return ["cpu", "cuda"] if session.get_providers()[0] == CUDA_PROVIDER else ["cpu"]

"""Which device an ONNX Runtime session really gets, and why it is not CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
import warnings
from pathlib import Path
from typing import Any, Final

from fer_core import ConfigError, DeviceError

DEVICES: Final = ("auto", "cpu", "cuda")
CPU_PROVIDER: Final = "CPUExecutionProvider"
CUDA_PROVIDER: Final = "CUDAExecutionProvider"

CUDA_REMEDY: Final = 'pip install "onnxruntime-gpu[cuda,cudnn]", beside an NVIDIA driver that supports its CUDA version'
"""How to get the provider where it is missing, in one line."""

CUDA_OPTIONS: Final = {
    # TensorFloat-32 keeps ten bits of each factor, which is not the float32 model that was exported.
    "use_tf32": "0",
    # The default search times the algorithms and may choose another one, with other roundings, on each run.
    "cudnn_conv_algo_search": "HEURISTIC",
}

LOG_NOTHING: Final = 4
"""Log severity "fatal": everything else that goes wrong arrives as an exception and is told in one line."""

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


def load_runtime() -> Any:
    """Import ONNX Runtime with its native log silenced.

    Raises
    ------
    DeviceError
        If it is not installed, or its installation is broken.
    """
    try:
        import onnxruntime

        onnxruntime.set_default_logger_severity(LOG_NOTHING)
    except (ImportError, AttributeError) as error:  # an AttributeError: what is left after one wheel overwrote another
        raise DeviceError(f"onnxruntime cannot be imported ({error}); `fer-infer doctor` says more") from None
    return onnxruntime


def driver_problem() -> str | None:
    """Say why the NVIDIA driver offers no GPU, or None where it offers at least one.

    Asking the driver first spares a machine without a GPU the native errors of a provider that cannot load.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver: {name} was not found"
    code = driver.cuInit(0)
    if code != 0:
        return f"the NVIDIA driver found no usable GPU: cuInit returned {code}"
    count = ctypes.c_int(0)
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code != 0 or count.value < 1:
        return "the NVIDIA driver found no GPU"
    return None


def cuda_problem() -> str | None:
    """Say why no CUDA session can be expected, or None where it is worth a try."""
    if CUDA_PROVIDER not in load_runtime().get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider"
    return driver_problem()


def preload_cuda() -> str:
    """Load the CUDA and cuDNN libraries that stand in site-packages; return what could not be loaded, in one line."""
    preload = getattr(load_runtime(), "preload_dlls", None)  # since ONNX Runtime 1.21
    if preload is None:
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preload()
    failures = [line.partition(":")[0] for line in said.getvalue().splitlines() if line.startswith("Failed to load ")]
    return ", ".join(failures)


def open_session(model: str | Path | bytes, device: str = "auto", threads: int | None = None) -> tuple[Any, str]:
    """Create a session on the device asked for.

    Parameters
    ----------
    model : str, Path or bytes
        An ONNX file, or its content.
    device : {"auto", "cpu", "cuda"}
        `auto` takes CUDA where the session itself reports it, and the CPU otherwise.
    threads : int, optional
        Threads within one operator on the CPU; ONNX Runtime's choice (the physical cores) where None.

    Returns
    -------
    session : onnxruntime.InferenceSession
        On the CPU or on CUDA; ``session.get_providers()[0]`` tells.
    note : str
        Why it is not on CUDA; empty where it is.

    Raises
    ------
    DeviceError
        If `device` is ``"cuda"`` and the created session is not on it.
    ConfigError
        If `device` is unknown or `threads` is below 1.
    Exception
        What ONNX Runtime raises where the model cannot be loaded on the CPU either.
    """
    if device not in DEVICES:
        raise ConfigError(f"device: expected one of {', '.join(DEVICES)}, found {device!r}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads: expected at least 1, found {threads}")
    if device == "cpu":
        return _create(model, threads, cuda=False), "the CPU was asked for"
    problem = cuda_problem()
    if problem is None:
        session, problem = _try_cuda(model, threads)
        if session is not None:
            return session, ""
    if device == "cuda":
        raise DeviceError(f"cuda was asked for and cannot be had: {problem}")
    return _create(model, threads, cuda=False), problem


def _try_cuda(model: str | Path | bytes, threads: int | None) -> tuple[Any, str]:
    """Return a session that reports CUDA itself, or None and why there is none."""
    missing = preload_cuda()
    try:
        session = _create(model, threads, cuda=True)
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        return None, first_line(error)
    if session.get_providers()[0] == CUDA_PROVIDER:
        return session, ""
    return None, missing or "ONNX Runtime could not load its CUDA provider"


def _create(model: str | Path | bytes, threads: int | None, *, cuda: bool) -> Any:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = [(CUDA_PROVIDER, CUDA_OPTIONS), CPU_PROVIDER] if cuda else [CPU_PROVIDER]
    source = model if isinstance(model, bytes) else str(model)
    # Without this, a failing provider is replaced by another one and a line is printed on standard output.
    return runtime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def first_line(error: Exception) -> str:
    """Return what ONNX Runtime said, in one line and without its code."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.split(" : ", 3)[-1]  # [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : what happened


def available_devices() -> list[str]:
    """Return the devices on which a real session was just created: ``["cpu"]`` or ``["cpu", "cuda"]``."""
    session, _ = open_session(PROBE_MODEL)
    return ["cpu", "cuda"] if session.get_providers()[0] == CUDA_PROVIDER else ["cpu"]

"""Device and precision of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from fer_core import DeviceError
from fer_core.errors import first_line, lacks_memory


def pick_device(name: str) -> torch.device:
    """Select a device by auto, cpu or cuda; raise DeviceError if CUDA is requested but not available."""
    if name == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        why = "this PyTorch is built for CPUs only" if built is None else f"CUDA {built} finds no GPU"
        raise DeviceError(f"`device='cuda'`: CUDA was requested but is not available: {why}")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_precision(name: str, device: torch.device) -> str:
    """Select bf16 for auto on a GPU that supports it in hardware, else fp32.

    CPUs with bf16 instructions differ: on some bf16 doubles the speed, on others it costs a third.
    """
    if name != "auto":
        return name
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def precision_note(device: str, precision: str) -> str:
    """Return a warning about a precision that is slow on this processor, or an empty text.

    Without AVX-512, oneDNN has no kernels for bf16, and those of PyTorch are plain loops: on an AMD EPYC (Zen 3) the
    course CNN trained at 5 faces/s in bf16 and at 72 in fp32.
    """
    on_cpu = pick_device(device).type == "cpu"
    if precision != "bf16" or not on_cpu or torch.backends.cpu.get_cpu_capability() not in ("NO AVX", "AVX2"):
        return ""
    return "precision bf16: this processor has no AVX-512, without which bf16 is about ten times slower than fp32"


def require_compiler(device: torch.device) -> None:
    """Compile a small function; raise DeviceError if that fails, usually because there is no C++ compiler."""
    try:
        torch.compile(functional.silu)(torch.zeros(8, device=device))
    except Exception as error:
        raise DeviceError(f"`compile=True`: torch.compile fails: {first_line(error)}") from None


@contextmanager
def lack_of_memory_named() -> Iterator[None]:
    """Raise DeviceError if PyTorch runs out of memory; its errors are not a MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise DeviceError("out of memory; a smaller `batch_size` needs less") from None
        raise

"""Where a network is trained, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from fer_core import DeviceError
from fer_core.errors import first_line, lacks_memory


def pick_device(name: str) -> torch.device:
    """Turn auto, cpu or cuda into a device; raise DeviceError where CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        why = "this PyTorch is built for the CPU alone" if built is None else f"no GPU answers CUDA {built}"
        raise DeviceError(f"--device cuda: {why}")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_precision(name: str, device: torch.device) -> str:
    """Turn auto into bf16 on a GPU that computes it in hardware, else fp32.

    CPUs that have bf16 instructions differ: on some it doubles the speed, on others it costs a third.
    """
    if name != "auto":
        return name
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def precision_note(device: str, precision: str) -> str:
    """Return what to know of a precision before training in it, or nothing.

    Without AVX-512 oneDNN has no kernels in bf16, and PyTorch's own are plain loops: on an AMD EPYC (Zen 3) the course
    CNN trained at 5 faces/s in bf16 and at 72 in fp32.
    """
    on_cpu = pick_device(device).type == "cpu"
    if precision != "bf16" or not on_cpu or torch.backends.cpu.get_cpu_capability() not in ("NO AVX", "AVX2"):
        return ""
    return "precision bf16: this processor has no AVX-512, without which bf16 is some ten times slower than fp32"


def require_compiler(device: torch.device) -> None:
    """Compile something small; raise DeviceError where nothing can be, mostly for want of a C++ compiler."""
    try:
        torch.compile(functional.silu)(torch.zeros(8, device=device))
    except Exception as error:
        raise DeviceError(f"--compile: torch.compile fails here: {first_line(error)}") from None


@contextmanager
def lack_of_memory_named() -> Iterator[None]:
    """Raise DeviceError where PyTorch finds no memory, on a GPU or on the CPU; its own errors are no MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise DeviceError("out of memory; a smaller --batch-size needs less") from None
        raise

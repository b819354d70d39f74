"""CUDA on this machine: driver, libraries, obstacles, and options of sessions."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
import warnings
import weakref
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

CUDA_PROVIDER: Final = "CUDAExecutionProvider"

WHEEL: Final = "onnxruntime" if sys.platform == "darwin" else "onnxruntime-gpu"
"""Distribution of ONNX Runtime for this platform."""

LIBRARIES_REMEDY: Final = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
WHEEL_REMEDY: Final = f"pip uninstall -y onnxruntime && {LIBRARIES_REMEDY}"

LIBRARIES: Final = {
    ("linux", "12"): "libcudart.so.12 libcublas.so.12 libcublasLt.so.12 libcufft.so.11 libcurand.so.10 libcudnn.so.9",
    ("linux", "13"): "libcudart.so.13 libcublas.so.13 libcublasLt.so.13 libcufft.so.12 libcurand.so.10 libcudnn.so.9",
    ("win32", "12"): "cudart64_12.dll cublas64_12.dll cublasLt64_12.dll cufft64_11.dll cudnn64_9.dll",
    ("win32", "13"): "cudart64_13.dll cublas64_13.dll cublasLt64_13.dll cufft64_12.dll cudnn64_9.dll",
}
"""Libraries that the CUDA provider links to, the CUDA runtime first, by platform and CUDA version."""


@dataclass(frozen=True)
class CudaOptions:
    """Options of the CUDA provider; `benchmarks.cuda_options` measures each option.

    Attributes
    ----------
    algorithm_search : {"HEURISTIC", "EXHAUSTIVE", "DEFAULT"}
        How cuDNN selects convolution algorithms. EXHAUSTIVE times them, so that runs may use different algorithms
        with different rounding.
    prefer_nhwc : bool
        Use channels-last tensors for convolutions, the native layout of tensor cores.
    tf32 : bool
        Use TensorFloat-32, which rounds factors to ten bits and so deviates from the exported float32 model.
    cuda_graph : bool
        Capture the first run of a batch size as a CUDA graph and replay it, which saves kernel launches.
    arena_growth : {"kNextPowerOfTwo", "kSameAsRequested"}
        How ONNX Runtime's memory arena grows; kSameAsRequested leaves more memory to other processes.
    page_locked : bool
        Stage batches in page-locked memory, which the GPU can read directly.
    """

    algorithm_search: Literal["HEURISTIC", "EXHAUSTIVE", "DEFAULT"] = "HEURISTIC"
    prefer_nhwc: bool = False
    tf32: bool = False
    cuda_graph: bool = False
    arena_growth: Literal["kNextPowerOfTwo", "kSameAsRequested"] = "kNextPowerOfTwo"
    page_locked: bool = True

    def provider_options(self) -> dict[str, str]:
        """Return the options under the names of ONNX Runtime."""
        return {
            "cudnn_conv_algo_search": self.algorithm_search,
            "prefer_nhwc": str(int(self.prefer_nhwc)),
            "use_tf32": str(int(self.tf32)),
            "enable_cuda_graph": str(int(self.cuda_graph)),
            "arena_extend_strategy": self.arena_growth,
        }


@dataclass(frozen=True)
class Obstacle:
    """Reason why CUDA cannot be used.

    Attributes
    ----------
    text : str
        Description of the problem.
    remedy : str
        Command or step that solves it.
    """

    text: str
    remedy: str


@dataclass(frozen=True)
class Driver:
    """NVIDIA driver.

    Attributes
    ----------
    version : str
        Version of the driver, e.g. 580.65.06; `unknown` if its management library does not report it.
    cuda : tuple of int
        Newest CUDA version that it supports, (major, minor).
    gpus : tuple of str
        Names of the GPUs visible to this process; at least one.
    """

    version: str
    cuda: tuple[int, int]
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.version}, up to CUDA {self.cuda[0]}.{self.cuda[1]}, {', '.join(self.gpus)}"


def find_driver() -> Driver | Obstacle:
    """Return the NVIDIA driver, or why it cannot be used.

    Checking it first avoids the native error messages of a provider that cannot be loaded.
    """
    install = "install an NVIDIA driver (https://www.nvidia.com/drivers) if there is an NVIDIA GPU"
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return Obstacle(f"no NVIDIA driver: {name} was not found", install)
    code = driver.cuInit(0)
    if code != 0:
        return Obstacle(f"the NVIDIA driver found no usable GPU: cuInit returned {code}", "nvidia-smi")
    count, cuda = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return Obstacle("the NVIDIA driver found no GPU", "nvidia-smi")
    driver.cuDriverGetVersion(ctypes.byref(cuda))  # 13020 is CUDA 13.2
    gpu = ctypes.create_string_buffer(256)
    gpus = []
    for number in range(count.value):
        driver.cuDeviceGetName(gpu, len(gpu), number)
        gpus.append(gpu.value.decode(errors="replace"))
    return Driver(_driver_version(), (cuda.value // 1000, cuda.value % 1000 // 10), tuple(gpus))


def _driver_version() -> str:
    try:
        library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    except OSError:
        return "unknown"
    text = ctypes.create_string_buffer(96)
    if library.nvmlInit_v2() != 0 or library.nvmlSystemGetDriverVersion(text, len(text)) != 0:
        return "unknown"
    library.nvmlShutdown()
    return text.value.decode(errors="replace")


def find_obstacle(runtime: Any) -> Obstacle | None:
    """Return why `runtime`, the module onnxruntime, cannot use CUDA, or None if a session should be tried."""
    driver = find_driver()
    if isinstance(driver, Obstacle):
        return driver
    if CUDA_PROVIDER not in runtime.get_available_providers():
        return Obstacle("this build of ONNX Runtime has no CUDA provider", WHEEL_REMEDY)
    needed = cuda_major(runtime)
    if needed and driver.cuda[0] < int(needed):
        text = f"the NVIDIA driver is {driver}; this build of ONNX Runtime needs CUDA {needed}"
        return Obstacle(text, f"install an NVIDIA driver for CUDA {needed} (https://www.nvidia.com/drivers)")
    return None


def cuda_major(runtime: Any) -> str:
    """Return the major CUDA version that `runtime` was built for; empty if it is unknown."""
    return str(getattr(runtime, "cuda_version", None) or "").partition(".")[0]


def preload_libraries(runtime: Any) -> None:
    """Load the CUDA and cuDNN libraries in site-packages, which are not on the search path of the linker."""
    preload = getattr(runtime, "preload_dlls", None)  # since ONNX Runtime 1.21
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            preload()


def find_libraries(runtime: Any) -> dict[str, bool]:
    """Return for each library that the CUDA provider links to whether it can be loaded; empty if none is known."""
    preload_libraries(runtime)
    found = {}
    for name in LIBRARIES.get((sys.platform, cuda_major(runtime)), "").split():
        try:
            ctypes.CDLL(name)
        except OSError:
            found[name] = False
        else:
            found[name] = True
    return found


def page_lock(array: NDArray[np.uint8], runtime: Any) -> bool:
    """Page-lock the memory of an array for its lifetime, so that the GPU can read it directly.

    Returns
    -------
    bool
        Whether it succeeded; otherwise copies are only slower.
    """
    library = next(iter(LIBRARIES.get((sys.platform, cuda_major(runtime)), "").split()), None)
    try:
        cuda = ctypes.CDLL(library) if library else None
    except OSError:
        cuda = None
    address = ctypes.c_void_p(array.ctypes.data)
    if cuda is None or cuda.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), 0) != 0:
        return False
    weakref.finalize(array, cuda.cudaHostUnregister, address).atexit = False
    return True

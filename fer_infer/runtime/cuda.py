"""What this machine has of CUDA: the driver, the libraries, what stands in the way, and how a session uses it."""

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
"""The distribution of ONNX Runtime that belongs on this platform."""

LIBRARIES_REMEDY: Final = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
WHEEL_REMEDY: Final = f"pip uninstall -y onnxruntime && {LIBRARIES_REMEDY}"

LIBRARIES: Final = {
    ("linux", "12"): "libcudart.so.12 libcublas.so.12 libcublasLt.so.12 libcufft.so.11 libcurand.so.10 libcudnn.so.9",
    ("linux", "13"): "libcudart.so.13 libcublas.so.13 libcublasLt.so.13 libcufft.so.12 libcurand.so.10 libcudnn.so.9",
    ("win32", "12"): "cudart64_12.dll cublas64_12.dll cublasLt64_12.dll cufft64_11.dll cudnn64_9.dll",
    ("win32", "13"): "cudart64_13.dll cublas64_13.dll cublasLt64_13.dll cufft64_12.dll cudnn64_9.dll",
}
"""What the CUDA provider links to, the runtime first, by platform and by the CUDA version of ONNX Runtime."""


@dataclass(frozen=True)
class CudaOptions:
    """How a session uses the GPU; `benchmarks.cuda_options` measures each option.

    Attributes
    ----------
    algorithm_search : {"HEURISTIC", "EXHAUSTIVE", "DEFAULT"}
        How cuDNN picks its convolutions. EXHAUSTIVE times them and may pick others, with other roundings, each run.
    prefer_nhwc : bool
        Let convolutions work on channels-last tensors, as tensor cores do.
    tf32 : bool
        TensorFloat-32 keeps ten bits of each factor, which is not the float32 model that was exported.
    cuda_graph : bool
        Capture the first run of a batch size and replay it, which spares launching its kernels one by one.
    arena_growth : {"kNextPowerOfTwo", "kSameAsRequested"}
        By how much ONNX Runtime's memory pool grows; the second leaves more of the GPU to others.
    page_locked : bool
        Stage batches in page-locked memory, which the GPU fetches without a detour through the driver's own.
    """

    algorithm_search: Literal["HEURISTIC", "EXHAUSTIVE", "DEFAULT"] = "HEURISTIC"
    prefer_nhwc: bool = False
    tf32: bool = False
    cuda_graph: bool = False
    arena_growth: Literal["kNextPowerOfTwo", "kSameAsRequested"] = "kNextPowerOfTwo"
    page_locked: bool = True

    def provider_options(self) -> dict[str, str]:
        """Return what ONNX Runtime's CUDA provider takes, by its names."""
        return {
            "cudnn_conv_algo_search": self.algorithm_search,
            "prefer_nhwc": str(int(self.prefer_nhwc)),
            "use_tf32": str(int(self.tf32)),
            "enable_cuda_graph": str(int(self.cuda_graph)),
            "arena_extend_strategy": self.arena_growth,
        }


@dataclass(frozen=True)
class Obstacle:
    """What keeps CUDA from running here.

    Attributes
    ----------
    text : str
        What is wrong.
    remedy : str
        The one command or step that would change it.
    """

    text: str
    remedy: str


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver.

    Attributes
    ----------
    version : str
        Of the driver itself, such as 580.65.06; `unknown` where its management library does not tell.
    cuda : tuple of int
        The newest CUDA that it supports, (major, minor).
    gpus : tuple of str
        Names of the GPUs that this process sees; at least one.
    """

    version: str
    cuda: tuple[int, int]
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.version}, up to CUDA {self.cuda[0]}.{self.cuda[1]}, {', '.join(self.gpus)}"


def find_driver() -> Driver | Obstacle:
    """Ask the NVIDIA driver for its GPUs.

    Asking it first spares a machine without a GPU the native errors of a provider that cannot load.
    """
    install = "install an NVIDIA driver (https://www.nvidia.com/drivers) where there is an NVIDIA GPU"
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
    """Say why no CUDA session can be expected of `runtime`, the module, or None where it is worth a try."""
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
    """Return the major CUDA version that `runtime` was built for, empty where it does not say."""
    return str(getattr(runtime, "cuda_version", None) or "").partition(".")[0]


def preload_libraries(runtime: Any) -> None:
    """Load the CUDA and cuDNN libraries that stand in site-packages, which are on no search path until then."""
    preload = getattr(runtime, "preload_dlls", None)  # since ONNX Runtime 1.21
    if preload is not None:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            preload()


def find_libraries(runtime: Any) -> dict[str, bool]:
    """Return, of each library that the CUDA provider links to, whether it can be loaded; empty where none is known."""
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
    """Keep an array's memory in place for as long as it lives, so that the GPU can fetch it without a detour.

    Returns
    -------
    bool
        Whether it was done; where not, copies are slower and nothing else changes.
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

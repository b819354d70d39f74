"""Keep freed memory in the C allocator: the tensors of all training steps have the same sizes."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# malloc.h of glibc: parameters of mallopt, and the values that its own adjustment ends at
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL: Final = ((_MMAP_MAX, 1 << 16), (_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20))
_KEEP: Final = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep the memory of freed tensors for later ones, instead of returning it to the system.

    By default glibc maps each block of more than 32 MiB again, and each page costs a page fault and is cleared: a
    tenth of a training step of the course CNN on batches of 128. The memory is returned at the end. Nothing changes
    without glibc, or if the environment configures the allocator.
    """
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    for parameter, value in _KEEP:
        mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _USUAL:
            mallopt(parameter, value)
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt() -> ctypes._NamedFuncPointer | None:
    named = any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ)
    if sys.platform != "linux" or named or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library = ctypes.CDLL(None)
    return library.mallopt if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None

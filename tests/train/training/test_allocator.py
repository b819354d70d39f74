"""What the allocator keeps is counted by the pages that the system has to give again.

In processes of their own: a heap in which large blocks were used before serves others from its middle, without a fault.
"""

from __future__ import annotations

import ctypes
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from fer_train.training.allocator import freed_memory_kept

resource = pytest.importorskip("resource")
glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="needs glibc"
)

SIZE = 40 << 20
"""Bytes; more than glibc ever keeps by itself."""

SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def faults() -> int:
    """Count the pages that were given while a large block is taken, filled and freed five times."""
    bytearray(SIZE)  # the first may be given
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        memoryview(bytearray(SIZE)).release()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def inside_and_after(settings: dict[str, str], error: bool) -> tuple[int, int]:
    """Count pages while memory is kept, and then."""
    for name in SETTINGS:
        os.environ.pop(name, None)
    os.environ.update(settings)
    try:
        with freed_memory_kept():
            inside = faults()
            if error:
                raise KeyError
    except KeyError:
        pass
    return inside, faults()


def in_a_new_process(settings: dict[str, str] | None = None, *, error: bool = False) -> tuple[int, int]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(inside_and_after, settings or {}, error).result()


@glibc
@pytest.mark.parametrize("error", [False, True])
def test_freed_memory_is_kept_inside_and_given_back_after(error: bool) -> None:
    inside, after = in_a_new_process(error=error)
    assert after > 10
    assert inside < after / 10


@glibc
@pytest.mark.parametrize(
    ("name", "value"), [("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")]
)
def test_an_allocator_that_the_environment_sets_up_is_left_alone(name: str, value: str) -> None:
    inside, _ = in_a_new_process({name: value})
    assert inside > 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(ctypes, "CDLL")
    with freed_memory_kept():
        assert bytearray(8) == bytes(8)

"""What the allocator keeps is counted by the pages that the system has to give again."""

from __future__ import annotations

import ctypes
import sys

import pytest

from fer_train.allocator import freed_memory_kept

resource = pytest.importorskip("resource")
glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="needs glibc"
)

SIZE = 40 << 20
"""Bytes; more than glibc ever keeps by itself."""


def faults() -> int:
    """Count the pages that were given while a large block is taken, filled and freed five times."""
    bytearray(SIZE)  # the first may be given
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        memoryview(bytearray(SIZE)).release()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)


@glibc
def test_freed_memory_is_kept_inside_and_given_back_after() -> None:
    with freed_memory_kept():
        inside = faults()
    after = faults()
    assert after > 10
    assert inside < after / 10


@glibc
def test_an_error_ends_it_too() -> None:
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert faults() > 10


@glibc
@pytest.mark.parametrize(
    ("name", "value"), [("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")]
)
def test_an_allocator_that_the_environment_sets_up_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with freed_memory_kept():
        inside = faults()
    assert inside > 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(ctypes, "CDLL")
    with freed_memory_kept():
        assert bytearray(8) == bytes(8)

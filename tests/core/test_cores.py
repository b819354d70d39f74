"""How many cores a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_core.cores import available_cores, physical_cores


def test_hardware_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores of two threads each, of which this process may use five threads."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 4, 5, 6}, raising=False)
    assert physical_cores(tmp_path) == 3


def test_every_usable_core_counts_where_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 4, 5, 6}, raising=False)
    assert physical_cores(tmp_path) == 5
    monkeypatch.delattr("os.sched_getaffinity")
    assert physical_cores(tmp_path) == os.cpu_count()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),  # a core and a half
        ({"cpu.max": "max 100000\n"}, 5),
        ({"cpu.max": "900000 100000\n"}, 5),  # more than there are
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "what\n"}, 5),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 5),
        ({}, 5),
    ],
)
def test_the_time_that_a_container_may_use_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 4, 5, 6}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == expected

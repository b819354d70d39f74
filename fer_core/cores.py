"""Number of processor cores that this process may use."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of logical cores, less those that affinity or the CPU quota of a container excludes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroup versions 2 and 1
        with suppress(OSError, ValueError):  # a ValueError also if the quota is "max"
            quota, period = map(int, " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split())
            if quota > 0:
                return max(1, min(cores, math.ceil(quota / period)))
    return cores


def physical_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Return the number of available physical cores: hardware threads of one core count once.

    Two threads of a core share one unit for matrix products. Where the topology is unknown, each thread counts.
    """
    try:
        usable = os.sched_getaffinity(0)
        cores = {(topology / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii") for cpu in usable}
    except (AttributeError, OSError):  # not Linux, or a sandbox without /sys
        return available_cores()
    return min(len(cores), available_cores())

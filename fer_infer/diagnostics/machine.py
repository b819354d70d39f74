"""Describe the machine and the installed versions that a measurement depends on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from fer_core.cores import available_cores

INSTRUCTIONS: Final = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""Instruction sets that decide the speed of float32, int8 and bf16, as Linux names them."""


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, those of `INSTRUCTIONS` that it has, and the number of cores of this process.

    Examples
    --------
    >>> processor()  # such as 'AMD EPYC (avx2, avx512f, avx512_vnni), 2 cores'
    '..., ... core...'
    """
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines()]
    except OSError:  # not Linux
        lines = []
    first = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # all cores repeat the same keys
    name = first.get("model name") or platform.processor() or platform.machine()
    present = ", ".join(instruction for instruction in INSTRUCTIONS if instruction in first.get("flags", "").split())
    cores = available_cores()
    return f"{name}{f' ({present})' if present else ''}, {cores} core{'' if cores == 1 else 's'}"


def describe_machine(packages: Sequence[str]) -> dict[str, str]:
    """Return `processor`, `system`, `python`, and `NAME VERSION` of each of the `packages` that is installed."""
    described = {
        "processor": processor(),
        "system": platform.platform(),
        "python": f"Python {platform.python_version()}",
    }
    for package in packages:
        try:
            described[package] = f"{package} {version(package)}"
        except PackageNotFoundError:  # an extra, or the other wheel of ONNX Runtime
            continue
    return described

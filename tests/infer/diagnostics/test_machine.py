"""The description of a machine names what its speed depends on."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from fer_infer.diagnostics import machine
from fer_infer.diagnostics.machine import describe_machine, processor


def test_the_processor_is_named_with_its_instructions_and_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    core = "processor\t: {}\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu avx512_vnni avx2 avx512fp16\n\n"
    cpuinfo.write_text(core.format(0) + core.format(1))
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    assert processor(cpuinfo) == "Some CPU @ 3 GHz (avx2, avx512_vnni), 2 cores"
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    assert processor(cpuinfo) == "Some CPU @ 3 GHz (avx2, avx512_vnni), 1 core"


def test_without_cpuinfo_python_names_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 3)
    expected = platform.processor() or platform.machine()
    assert processor(tmp_path / "absent") == f"{expected}, 3 cores"


def test_packages_that_are_not_installed_are_left_out() -> None:
    described = describe_machine(["numpy", "no-such-package-of-ours"])
    assert list(described) == ["processor", "system", "python", "numpy"]
    assert described["numpy"] == f"numpy {np.__version__}"

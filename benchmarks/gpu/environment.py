"""Steps that record the machine and run the tests that need a GPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import torch
from record import Entry, Record
from workbench import REPOSITORY, Workbench

from fer_infer.diagnostics.doctor import diagnose
from fer_train.runs.provenance import git_commit

PACKAGES: Final = (
    "captum",
    "fer-toolkit",
    "lightning-fabric",
    "numpy",
    "nvidia-cudnn-cu13",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "torch",
)


def environment(bench: Workbench, record: Record) -> None:
    """Record versions, the GPU and what `fer-infer doctor` says."""
    record.take("versions", _versions)
    record.take("machine", lambda: _machine(bench))
    record.take("doctor", lambda: {"text": diagnose().to_text().splitlines()})


def _versions() -> Entry:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {
        "packages": found,
        "python": platform.python_version(),
        "torch_cuda": torch.version.cuda,
        "torch_cudnn": torch.backends.cudnn.version(),
        "git_commit": git_commit(),
    }


def _machine(bench: Workbench) -> Entry:
    found: Entry = {"system": platform.platform(), "cores": len(os.sched_getaffinity(0))}
    if bench.device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        found |= {"gpu": gpu.name, "memory_gib": gpu.total_memory / 2**30, "processors": gpu.multi_processor_count}
        query = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,persistence_mode"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
        found["nvidia_smi"] = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return found


def tests(bench: Workbench, record: Record) -> None:
    """Run what is marked `gpu`, from the files that hold such tests; others may import what is not installed."""
    record.take("pytest -m gpu", lambda: _tests(bench))


def _tests(bench: Workbench) -> Entry:
    bench.require_cuda()
    folder = REPOSITORY / "tests"
    files = [path for path in folder.rglob("test_*.py") if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *map(str, sorted(files))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    lines = (done.stdout + done.stderr).splitlines()[-30:]
    if done.returncode != 0:
        raise RuntimeError("\n".join(lines))
    return {"files": [str(path.relative_to(folder)) for path in sorted(files)], "output": lines}

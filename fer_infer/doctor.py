"""What runs on this machine, on which provider, and what is missing for CUDA, each by its name."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from fer_core import FerError
from fer_infer.devices import (
    CUDA_PROVIDER,
    CUDA_REMEDY,
    PROBE_MODEL,
    driver_problem,
    load_runtime,
    open_session,
    preload_cuda,
)

State = Literal["ok", "missing", "problem"]

BOTH_WHEELS_REMEDY: Final = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"

CUDA_LIBRARIES: Final = {
    ("linux", "12"): "libcudart.so.12 libcublas.so.12 libcublasLt.so.12 libcufft.so.11 libcurand.so.10 libcudnn.so.9",
    ("linux", "13"): "libcudart.so.13 libcublas.so.13 libcublasLt.so.13 libcufft.so.12 libcurand.so.10 libcudnn.so.9",
    ("win32", "12"): "cudart64_12.dll cublas64_12.dll cublasLt64_12.dll cufft64_11.dll cudnn64_9.dll",
    ("win32", "13"): "cudart64_13.dll cublas64_13.dll cublasLt64_13.dll cufft64_12.dll cudnn64_9.dll",
}
"""What the CUDA provider links to, by platform and by the CUDA version that ONNX Runtime was built for."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    subject : str
        What was looked at.
    state : {"ok", "missing", "problem"}
        `missing` is needed for CUDA alone; a `problem` needs mending on any machine.
    text : str
        What was found.
    """

    subject: str
    state: State
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes
    ----------
    findings : tuple of Finding
        In the order in which they are worth reading.
    advice : tuple of str
        What to do, one line each; empty where CUDA runs and nothing is wrong.
    """

    findings: tuple[Finding, ...]
    advice: tuple[str, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that need mending."""
        return tuple(finding for finding in self.findings if finding.state == "problem")

    def to_text(self) -> str:
        """Return the findings as a table, and the advice below it."""
        width = max(len(finding.subject) for finding in self.findings)
        lines = [f"{f.subject:<{width}}  {f.state:<7}  {f.text}" for f in self.findings]
        return "\n".join([*lines, *(f"\n{line}" for line in self.advice)])


def diagnose(model: str | Path | None = None) -> Diagnosis:
    """Look at everything that decides where a model runs.

    Parameters
    ----------
    model : str or Path, optional
        An exports folder or an ONNX file to create the session from; a tiny built-in graph where None.

    Returns
    -------
    Diagnosis
        Whatever is wrong is a finding of it, not an exception.
    """
    findings = [
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        Finding("processors", "ok", f"{_processors()} to this process, {platform.machine()}"),
        *_wheels(),
    ]
    try:
        runtime = load_runtime()
    except FerError as error:
        findings.append(Finding("onnxruntime", "problem", str(error)))
        return Diagnosis(tuple(findings), _advice(findings))
    providers = runtime.get_available_providers()
    cuda_built = CUDA_PROVIDER in providers
    findings.append(Finding("providers of the build", "ok" if cuda_built else "missing", ", ".join(providers)))
    driver = driver_problem()
    findings.append(Finding("NVIDIA driver", "missing" if driver else "ok", driver or "has a GPU"))
    if cuda_built:
        findings += _libraries(runtime)
    findings.append(_session(model))
    return Diagnosis(tuple(findings), _advice(findings))


def _processors() -> int:
    """Return how many processors this process may use, which a container often limits."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wheels() -> list[Finding]:
    """Tell which distributions of ONNX Runtime are installed; two overwrite each other's files."""
    installed = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    text = " and ".join(f"{name} {number}" for name, number in installed.items())
    if len(installed) == 1:
        return [Finding("ONNX Runtime", "ok", text)]
    if not installed:
        return [Finding("ONNX Runtime", "problem", "neither onnxruntime nor onnxruntime-gpu is installed")]
    return [Finding("ONNX Runtime", "problem", f"{text}: both write the same files, so one of them is broken")]


def _libraries(runtime: Any) -> list[Finding]:
    """Try to load every library that the CUDA provider links to."""
    major = str(getattr(runtime, "cuda_version", "")).partition(".")[0]
    names = CUDA_LIBRARIES.get((sys.platform, major), "").split()
    if not names:
        return [Finding("CUDA libraries", "missing", f"not known for CUDA {major or '?'} on {sys.platform}")]
    preload_cuda()  # those in site-packages stand on no search path until then
    found: dict[bool, list[str]] = {True: [], False: []}
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            found[False].append(name)
        else:
            found[True].append(name)
    lines: list[Finding] = []
    if found[True]:
        lines.append(Finding("CUDA libraries", "ok", ", ".join(found[True])))
    if found[False]:
        lines.append(Finding("CUDA libraries", "missing", ", ".join(found[False])))
    return lines


def _session(model: str | Path | None) -> Finding:
    """Create a real session; what a build lists says nothing about what it gets."""
    subject = "provider of a session"
    try:
        if model is None:
            session, note = open_session(PROBE_MODEL)
            provider, of = session.get_providers()[0], "a built-in graph"
        else:
            from fer_infer.session import Scorer

            scorer = Scorer(model)
            provider, note, of = scorer.provider, scorer.provider_note, str(scorer.path)
    except FerError as error:
        return Finding(subject, "problem", str(error))
    return Finding(subject, "ok", f"{provider} for {of}" + (f"; not CUDA: {note}" if note else ""))


def _advice(findings: list[Finding]) -> tuple[str, ...]:
    problems = [finding for finding in findings if finding.state == "problem"]
    advice = []
    if any(finding.subject == "ONNX Runtime" for finding in problems):
        advice.append(f"To mend ONNX Runtime: {BOTH_WHEELS_REMEDY}")
    if any(finding.state == "missing" for finding in findings):
        advice.append(f"For CUDA: {CUDA_REMEDY}")
    return tuple(advice)

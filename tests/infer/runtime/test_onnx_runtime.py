"""ONNX Runtime is imported in one place, reports to nobody, is silent, and says in one line what went wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_core import ModelCard, ModelError
from fer_infer import Scorer
from fer_infer.runtime.onnx_runtime import TELEMETRY_SWITCH, first_line, load_runtime

ROOT = Path(__file__).resolve().parents[3]

UPLOAD_AFTER_S = 9
"""ONNX Runtime 1.31 looks up the address of its maker so long after it was imported."""

SCORE = """
import multiprocessing, os, sys, time
import numpy as np
from fer_infer import Scorer

def child(model):
    Scorer(model, "cpu").run(np.zeros((2, 48, 48), np.uint8))

if __name__ == "__main__":
    child(sys.argv[1])
    process = multiprocessing.get_context("spawn").Process(target=child, args=sys.argv[1:2])
    process.start()
    process.join()
    time.sleep(float(sys.argv[2]))
    sys.exit(process.exitcode)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def run(home: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a user does who has never run one: an empty home and no settings."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = list(map(str, command))
    return subprocess.run(arguments, capture_output=True, text=True, env=environment | variables, timeout=120)


def traces(home: Path) -> list[str]:
    """What ONNX Runtime keeps of its user."""
    return [str(path) for path in home.rglob("*") if re.search("microsoft|onnxruntime|deviceid", path.name, re.I)]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "score.py"
    file.write_text(SCORE)
    return file


def test_no_trace_of_the_user_is_kept_by_programs_python_and_spawned_children(
    home: Path, script: Path, exports: Path, tmp_path: Path, csv_of: Callable[..., str], images: NDArray[np.uint8]
) -> None:
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images[:3]))
    program = Path(sys.executable).with_name("fer-infer")
    scored = ["--model", exports, "--output", tmp_path / "out.csv"]
    for command in ([sys.executable, script, exports, "0"], [program, "score", data, *scored], [program, "doctor"]):
        done = run(home, *command)
        assert done.returncode == 0, done.stderr
        assert traces(home) == []


def test_no_trace_of_the_user_is_kept_by_ray_workers(
    home: Path, exports: Path, tmp_path: Path, csv_of: Callable[..., str], images: NDArray[np.uint8]
) -> None:
    pytest.importorskip("ray.data")
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images[:3]))
    options = ["--engine", "ray", "--model", exports, "--output", tmp_path / "out", "--device", "cpu"]
    done = run(home, Path(sys.executable).with_name("fer-infer"), "score", data, *options)
    assert done.returncode == 0, done.stderr
    assert traces(home) == []


def test_a_setting_of_the_user_is_kept(home: Path, script: Path, exports: Path) -> None:
    """And shows that the test above can fail."""
    done = run(home, sys.executable, script, exports, "0", **{TELEMETRY_SWITCH: "0"})
    assert done.returncode == 0, done.stderr
    if tuple(map(int, load_runtime().__version__.split(".")[:2])) >= (1, 29):
        assert traces(home) != []


def _strace() -> bool:
    return shutil.which("strace") is not None and not subprocess.run(["strace", "-o", os.devnull, "true"]).returncode


@pytest.mark.skipif(not _strace(), reason="strace is not installed or may not trace here")
def test_no_connection_is_tried(home: Path, script: Path, exports: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    trace = ["strace", "-f", "-o", log, "-e", "trace=socket,connect,sendto"]
    done = run(home, *trace, sys.executable, script, exports, str(UPLOAD_AFTER_S + 1))
    assert done.returncode == 0, done.stderr
    calls = log.read_text()
    assert "exited with 0" in calls
    assert re.findall(r"socket\(AF_INET.*|connect\(.*|sendto\(.*", calls) == []


@pytest.mark.parametrize(
    ("before", "variables", "expected"),
    [
        ("", {}, f"off ({TELEMETRY_SWITCH}=1)"),
        ("", {TELEMETRY_SWITCH: ""}, f"off ({TELEMETRY_SWITCH}=1)"),
        ("", {TELEMETRY_SWITCH: "True"}, f"off ({TELEMETRY_SWITCH}=True)"),
        ("", {TELEMETRY_SWITCH: "0"}, f"on by {TELEMETRY_SWITCH}=0"),
        (
            "import onnxruntime;",
            {},
            f"essential events only: onnxruntime was imported before fer_infer; set {TELEMETRY_SWITCH}=1 first",
        ),
    ],
)
def test_the_doctor_says_whether_onnx_runtime_reports(
    home: Path, before: str, variables: dict[str, str], expected: str
) -> None:
    code = f"{before}from fer_infer.diagnostics.doctor import diagnose; print(diagnose().to_text())"
    done = run(home, sys.executable, "-c", code, **variables)
    assert re.search(rf"^telemetry +ok +ONNX Runtime: {re.escape(expected)}$", done.stdout, re.M), done


SOURCE = "/onnxruntime_src/onnxruntime/core/"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Failed to load model", "Failed to load model"),
        (
            f"[ONNXRuntimeError] : 1 : FAIL : {SOURCE}graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, "
            "const onnxruntime::PathString&, const onnxruntime::logging::Logger&) Unsupported model IR version: 99, "
            "max supported IR version: 13\n",
            "Unsupported model IR version: 99, max supported IR version: 13",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'flat' "
            f"Status Message: {SOURCE}providers/cpu/tensor/reshape_helper.h:91 onnxruntime::ReshapeHelper::"
            "ReshapeHelper(const onnxruntime::TensorShape&, bool) size == requested was false. Input shape:{2,3}\n",
            "Non-zero status code returned while running Reshape node. Name:'flat' Status Message: size == requested "
            "was false. Input shape:{2,3}",
        ),
        (
            "Status Message: tensorprotoutils.cc:1534 ValidateSizeAndShape Initializer 'w': raw_data size (1728 bytes)",
            "Status Message: Initializer 'w': raw_data size (1728 bytes)",
        ),
        (
            f"{SOURCE}session/a.cc:17 static void Handler<onnxruntime::OnnxRuntimeException>::OnOverflow() Overflow",
            "Overflow",
        ),
        (
            f"{SOURCE}a.cc:3 Status onnxruntime::Mel<T>::operator()(onnxruntime::OpKernelContext*, float) "
            "[with T = double; int64_t = long int] wrong (twice)",
            "wrong (twice)",
        ),
        (
            f"{SOURCE}b.h:3 onnxruntime::BitShift<long unsigned int>::Compute(onnxruntime::OpKernelContext*) "
            "const::<lambda(onnxruntime::BroadcastHelper&)> the message",
            "the message",
        ),
        (
            "D:\\a\\_work\\1\\s\\onnxruntime\\core\\graph\\model.cc:156 onnxruntime::Model::Model No graph (empty)",
            "No graph (empty)",
        ),
        (
            f"CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0 ; hostname=pc ; file={SOURCE}providers/cuda/"
            "cuda_execution_provider.cc ; line=182 ; expr=cudnnCreate(&handle);",
            "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0 ; expr=cudnnCreate(&handle);",
        ),
        ("Load model from /home/me/a.h/model.onnx failed", "Load model from /home/me/a.h/model.onnx failed"),
        ("\n\n", "RuntimeError"),
        ("one : two : three : four : five", "one : two : three : four : five"),
    ],
)
def test_an_error_is_one_line_without_codes_source_files_and_signatures(message: str, expected: str) -> None:
    assert first_line(RuntimeError(message)) == expected


def failing_model(folder: Path, card: ModelCard) -> Path:
    """A graph of the contract that fails for three faces: their means do not make rows of seven."""
    nodes = [
        helper.make_node("Cast", ["faces"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Reshape", ["means", "rows"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "failing",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["batch", 48, 48])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 7]) for name in ("logits", "probabilities")],
        [numpy_helper.from_array(np.array(value), name) for name, value in {"axes": [1, 2], "rows": [-1, 7]}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, card.to_metadata())
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_run_that_fails_says_so_once_without_source_files(
    tmp_path: Path, card_with: Callable[..., ModelCard], capfd: pytest.CaptureFixture[str]
) -> None:
    scorer: Any = Scorer(failing_model(tmp_path, card_with()), "cpu")
    with pytest.raises(ModelError, match=r"model\.onnx: failed on 3 faces: .*cannot be reshaped[^\n]*$") as raised:
        scorer.run(np.zeros((3, 48, 48), np.uint8))[1]
    assert not re.search(r"\.(cc|h)\b|onnxruntime|::", str(raised.value).removeprefix(str(tmp_path)))
    assert capfd.readouterr() == ("", "")

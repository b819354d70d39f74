"""Whatever breaks while scoring, there is one clear line, exit code 1, and nothing under the final name."""

from __future__ import annotations

import errno
import gzip
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from fer_core import ModelError, OutputError, iter_faces
from fer_core.io.csv_output import open_csv
from fer_core.outputs.claims import HIDDEN
from fer_core.synthetic.drawn_faces import draw_faces
from fer_core.terminal.program import Program
from fer_infer import Scorer, score
from fer_infer.cli import main
from fer_infer.scoring import pipeline

Images = NDArray[np.uint8]

# Ctrl-C works though the tests themselves run in the background, where a shell has it ignored
PROGRAM = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from fer_infer.cli import main; main(prog_name='fer-infer')",
]
EXPORTS = Path(__file__).resolve().parents[2] / "exports"


@pytest.fixture
def data(images: Images, csv_of: Callable[..., str], tmp_path: Path) -> Path:
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(images))
    return path


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    """An exports folder to harm."""
    path: Path = model.save(tmp_path / "linear")
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty folder for outputs, in which nothing may be left over."""
    path = tmp_path / "work"
    path.mkdir()
    return path


def run(data: object, model: Path, output: Path, *options: object) -> Result:
    arguments = ["score", data, "--model", model, "--output", output, "--device", "cpu", *options]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def start(data: object, model: Path, output: Path, *options: object, **popen: Any) -> subprocess.Popen[bytes]:
    arguments = ["score", data, "--model", model, "--output", output, "--device", "cpu", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment} | popen
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], **pipes)


def require_one_line(code: int, stdout: str, stderr: str, expected: str) -> None:
    assert (code, stdout) == (1, ""), stderr
    assert stderr.startswith("fer-infer: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    assert expected in stderr


def require_refused(done: Result, expected: str, work: Path) -> None:
    require_one_line(done.exit_code, done.stdout, done.stderr, expected)
    assert list(work.iterdir()) == []


# The model


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda content: b"", "No graph was found in the protobuf"),
        (lambda content: content[: len(content) // 2], "protobuf parsing failed"),
        (lambda content: content[:-1], "protobuf parsing failed"),
        (lambda content: random.Random(5).randbytes(len(content)), "protobuf parsing failed"),
        (lambda content: gzip.compress(content), "protobuf parsing failed"),
    ],
    ids=["empty", "half", "one byte short", "random bytes", "compressed"],
)
def test_a_damaged_model_is_refused(
    data: Path, folder: Path, work: Path, harm: Callable[[bytes], bytes], expected: str
) -> None:
    file = folder / "model.onnx"
    file.write_bytes(harm(file.read_bytes()))
    done = run(data, folder, work / "out.csv")
    require_refused(done, f"{file}: cannot be loaded by ONNX Runtime: ", work)
    assert expected in done.stderr


@pytest.mark.parametrize("location", ["weights.bin", "../elsewhere.bin", "/etc/hostname"])
@pytest.mark.parametrize("present", [True, False])
def test_a_model_that_keeps_tensors_elsewhere_is_refused(
    data: Path, folder: Path, work: Path, location: str, present: bool
) -> None:
    file = folder / "model.onnx"
    graph = onnx.load(file)
    for tensor in graph.graph.initializer:
        if tensor.name == "weights":
            if present and not location.startswith("/"):
                (folder / location).write_bytes(tensor.raw_data)
            onnx.external_data_helper.set_external_data(tensor, location)
            tensor.ClearField("raw_data")
    file.write_bytes(graph.SerializeToString())
    done = run(data, folder, work / "out.csv")
    require_refused(done, f"{file}: stores tensors in other files; expected a model in one file", work)


def test_a_word_of_a_graph_is_not_taken_for_a_tensor_elsewhere(model: Any, tmp_path: Path) -> None:
    file = model.save(tmp_path) / "model.onnx"
    graph = onnx.load(file)
    graph.graph.doc_string = "the location of external_data"
    onnx.save(graph, file)
    assert Scorer(file, "cpu").path == file


def test_a_card_of_another_model_is_refused(
    data: Path, folder: Path, work: Path, card_with: Callable[..., Any]
) -> None:
    card_with(weights_sha256="f" * 64).save_json(folder / "card.json")
    expected = f"{folder / 'model.onnx'} and {folder / 'card.json'} disagree on weights_sha256"
    require_refused(run(data, folder, work / "out.csv"), expected, work)


def test_a_card_without_a_key_is_refused(data: Path, model_class: Any, tmp_path: Path, work: Path) -> None:
    metadata = onnx.load(model_class().save(tmp_path / "whole") / "model.onnx").metadata_props
    some = {entry.key: entry.value for entry in metadata if entry.key != "labels"}
    folder = model_class(metadata=some).save(tmp_path / "part")
    require_refused(run(data, folder, work / "out.csv"), "model.onnx: the model card has no labels", work)


@pytest.mark.parametrize(
    ("tensor", "value"),
    [("weights", np.nan), ("weights", np.inf), ("bias", np.nan), ("bias", -np.inf), ("mean", np.inf), ("std", 0.0)],
)
def test_weights_that_give_no_finite_logits_are_found_out(
    data: Path, folder: Path, work: Path, tensor: str, value: float
) -> None:
    file = folder / "model.onnx"
    graph = onnx.load(file)
    for initializer in graph.graph.initializer:
        if initializer.name == tensor:
            numbers = onnx.numpy_helper.to_array(initializer).copy()
            numbers.flat[-1] = value
            initializer.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor))
    onnx.save(graph, file)
    expected = f"{file}: the logits of {data}, row 2, are not finite"
    require_refused(run(data, folder, work / "out.csv"), expected, work)


@pytest.mark.parametrize("started", [0, 1, 2, 3])
def test_a_system_that_starts_no_more_threads_is_one_line_with_a_remedy(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    start_thread, threads = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if len(threads) == started:
            raise RuntimeError("can't start new thread")
        threads.append(thread)
        start_thread(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    done = run(data, exports, work / "out.csv", "--threads", 2, "--batch-size", 1)
    if len(threads) < started:
        pytest.skip("fewer threads were needed")
    require_refused(done, "no more threads can be started; --threads 1 or OMP_NUM_THREADS=1", work)
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_session_that_fails_later_leaves_nothing(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    whole, calls = Scorer._run, [0]

    def failing(scorer: Scorer, images: Images, batch_size: int) -> Any:
        calls[0] += 1
        if calls[0] == batch:
            raise ModelError(f"{scorer.path}: failed on 4 faces: CUDA failure 719: unspecified launch failure")
        return whole(scorer, images, batch_size)

    monkeypatch.setattr(Scorer, "_run", failing)
    done = run(data, exports, work / "out.csv", "--batch-size", 1, "--threads", 1)
    require_refused(done, "failed on 4 faces: CUDA failure 719", work)


# The input


@pytest.mark.parametrize("name", ["model.onnx", "faces.csv"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(data: Path, folder: Path, work: Path, name: str) -> None:
    path = data if name == data.name else folder / name
    path.chmod(0)
    require_refused(run(data, folder, work / "out.csv"), f"{path}: cannot be read: Permission denied", work)


def test_a_file_that_cannot_be_read_is_refused(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so what the system says is put in its mouth."""

    def forbidden(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    expected = f"{exports / 'model.onnx'}: cannot be read: Permission denied"
    require_refused(run(data, exports, work / "out.csv"), expected, work)


def test_a_folder_without_images_is_refused(exports: Path, work: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", exports, work / "out.csv")
    require_refused(done, str(tmp_path / "empty"), work)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(0.0, "row 1: expected a header, found an empty file"), (0.5, "expected 2304 integers in 0..255, found")],
)
def test_a_pipe_that_closes_early_is_told_from_the_end_of_a_file(
    data: Path, exports: Path, work: Path, tmp_path: Path, sent: float, expected: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = data.read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(content[: int(sent * len(content))]))
    writer.start()
    done = run(pipe, exports, work / "out.csv")
    writer.join()
    require_refused(done, expected, work)


@pytest.mark.parametrize("rows", [0, 3])
def test_no_usable_face_is_said_in_one_line(exports: Path, work: Path, tmp_path: Path, rows: int) -> None:
    data = tmp_path / "faces.csv"
    data.write_text("pixels\n" + "1 2 3\n" * rows)
    done = run(data, exports, work / "out.csv", "--on-error", "skip")
    assert done.exit_code == 0
    assert done.stderr == f"fer-infer: {data}: contains no face, so {work / 'out.csv'} contains no prediction\n"
    assert (work / "out.csv").read_text() == "id,label\n"


# The output


def test_an_output_folder_that_goes_away_while_scoring_is_told(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removing(path: Path, **options: Any) -> Iterator[Any]:
        for n, faces in enumerate(iter_faces(path, **options)):
            if n == 3:
                shutil.rmtree(work)
            yield faces

    monkeypatch.setattr(pipeline, "iter_faces", removing)
    done = run(data, exports, work / "out.csv", "--batch-size", 1, "--threads", 1)
    expected = f"{work / 'out.csv'}: cannot be written: No such file or directory"
    require_one_line(done.exit_code, done.stdout, done.stderr, expected)
    assert not work.exists()


@pytest.mark.parametrize("output", ["/dev/full", "/dev/null"])
def test_a_device_is_no_output(data: Path, exports: Path, output: str) -> None:
    done = run(data, exports, Path(output), "--force")
    expected = f"{output}: expected a file, found neither a file nor a directory"
    require_one_line(done.exit_code, done.stdout, done.stderr, expected)


@pytest.mark.parametrize("columns", ["id-label", "probabilities"])
def test_a_disk_that_takes_no_more_is_told(data: Path, exports: Path, work: Path, columns: str) -> None:
    """A limit on the size of a file stands in for the end of a disk: the system fails at the same place."""
    list(iter_faces(data))  # compiles, so that the program has no compiled code to write

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    with start(data, exports, work / "out.csv", "--columns", columns, preexec_fn=limit) as process:
        stdout, stderr = process.communicate(timeout=60)
    expected = f"{work / 'out.csv'}: cannot be written: File too large"
    require_one_line(process.returncode, stdout.decode(), stderr.decode(), expected)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_a_failing_disk_says_while_writing_is_one_line(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Disk:
        """A text file whose third write fails."""

        def __init__(self, file: Any) -> None:
            self.file, self.writes = file, 0

        def writelines(self, lines: list[str]) -> None:
            self.writes += 1
            if self.writes == 3:
                raise OSError(code, os.strerror(code))
            self.file.writelines(lines)

        def close(self) -> None:
            self.file.close()

    import fer_infer.scoring.writers.csv_writer as csv_writer

    def open_disk(*names: Any, **options: Any) -> Disk:
        return Disk(open_csv(*names, **options))

    monkeypatch.setattr(csv_writer, "open_csv", open_disk)
    done = run(data, exports, work / "out.csv", "--batch-size", 4, "--threads", 1)
    require_refused(done, os.strerror(code), work)


# Signals


@pytest.fixture
def endless(data: Path) -> bytes:
    """A header and one face; as standard input that stays open, the program never gets to its end."""
    return b"".join(data.read_bytes().splitlines(keepends=True)[:2])


@pytest.mark.parametrize(
    ("sent", "expected"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_it_in_one_line_and_leaves_nothing(
    endless: bytes, exports: Path, work: Path, sent: int, expected: str
) -> None:
    with start("-", exports, work / "out.csv", "--batch-size", 1, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(endless)
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(work.glob(".fer-*.part")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sorted(path.suffix for path in work.iterdir()) == [".lock", ".part"]
        time.sleep(random.Random(sent).uniform(0, 1))
        process.send_signal(sent)
        assert process.stdout is not None
        assert process.stderr is not None
        code = process.wait(timeout=60)
        require_one_line(code, process.stdout.read().decode(), process.stderr.read().decode(), expected)
    assert list(work.iterdir()) == []


def test_a_second_signal_does_not_cut_the_cleaning_up_short() -> None:
    cleaned = []

    @click.group(name="fer-infer", cls=Program)
    def program() -> None:
        """A program of ours."""

    @program.command()
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(program, ["work"])
    require_one_line(done.exit_code, done.stdout, done.stderr, "terminated")
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def score_in_a_process(data: Path, model: Path, output: Path) -> None:
    """What is killed; a function of the module, so that another process finds it."""
    score(data, model, output, device="cpu", batch_size=2, threads=1, columns="logits", force=True)


def test_killed_at_any_moment_it_leaves_a_whole_file_or_none_and_the_next_run_succeeds(
    images: Images, csv_of: Callable[..., str], exports: Path, work: Path, tmp_path: Path
) -> None:
    """The processes come from a server that has imported everything, so that most kills hit the scoring itself."""
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(np.concatenate([images] * 6)))
    score_in_a_process(data, exports, tmp_path / "expected.csv")
    expected = (tmp_path / "expected.csv").read_bytes()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fer_infer.scoring.pipeline", "fer_core.io.csv.reader", "onnxruntime"])
    output = work / "out.csv"
    arguments = (data, exports, output)

    def launch() -> Any:
        process = context.Process(target=score_in_a_process, args=arguments)
        process.start()
        return process

    launch().join()  # the first one waits for the server
    start_s = time.perf_counter()
    launch().join()
    whole_s = time.perf_counter() - start_s
    output.unlink()
    rng = random.Random(20261124)
    killed = 0
    for _ in range(15):
        process = launch()
        time.sleep(rng.uniform(0, whole_s))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert not output.exists() or output.read_bytes() == expected
        assert all(path == output or HIDDEN.fullmatch(path.name) for path in work.iterdir())
        output.unlink(missing_ok=True)
    assert killed >= 5
    process = launch()
    process.join()
    assert process.exitcode == 0
    assert output.read_bytes() == expected
    assert list(work.iterdir()) == [output]  # what the killed runs left is gone, too


# Determinism


@pytest.mark.parametrize("name", ["course-cnn", "course-dnn"])
def test_labels_do_not_depend_on_batch_size_or_threads_and_logits_hardly(name: str) -> None:
    """The bound that docs/reference/architecture.md states: sums of floats are grouped by batch and thread."""
    faces = draw_faces(64 if name == "course-dnn" else 12, seed=3).images
    expected = Scorer(EXPORTS / name, "cpu", threads=1).run(faces, batch_size=len(faces))[0]
    for threads in (1, 2):
        scorer = Scorer(EXPORTS / name, "cpu", threads=threads)
        for batch_size in (1, 2, 5, 7, 11, 63, 128):
            logits = scorer.run(faces, batch_size=batch_size)[0]
            assert np.abs(logits - expected).max() <= 1e-4
            np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("columns", ["probabilities", "logits"])
def test_the_same_settings_give_the_same_bytes(data: Path, exports: Path, work: Path, columns: str) -> None:
    for name in ("one.csv", "two.csv"):
        score(data, exports, work / name, device="cpu", columns=columns, batch_size=7)
    assert (work / "one.csv").read_bytes() == (work / "two.csv").read_bytes()


# Silence


def test_auto_says_nothing_on_standard_error_and_takes_what_the_machine_has(
    data: Path, exports: Path, work: Path
) -> None:
    with start(data, exports, work / "out.csv", "--device", "auto") as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")
    assert b"ran on C" in stdout


def test_an_output_error_of_the_library_names_the_output(data: Path, exports: Path, work: Path) -> None:
    (work / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/out\.csv: cannot be written: "):
        score(data, exports, work / "file" / "out.csv", device="cpu")

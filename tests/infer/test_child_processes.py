"""A scorer works in forked and spawned processes, by pickling too, and in threads; nothing waits forever."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_core import CardError, DeviceError, ModelCard, ModelError
from fer_core.per_process import PerProcess
from fer_infer import Scorer
from fer_infer.runtime.cuda import CUDA_PROVIDER

Images = NDArray[np.uint8]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

HANGS_AFTER_S = 90

PROGRAM = """
import multiprocessing, os, sys, threading
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from fer_infer import Scorer

FACES = np.random.default_rng(7).integers(0, 256, (30, 48, 48), dtype=np.uint8)
SCORER = None

def score(scorer):
    return scorer.predict_proba(FACES)

def score_inherited(_):
    return SCORER.predict_proba(FACES)

def check(found, expected):
    for scores in found:
        np.testing.assert_array_equal(scores, expected)

def forked(work):
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0

if __name__ == "__main__":
    SCORER = Scorer(sys.argv[1], "cpu")
    expected = score(SCORER)
@body@
    check([score(SCORER)], expected)  # the parent's is as it was
"""

BODIES = {
    "Pool": """
        with multiprocessing.get_context("@method@").Pool(2) as pool:
            check(pool.map(score, [SCORER] * 3), expected)
    """,
    "ProcessPoolExecutor": """
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("@method@")) as pool:
            check(pool.map(score, [SCORER] * 3), expected)
    """,
    "inherited": """
        with multiprocessing.get_context("fork").Pool(2) as pool:
            check(pool.map(score_inherited, range(3)), expected)
    """,
    "grandchild": """
        forked(lambda: (score(SCORER), forked(lambda: check([score(SCORER)], expected))))
    """,
    "joblib": """
        import joblib
        check(joblib.Parallel(2, backend="@method@")(joblib.delayed(score)(SCORER) for _ in range(3)), expected)
    """,
    "threads of a child": """
        from concurrent.futures import ThreadPoolExecutor
        def work():
            with ThreadPoolExecutor(4) as pool:
                check(pool.map(score, [SCORER] * 8), expected)
        forked(work)
    """,
    "others score meanwhile": """
        stop = threading.Event()
        def busy(make):
            while not stop.is_set():
                score(make())
        threads = [threading.Thread(target=busy, args=[make]) for make in (lambda: SCORER, lambda: Scorer(sys.argv[1]))]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                forked(lambda: check([score(SCORER)], expected))
        finally:
            stop.set()
    """,
    "a normal exit": """
        process = os.fork()
        if process == 0:
            check([score(SCORER)], expected)
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7
    """,
}


def run(code: str, folder: Path, *arguments: str | Path) -> None:
    """Run a program that starts processes; end all of them if one hangs."""
    file = folder / "program.py"
    file.write_text(code)
    command = [sys.executable, str(file), *map(str, arguments)]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, errors = started.communicate(timeout=HANGS_AFTER_S)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        pytest.fail("hangs")
    assert (started.returncode, errors) == (0, "")


@needs_fork
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *((kind, method) for kind in ("Pool", "ProcessPoolExecutor") for method in ("fork", "spawn", "forkserver")),
        *((kind, "") for kind in BODIES if "@method@" not in BODIES[kind]),
        pytest.param("joblib", "loky", marks=pytest.mark.skipif(find_spec("joblib") is None, reason="no joblib here")),
    ],
)
def test_a_scorer_scores_the_same_in_other_processes(kind: str, method: str, exports: Path, tmp_path: Path) -> None:
    run(PROGRAM.replace("@body@", BODIES[kind].replace("\n    ", "\n").replace("@method@", method)), tmp_path, exports)


@needs_fork
def test_a_child_forked_while_another_thread_compiles_can_compile(tmp_path: Path) -> None:
    code = """
import os, signal, threading, time
from numba.core.compiler_lock import global_compiler_lock
import fer_core.io.csv.jit

held = threading.Event()

def compile_():
    with global_compiler_lock:
        held.set()
        time.sleep(0.5)

threading.Thread(target=compile_).start()
held.wait()
process = os.fork()
if process == 0:
    signal.alarm(20)
    with global_compiler_lock:
        os._exit(0)
assert os.waitpid(process, 0)[1] == 0
with global_compiler_lock:
    pass
"""
    run(code, tmp_path)


@needs_fork
def test_what_a_parent_reads_ahead_is_refused_in_its_child(tmp_path: Path) -> None:
    code = """
import os
from fer_core.io.read_ahead import read_ahead

with read_ahead(lambda: (n for n in range(100))) as items:
    next(items)
    process = os.fork()
    if process == 0:
        try:
            next(items)
        except RuntimeError as error:
            os._exit(0 if "cannot be taken in a process forked from it" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(process, 0)[1] == 0
    assert list(items) == list(range(1, 100))
"""
    run(code, tmp_path)


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    path: Path = model.save(tmp_path / "linear")
    return path


def test_a_pickled_scorer_keeps_its_settings_and_finds_its_file_from_elsewhere(
    folder: Path, images: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    scorer = Scorer("model.onnx", "cpu", threads=3)
    content = pickle.dumps(scorer)
    assert len(content) < 5000  # neither the graph nor its session
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(content)  # noqa: S301 - made a line above
    assert (again.card, again.provider, again.provider_note) == (scorer.card, scorer.provider, scorer.provider_note)
    assert again.runner.threads == 3
    np.testing.assert_array_equal(again.predict_proba(images), scorer.run(images)[1])
    np.testing.assert_array_equal(copy.deepcopy(scorer).predict_proba(images), scorer.run(images)[1])


def test_a_pickled_scorer_refuses_a_file_that_has_changed(
    folder: Path, model_class: Any, images: Images, card_with: Callable[..., ModelCard]
) -> None:
    scorer = Scorer(folder, "cpu")
    again = pickle.loads(pickle.dumps(scorer))  # noqa: S301 - made here
    model_class(metadata=card_with(seeds=(1,)).to_metadata()).save(folder)
    why = r"model\.onnx: changed after this scorer was made: expected SHA-256 \w{12}\.\.\., found \w{12}\.\.\.$"
    for _ in range(2):
        with pytest.raises(ModelError, match=why):
            again.predict_proba(images)
    scorer.run(images)[1]  # it has its session already
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be read: No such file or directory$"):
        again.predict_proba(images)


def test_a_forked_child_of_a_process_that_uses_cuda_is_told_how_to_start_instead(
    exports: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(exports, "cpu")
    scorer.provider = CUDA_PROVIDER
    monkeypatch.setattr("fer_core.per_process.os.getpid", lambda: -1)  # as in a child
    why = "CUDA cannot be used in a process forked from one that uses it; start processes with the method spawn or "
    with pytest.raises(DeviceError, match=re.escape(why) + "forkserver$"):
        scorer.run(images)[1]


def test_closing_in_a_child_leaves_the_parent_as_it_is(exports: Path, images: Images) -> None:
    scorer = Scorer(exports, "cpu")
    if not (process := os.fork()):
        scorer.close()
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
    assert scorer.run(images)[1].shape == (30, 7)


def test_leaving_with_closes_a_scorer_and_a_closed_one_refuses(exports: Path, images: Images) -> None:
    with Scorer(exports, "cpu") as scorer:
        assert scorer.run(images)[1].shape == (30, 7)
    with pytest.raises(ModelError, match=r"model\.onnx: this scorer is closed$"):
        scorer.run(images)[1]
    with pytest.raises(CardError, match=r"^mine$"), Scorer(exports, "cpu"):
        raise CardError("mine")


def test_a_scorer_shows_what_it_runs_and_where(exports: Path) -> None:
    with Scorer(exports, "cpu") as scorer:
        assert repr(scorer) == "Scorer(linear, fp32, CPU)"
    assert repr(scorer) == "Scorer(linear, fp32, CPU, closed)"


def test_a_scorer_that_is_no_longer_used_frees_its_session_at_once(exports: Path, images: Images) -> None:
    """Not only at the next garbage collection: a session occupies memory that Python does not count."""
    scorer = Scorer(exports, "cpu")
    scorer.run(images)[1]
    session = weakref.ref(scorer.runner._session)  # type: ignore[attr-defined]
    gc.disable()
    try:
        del scorer
        assert session() is None
    finally:
        gc.enable()


def test_threads_share_a_scorer(model: Any, exports: Path, images: Images) -> None:
    scorer, expected = Scorer(exports, "cpu", threads=2), model.run(images)[1]
    with ThreadPoolExecutor(6) as pool:
        for scores in pool.map(lambda size: scorer.run(images, batch_size=size)[1], [1, 4, 7, 30] * 5):
            np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_threads_of_a_process_make_a_value_once_and_a_failure_is_tried_again() -> None:
    made, ready = [], threading.Barrier(4)

    def make() -> int:
        made.append(1)
        if len(made) == 1:
            raise OSError("not yet")
        return len(made)

    value: PerProcess[int] = PerProcess()
    with pytest.raises(OSError, match=r"^not yet$"):
        value.get(make)

    def get(_: int) -> int:
        ready.wait(timeout=20)
        return value.get(make)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(get, range(4))) == {2}
    assert (value.here(), value.is_inherited) == (2, False)

"""Both runners compute what the session does: padded, in order, two batches in flight, and after a full memory."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_core import ModelError
from fer_infer import Scorer
from fer_infer.runtime import cuda
from fer_infer.runtime import runners as runner
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions, page_lock
from fer_infer.runtime.runners import LANES, CallRunner, LaneRunner, runner_of
from fer_infer.runtime.session import CPU_PROVIDER, open_session

Images = NDArray[np.uint8]

OUT_OF_MEMORY = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
    "Failed to allocate memory for requested buffer of size 939524096"
)


@pytest.fixture
def session(exports: Path) -> Any:
    return open_session((exports / "model.onnx").read_bytes(), "cpu")[0]


@pytest.fixture
def sizes(session: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many faces each run of the session was bound to; filled as it runs."""
    run, seen = session.run_with_iobinding, []

    def recorded(binding: Any, options: Any) -> None:
        seen.append(binding._bound_inputs["faces"].shape()[0])
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", recorded)
    return seen


def lanes(session: Any, **options: Any) -> LaneRunner:
    return LaneRunner(session, "cpu", CudaOptions(**options))


def full_above(limit: int, session: Any, monkeypatch: pytest.MonkeyPatch, text: str = OUT_OF_MEMORY) -> list[int]:
    """Let the session's memory be full at batches above `limit`; return the sizes that it was asked for."""
    run, asked = session.run_with_iobinding, []

    def limited(binding: Any, options: Any) -> None:
        asked.append(binding._bound_inputs["faces"].shape()[0])
        if asked[-1] > limit:
            raise RuntimeError(text)
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", limited)
    return asked


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 30])
@pytest.mark.parametrize("batch_size", [1, 4, 8, 64])
@pytest.mark.parametrize("kind", ["call", "lane"])
def test_scores_equal_the_slow_reference_in_order(
    model: Any, session: Any, images: Images, kind: str, batch_size: int, n: int
) -> None:
    subject = CallRunner(session, 2) if kind == "call" else lanes(session)
    logits, probabilities = subject.run(images[:n], batch_size)
    expected_logits, expected_probabilities = model.run(images[:n])
    assert logits.dtype == probabilities.dtype == np.float32
    assert logits.shape == probabilities.shape == (n, 7)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(probabilities, expected_probabilities, rtol=0, atol=1e-5)
    assert subject.note == ""


def test_every_batch_has_one_size_and_the_last_is_padded(session: Any, images: Images, sizes: list[int]) -> None:
    lanes(session).run(images[:18], 8)
    assert sizes == [8, 8, 8]


def test_what_pads_a_batch_changes_no_score(session: Any, images: Images) -> None:
    subject = lanes(session)
    alone = subject.run(images[:3], 8)
    subject.run(images, 8)  # leaves other faces in the lanes
    after_others = subject.run(images[:3], 8)
    np.testing.assert_array_equal(alone, after_others)


def test_images_that_are_not_contiguous_are_scored_as_they_look(session: Any, images: Images) -> None:
    mirrored = images[::-2, :, ::-1]
    expected = CallRunner(session, 1).run(np.ascontiguousarray(mirrored), 4)
    np.testing.assert_array_equal(CallRunner(session, 1).run(mirrored, 4), expected)
    np.testing.assert_allclose(lanes(session).run(mirrored, 4), expected, rtol=0, atol=1e-5)


def test_the_scores_of_one_call_survive_the_next(session: Any, images: Images) -> None:
    subject = lanes(session)
    first = subject.run(images[:8], 4)
    kept = [scores.copy() for scores in first]
    subject.run(images[8:], 4)
    np.testing.assert_array_equal(first, kept)


def test_the_next_batch_is_copied_while_one_runs_and_no_further(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run waits until the next batch is loaded, which it would forever if copying waited for the run."""
    load, run = runner._Lane.load, session.run_with_iobinding
    loaded, ran = threading.Semaphore(0), [0]
    ahead = []

    def counted_load(lane: Any, faces: Images) -> None:
        load(lane, faces)
        ahead.append(len(ahead) + 1 - ran[0])
        loaded.release()

    def waiting_run(binding: Any, options: Any) -> None:
        for _ in range(1 if ran[0] else LANES):  # its own batch at first, then always the next one
            assert ran[0] == 4 or loaded.acquire(timeout=20), "copying waits for the run"  # the last has no next
        run(binding, options)
        ran[0] += 1

    monkeypatch.setattr(runner._Lane, "load", counted_load)
    monkeypatch.setattr(session, "run_with_iobinding", waiting_run)
    lanes(session).run(images, 6)
    assert ran[0] == 5
    assert max(ahead) == LANES


def test_all_runs_are_in_one_thread_that_is_not_the_callers(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime captures a CUDA graph per thread."""
    run, threads = session.run_with_iobinding, set()

    def recorded(binding: Any, options: Any) -> None:
        threads.add(threading.get_ident())
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", recorded)
    subject = lanes(session)
    subject.run(images, 4)
    subject.run(images, 7)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("kind", ["call", "lane"])
def test_threads_may_share_a_runner(session: Any, images: Images, kind: str) -> None:
    subject = CallRunner(session, 2) if kind == "call" else lanes(session)
    expected = subject.run(images, 4)[0]
    parts = [images[start:] for start in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: subject.run(part, 4)[0], parts))
    for start, logits in enumerate(found):
        np.testing.assert_allclose(logits, expected[start:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("failing", [1, 2, 3, 8])
def test_an_error_of_any_batch_is_raised_and_the_runner_goes_on_working(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    subject = lanes(session)
    expected = subject.run(images, 4)
    run, calls = session.run_with_iobinding, [0]

    def fails_once(binding: Any, options: Any) -> None:
        calls[0] += 1
        if calls[0] == failing:
            raise RuntimeError("CUDA failure 700: an illegal memory access")
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", fails_once)
    with pytest.raises(RuntimeError, match=r"^CUDA failure 700: an illegal memory access$"):
        subject.run(images, 4)
    assert calls[0] <= failing + LANES - 1
    np.testing.assert_array_equal(subject.run(images, 4), expected)


def test_an_error_is_raised_when_no_lane_runs_any_more(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next call would fill a lane while it runs."""
    run, calls, ended = session.run_with_iobinding, [0], []

    def first_fails(binding: Any, options: Any) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise RuntimeError("CUDA failure 700")
        time.sleep(0.2)
        run(binding, options)
        ended.append(calls[0])

    monkeypatch.setattr(session, "run_with_iobinding", first_fails)
    with pytest.raises(RuntimeError, match=r"^CUDA failure 700$"):
        lanes(session).run(images, 8)
    assert ended == [2]


@pytest.mark.parametrize(
    "text",
    [
        OUT_OF_MEMORY,
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        "CUDNN failure 4004: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0",
        "Available memory of 1024 is smaller than requested bytes of 4096",
    ],
)
def test_a_full_memory_halves_the_batch_and_is_said_once(
    model: Any, session: Any, images: Images, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    asked = full_above(5, session, monkeypatch, text)
    subject = lanes(session)
    logits, _ = subject.run(images, 16)
    np.testing.assert_allclose(logits, model.run(images)[0], rtol=0, atol=1e-4)
    assert subject.note == "out of memory with 16 faces per batch, continued with 4"
    assert asked[-8:] == [4] * 8
    assert sorted(set(asked), reverse=True) == [16, 8, 4]
    asked.clear()
    subject.run(images[:8], 16)
    assert asked == [4, 4], "the batch that fits is remembered"


def test_a_memory_that_fills_up_later_loses_and_repeats_no_score(
    model: Any, session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = session.run_with_iobinding, [0]

    def full_at_the_third(binding: Any, options: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError(OUT_OF_MEMORY)
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", full_at_the_third)
    subject = lanes(session)
    logits, _ = subject.run(images, 8)
    np.testing.assert_allclose(logits, model.run(images)[0], rtol=0, atol=1e-4)
    assert subject.note == "out of memory with 8 faces per batch, continued with 4"


def test_buffers_that_do_not_fit_halve_the_batch_too(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = runner._Lane.__init__

    def limited(lane: Any, session: Any, device: str, size: int, *rest: Any) -> None:
        if size > 8:
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
        made(lane, session, device, size, *rest)

    monkeypatch.setattr(runner._Lane, "__init__", limited)
    subject = lanes(session)
    expected = CallRunner(session, 1).run(images, 8)[0]
    np.testing.assert_allclose(subject.run(images, 32)[0], expected, rtol=0, atol=1e-5)
    assert subject.note == "out of memory with 32 faces per batch, continued with 8"


def test_one_face_that_does_not_fit_is_an_error(session: Any, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = full_above(0, session, monkeypatch)
    with pytest.raises(RuntimeError, match="Failed to allocate memory"):
        lanes(session).run(images, 4)
    assert asked[-1] == 1


def test_another_error_is_not_taken_for_a_full_memory(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = full_above(0, session, monkeypatch, "CUDNN failure 8: CUDNN_STATUS_EXECUTION_FAILED")
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        lanes(session).run(images, 4)
    assert set(asked) == {4}


def test_a_captured_graph_is_never_replayed_on_other_buffers(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ids = session.run_with_iobinding, []

    def recorded(binding: Any, options: Any) -> None:
        ids.append((options.get_run_config_entry("gpu_graph_id"), binding._bound_inputs["faces"].data_ptr()))
        run(binding, options)

    monkeypatch.setattr(session, "run_with_iobinding", recorded)
    subject = lanes(session, cuda_graph=True)
    for batch_size in (4, 8, 4):
        subject.run(images, batch_size)
    addresses: dict[str, set[int]] = {}
    for graph, address in ids:
        addresses.setdefault(graph, set()).add(address)
    assert len(addresses) == 3 * LANES
    assert all(len(seen) == 1 for seen in addresses.values())


@pytest.mark.parametrize(
    ("n", "batch_size", "threads", "expected"),
    [
        (32, 128, 2, [16, 16]),  # what there is, shared
        (30, 20, 4, [14, 16]),  # no smaller share than is worth it
        (32, 40, 1, [32]),
        (20, 8, 2, [4, 8, 8]),  # never more than a batch a call
        (5, 1, 2, [1, 1, 1, 1, 1]),
    ],
)
def test_threads_share_a_batch(images: Images, n: int, batch_size: int, threads: int, expected: list[int]) -> None:
    sizes: list[int] = []

    def run(outputs: Any, inputs: Any, options: Any) -> list[Any]:
        sizes.append(len(inputs["faces"]))
        return [np.zeros((sizes[-1], 7), np.float32)] * 2

    session = SimpleNamespace(run=run, get_outputs=lambda: [SimpleNamespace(shape=["batch", 7])])
    CallRunner(session, threads).run(np.concatenate([images, images])[:n], batch_size)
    assert sorted(sizes) == expected


def test_as_many_calls_are_under_way_as_there_are_threads(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call waits for the other two, which it would forever if fewer were made at once."""
    run, together = session.run, threading.Barrier(3)

    def waiting(outputs: Any, inputs: Any, options: Any) -> Any:
        together.wait(timeout=20)
        return run(outputs, inputs, options)

    expected = CallRunner(session, 1).run(images[:24], 4)
    monkeypatch.setattr(session, "run", waiting)
    found = CallRunner(session, 3).run(images[:24], 4)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("failing", [1, 2, 5, 8])
def test_an_error_of_any_call_is_raised_and_the_next_run_is_right(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch, threads: int, failing: int
) -> None:
    subject = CallRunner(session, threads)
    expected = subject.run(images, 4)
    run, numbers = session.run, count(1)  # whose next number no two threads get

    def fails_once(outputs: Any, inputs: Any, options: Any) -> Any:
        if next(numbers) == failing:
            raise RuntimeError("the session broke")
        return run(outputs, inputs, options)

    monkeypatch.setattr(session, "run", fails_once)
    with pytest.raises(RuntimeError, match=r"^the session broke$"):
        subject.run(images, 4)
    np.testing.assert_array_equal(subject.run(images, 4), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_callers_have_no_more_threads_than_one(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    run, subject = session.run, CallRunner(session, threads)
    expected = subject.run(images, 4)
    lock, running, most = threading.Lock(), [0], [0]

    def watched(outputs: Any, inputs: Any, options: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)  # for another call to begin meanwhile, were there a thread for it
        with lock:
            running[0] -= 1
        return run(outputs, inputs, options)

    monkeypatch.setattr(session, "run", watched)
    with ThreadPoolExecutor(3) as callers:
        for scores in callers.map(lambda _: subject.run(images, 4), range(3)):
            np.testing.assert_array_equal(scores, expected)
    assert most[0] == threads


def test_closing_ends_what_other_threads_run_and_drops_what_waits(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, started, closed, calls = session.run, threading.Event(), threading.Event(), []

    def held(outputs: Any, inputs: Any, options: Any) -> Any:
        calls.append(len(inputs["faces"]))
        started.set()
        closed.wait(timeout=20)
        return run(outputs, inputs, options)  # which the options now end

    monkeypatch.setattr(session, "run", held)
    subject = CallRunner(session, 2)
    with ThreadPoolExecutor(1) as pool:
        scores = pool.submit(subject.run, images, 1)
        started.wait(timeout=20)
        subject.close()
        closed.set()
        with pytest.raises(Exception, match=r"terminate|after shutdown|^$"):  # whichever is met first
            scores.result(timeout=20)
    assert len(calls) <= 2
    with pytest.raises(RuntimeError, match="after shutdown"):
        subject.run(images, 4)


def test_closing_lanes_ends_the_run_under_way(session: Any, images: Images) -> None:
    subject = lanes(session)
    subject.run(images, 4)
    subject.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        subject.run(images, 4)


def test_graphs_are_captured_before_any_face_is_copied(
    session: Any, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA lets no other thread copy while one captures."""
    load, run, events = runner._Lane.load, session.run_with_iobinding, []

    def recorded_load(lane: Any, faces: Images) -> None:
        events.append("load")
        load(lane, faces)

    def recorded_run(binding: Any, options: Any) -> None:
        events.append("run")
        run(binding, options)

    monkeypatch.setattr(runner._Lane, "load", recorded_load)
    monkeypatch.setattr(session, "run_with_iobinding", recorded_run)
    lanes(session, cuda_graph=True).run(images[:8], 4)
    assert events[: LANES + 1] == ["run"] * LANES + ["load"]
    assert events.count("load") == 2


def test_the_provider_that_a_session_reports_chooses_the_runner(session: Any) -> None:
    assert isinstance(runner_of(session, CudaOptions()), CallRunner)
    on_cuda = SimpleNamespace(get_providers=lambda: [CUDA_PROVIDER, CPU_PROVIDER])
    assert isinstance(runner_of(on_cuda, CudaOptions()), LaneRunner)


@pytest.fixture
def laned(exports: Path, session: Any) -> Scorer:
    """A scorer as it is on CUDA, but for the device."""
    scorer = Scorer(exports, "cpu")
    scorer._device_note = ""
    scorer._runner.set(lanes(scorer.runner._session))
    return scorer


def test_a_scorer_tells_of_a_halved_batch(laned: Scorer, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    assert laned.provider_note == ""
    full_above(8, laned.runner._session, monkeypatch)
    laned.run(images, batch_size=16)[1]
    assert laned.provider_note == "out of memory with 16 faces per batch, continued with 8"


def test_a_scorer_says_in_one_line_that_nothing_fits(
    laned: Scorer, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_above(0, laned.runner._session, monkeypatch)
    with pytest.raises(ModelError, match=r"model\.onnx: failed on 30 faces: [^\n]*Failed to allocate memory[^\n]*$"):
        laned.run(images)[1]


def test_the_options_have_the_names_of_onnx_runtime() -> None:
    assert CudaOptions(prefer_nhwc=True, cuda_graph=True).provider_options() == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "prefer_nhwc": "1",
        "use_tf32": "0",
        "enable_cuda_graph": "1",
        "arena_extend_strategy": "kNextPowerOfTwo",
    }


def test_page_locked_memory_is_let_go_with_its_array(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: dict[int, int] = {}

    def register(address: Any, size: Any, flags: int) -> int:
        locked[address.value] = size.value
        return 0

    def unregister(address: Any) -> int:
        del locked[address.value]
        return 0

    library = SimpleNamespace(cudaHostRegister=register, cudaHostUnregister=unregister)
    monkeypatch.setattr(cuda, "LIBRARIES", {("linux", "13"): "libcudart.so.13 libcublas.so.13"})
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: {"libcudart.so.13": library}[name])
    array = np.zeros((2, 48, 48), np.uint8)
    assert page_lock(array, SimpleNamespace(cuda_version="13.0"))
    assert locked == {array.ctypes.data: 2 * 48 * 48}
    del array
    assert locked == {}


@pytest.mark.parametrize("code", [2, None])
def test_memory_that_cannot_be_locked_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    def load(name: str) -> Any:
        if code is None:
            raise OSError
        return SimpleNamespace(cudaHostRegister=lambda *_: code)

    monkeypatch.setattr("ctypes.CDLL", load)
    monkeypatch.setattr("sys.platform", "linux")
    assert not page_lock(np.zeros(8, np.uint8), SimpleNamespace(cuda_version="13.0"))
    assert not page_lock(np.zeros(8, np.uint8), SimpleNamespace())


@pytest.mark.gpu
@pytest.mark.skipif(not isinstance(cuda.find_driver(), cuda.Driver), reason="there is no GPU")
@pytest.mark.parametrize("options", [{}, {"prefer_nhwc": True}, {"cuda_graph": True}, {"page_locked": False}])
def test_every_way_of_using_a_gpu_gives_the_reference(
    model: Any, exports: Path, images: Images, options: dict[str, Any]
) -> None:
    scorer = Scorer(exports, "cuda", cuda=CudaOptions(**options))
    for batch_size in (4, 4, 16):
        np.testing.assert_allclose(
            scorer.run(images, batch_size=batch_size)[0], model.run(images)[0], rtol=0, atol=1e-4
        )

"""Run a session: by concurrent calls on the CPU; through two lanes that overlap copying and computing on CUDA."""

from __future__ import annotations

import math
import re
import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, ModelError
from fer_core.cores import physical_cores
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions, page_lock
from fer_infer.runtime.onnx_runtime import LOG_NOTHING, load_runtime

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]

INPUT: Final = "faces"
OUTPUTS: Final = ("logits", "probabilities")

SMALLEST_CALL: Final = 16
"""Minimum number of faces per call; with fewer, the overhead of a call exceeds the gain of another core."""

LANES: Final = 2
"""Batches in flight: the next one is copied while one is computed."""

OUT_OF_MEMORY: Final = re.compile(
    "out of memory|failed to allocate memory|available memory of|_ALLOC(ATION)?_FAILED", re.I
)
"""Texts of out-of-memory errors of ONNX Runtime, CUDA, cuBLAS and cuDNN, which have no type of their own."""


class NotFiniteError(ModelError):
    """Raised if a logit is NaN or infinite.

    Attributes
    ----------
    face : int
        Position, from 0, of the first face with such a logit.
    """

    def __init__(self, path: Path, face: int) -> None:
        super().__init__(f"{path}: the logits of face {face} (counted from 0) are not finite")
        self.face = face


class Runner(Protocol):
    """Runs one session on validated images.

    Attributes
    ----------
    note : str
        Event worth reporting, such as a reduced batch size; usually empty.
    """

    note: str

    def run(self, images: Images, batch_size: int) -> tuple[Scores, Scores]:
        """Return logits and probabilities, float32 (N, classes), for images, uint8 (N, 48, 48).

        Raises the exceptions of ONNX Runtime. Threads may share a runner.
        """

    def close(self) -> None:
        """Stop the calls of all threads, which then raise errors; the runner cannot be used again."""


def runner_of(session: Any, options: CudaOptions, threads: int | None = None) -> Runner:
    """Return the runner for the provider that a session reports; `threads` is the parameter of `Scorer`."""
    if session.get_providers()[0] == CUDA_PROVIDER:
        return LaneRunner(session, "cuda", options)
    return CallRunner(session, physical_cores() if threads is None else threads)


class CallRunner:
    """Runs a session by concurrent single-threaded calls, each on its own faces.

    In networks this small, the threads of one call would wait for each other at the end of every operator, and for a
    core that the reader of the file occupies. Nothing is copied on the CPU, and bound buffers are not faster.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Session whose calls use one thread.
    threads : int
        Number of concurrent calls.

    Attributes
    ----------
    threads : int
        Number of concurrent calls.
    """

    def __init__(self, session: Any, threads: int) -> None:
        self.note = ""
        self.threads = threads
        self._session = session
        self._run_options = silent_options()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="run")

    def run(self, images: Images, batch_size: int) -> tuple[Scores, Scores]:
        """See `Runner.run`; the threads share a batch, with at least `SMALLEST_CALL` faces each."""
        logits, probabilities = _empty_scores(self._session, len(images))

        def call(batch: slice) -> None:
            faces = np.ascontiguousarray(images[batch])
            logits[batch], probabilities[batch] = self._session.run(OUTPUTS, {INPUT: faces}, self._run_options)

        share = math.ceil(min(batch_size, len(images)) / self.threads)
        # not in the caller's thread, because there may be several callers
        list(self._pool.map(call, slices(len(images), min(batch_size, max(share, SMALLEST_CALL)))))
        return logits, probabilities

    def close(self) -> None:
        """See `Runner.close`; a running call ends at its next operator."""
        self._run_options.terminate = True
        self._pool.shutdown(wait=False, cancel_futures=True)


class LaneRunner:
    """Runs a session on batches of a fixed size in device buffers, and copies the next batch while one is computed.

    The caller's thread copies a batch into a free lane. One worker thread runs the lanes in order, because ONNX Runtime
    captures CUDA graphs per thread. The last batch is padded, so that a captured graph and the algorithms that cuDNN
    selected apply to it; rows of a batch do not affect each other.

    If the device runs out of memory, the batch size is halved, the missing faces are run again, and `note` reports it.
    If a single face does not fit, the error is raised.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Session of a graph that fulfils the contract.
    device : {"cuda", "cpu"}
        Device of the buffers, which must be that of the session.
    options : CudaOptions
        Options, of which `cuda_graph` and `page_locked` are used.
    """

    def __init__(self, session: Any, device: str, options: CudaOptions) -> None:
        self.note = ""
        self._session = session
        self._device = device
        self._options = options
        self._lanes: list[_Lane] = []
        self._limit = sys.maxsize
        self._graphs = count(1)  # a captured graph contains the addresses of its lane, so each lane needs one
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")
        self._one_caller = Lock()

    def run(self, images: Images, batch_size: int) -> tuple[Scores, Scores]:
        """See `Runner.run`; a second thread waits until the first one is done."""
        logits, probabilities = _empty_scores(self._session, len(images))
        done = 0
        with self._one_caller:
            while done < len(images):
                size = min(batch_size, self._limit)
                try:
                    with closing(self._in_order(images[done:], size)) as batches:
                        for scores in batches:
                            batch = slice(done, done + len(scores[0]))
                            logits[batch], probabilities[batch] = scores
                            done = batch.stop
                except Exception as error:  # ONNX Runtime's errors have no common base class
                    if size == 1 or not OUT_OF_MEMORY.search(str(error)):
                        raise
                    self._limit = size // 2
                    self.note = f"out of memory with {batch_size} faces per batch, continued with {self._limit}"
        return logits, probabilities

    def close(self) -> None:
        """See `Runner.close`."""
        for lane in self._lanes:
            lane.terminate()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def copy(self, images: Images, batch_size: int) -> None:
        """Copy faces to the device in batches, as `run` does, without running the model; used by benchmarks."""
        with self._one_caller:
            lane = self._lanes_of(batch_size)[0]
            for batch in slices(len(images), batch_size):
                lane.load(images[batch])

    def _in_order(self, images: Images, size: int) -> Generator[tuple[Scores, Scores], None, None]:
        """Yield the scores of the batches in order, with at most LANES batches in flight."""
        lanes = self._lanes_of(size)
        flying: deque[Future[tuple[Scores, Scores]]] = deque()
        try:
            for number, batch in enumerate(slices(len(images), size)):
                if len(flying) == LANES:
                    yield flying.popleft().result()
                lane = lanes[number % LANES]
                lane.load(images[batch])
                flying.append(self._worker.submit(lane.run))
            while flying:
                yield flying.popleft().result()
        finally:
            wait(flying)  # lanes must not be filled while they run

    def _lanes_of(self, size: int) -> list[_Lane]:
        if not self._lanes or self._lanes[0].size != size:
            self._lanes = []  # freed before the new ones are allocated
            lanes = [self._new_lane(size) for _ in range(LANES)]
            if self._options.cuda_graph:
                # Captured before any lane is filled: no thread may copy while CUDA captures.
                for lane in lanes:
                    self._worker.submit(lane.run).result()
            self._lanes = lanes
        return self._lanes

    def _new_lane(self, size: int) -> _Lane:
        graph = next(self._graphs) if self._options.cuda_graph else None
        return _Lane(self._session, self._device, size, graph, self._options.page_locked)


class _Lane:
    """Device buffers for one batch, bound to the session once."""

    def __init__(self, session: Any, device: str, size: int, graph: int | None, page_locked: bool) -> None:
        runtime = load_runtime()
        self.size = size
        self._session = session
        self._n = 0
        self._host = np.zeros((size, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        if page_locked and device == "cuda":
            page_lock(self._host, runtime)
        buffer = runtime.OrtValue.ortvalue_from_shape_and_type
        self._faces = buffer(self._host.shape, np.uint8, device)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._faces)
        for name in OUTPUTS:
            self._binding.bind_ortvalue_output(name, buffer((size, _classes(session)), np.float32, device))
        self._run_options = silent_options()
        if graph is not None:
            self._run_options.add_run_config_entry("gpu_graph_id", str(graph))

    def terminate(self) -> None:
        """Make a running call end at its next operator."""
        self._run_options.terminate = True

    def load(self, faces: Images) -> None:
        """Copy at most `size` faces to the device; earlier faces fill the rest of the batch."""
        self._n = len(faces)
        self._host[: self._n] = faces
        self._faces.update_inplace(self._host)

    def run(self) -> tuple[Scores, Scores]:
        """Run the loaded faces and return copies of their scores."""
        self._session.run_with_iobinding(self._binding, self._run_options)
        logits, probabilities = self._binding.copy_outputs_to_cpu()
        return logits[: self._n], probabilities[: self._n]


def silent_options() -> Any:
    """Return options of a call that logs nothing."""
    options = load_runtime().RunOptions()
    options.log_severity_level = LOG_NOTHING
    return options


def _classes(session: Any) -> int:
    return int(session.get_outputs()[0].shape[1])


def _empty_scores(session: Any, n: int) -> tuple[Scores, Scores]:
    shape = (n, _classes(session))
    return np.empty(shape, np.float32), np.empty(shape, np.float32)


def slices(n: int, size: int) -> Iterator[slice]:
    """Return the slices of `n` items in batches of `size`."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))

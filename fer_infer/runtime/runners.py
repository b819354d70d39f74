"""How a session is run: by several calls at once on the CPU, through two lanes that copy and run at once on CUDA."""

from __future__ import annotations

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
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions, page_lock
from fer_infer.runtime.onnx_runtime import LOG_NOTHING, load_runtime
from fer_infer.runtime.session import physical_cores

Images = NDArray[np.uint8]
Scores = NDArray[np.float32]

INPUT: Final = "faces"
OUTPUTS: Final = ("logits", "probabilities")

SMALLEST_CALL: Final = 16
"""Faces: below these a call costs more than it is worth to have another core take part."""

LANES: Final = 2
"""Batches in flight: while one runs, the next one is copied."""

OUT_OF_MEMORY: Final = re.compile(
    "out of memory|failed to allocate memory|available memory of|_ALLOC(ATION)?_FAILED", re.I
)
"""What ONNX Runtime's arena, CUDA, cuBLAS and cuDNN say when the GPU is full; none of it has a type of its own."""


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
    """One session, run on faces that were checked before.

    Attributes
    ----------
    note : str
        What happened on the way that is worth knowing; empty as a rule.
    """

    note: str

    def run(self, images: Images, batch_size: int) -> tuple[Scores, Scores]:
        """Return logits and probabilities, float32 (N, classes), of uint8 (N, 48, 48).

        Raises whatever ONNX Runtime does. Threads may share a runner.
        """

    def close(self) -> None:
        """Stop what other threads still run, which then raises an error; the runner is of no use any longer."""


def runner_of(session: Any, options: CudaOptions, threads: int | None = None) -> Runner:
    """Return the runner that suits the provider which a session reports; `threads` as `Scorer` takes it."""
    if session.get_providers()[0] == CUDA_PROVIDER:
        return LaneRunner(session, "cuda", options)
    return CallRunner(session, physical_cores() if threads is None else threads)


class CallRunner:
    """Runs a session on arrays as they are, each of several threads on faces of its own.

    A network this small leaves the cores of one call waiting for each other at the end of every operator, and for a
    core that the reader of the file has taken meanwhile; calls of one thread wait for nothing. On the CPU there is
    nothing to copy: bound buffers were measured to be no faster.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A call of which takes one thread.
    threads : int
        Calls at once.

    Attributes
    ----------
    threads : int
        Calls at once.
    """

    def __init__(self, session: Any, threads: int) -> None:
        self.note = ""
        self.threads = threads
        self._session = session
        self._run_options = _silent_options()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="run")

    def run(self, images: Images, batch_size: int) -> tuple[Scores, Scores]:
        """As `Runner.run` says; the threads share a batch, as far as `SMALLEST_CALL` lets them."""
        logits, probabilities = _empty_scores(self._session, len(images))

        def call(batch: slice) -> None:
            faces = np.ascontiguousarray(images[batch])
            logits[batch], probabilities[batch] = self._session.run(OUTPUTS, {INPUT: faces}, self._run_options)

        share = -(-min(batch_size, len(images)) // self.threads)
        # never in the caller's thread, of which there may be several
        list(self._pool.map(call, _slices(len(images), min(batch_size, max(share, SMALLEST_CALL)))))
        return logits, probabilities

    def close(self) -> None:
        """As `Runner.close` says; a call under way ends at its next operator."""
        self._run_options.terminate = True
        self._pool.shutdown(wait=False, cancel_futures=True)


class LaneRunner:
    """Runs a session on batches of one fixed size, in buffers of the device, the next copied while one runs.

    The caller's thread copies a batch into a free lane; one worker thread runs the lanes, in order, because ONNX
    Runtime captures a CUDA graph per thread. The last batch is padded, so that a captured graph and the algorithms
    that cuDNN chose hold for it as well; no row of the graph looks at another.

    When the device runs out of memory, the batch is halved, the faces whose scores are still missing are run again,
    and `note` says so. A single face that does not fit is an error.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        Of a graph of the contract.
    device : {"cuda", "cpu"}
        Where its buffers are, which must be where the session runs.
    options : CudaOptions
        Of them, `cuda_graph` and `page_locked` concern running.
    """

    def __init__(self, session: Any, device: str, options: CudaOptions) -> None:
        self.note = ""
        self._session = session
        self._device = device
        self._options = options
        self._lanes: list[_Lane] = []
        self._limit = sys.maxsize
        self._graphs = count(1)  # a captured graph keeps its lane's addresses, so a new lane needs a new one
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")
        self._one_caller = Lock()

    def run(self, images: Images, batch_size: int) -> tuple[Scores, Scores]:
        """As `Runner.run` says; a second thread waits until the first has its scores."""
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
                except Exception as error:  # ONNX Runtime's errors have no base of their own
                    if size == 1 or not OUT_OF_MEMORY.search(str(error)):
                        raise
                    self._limit = size // 2
                    self.note = f"out of memory at {batch_size} faces a batch, went on with {self._limit}"
        return logits, probabilities

    def close(self) -> None:
        """As `Runner.close` says."""
        for lane in self._lanes:
            lane.terminate()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def copy(self, images: Images, batch_size: int) -> None:
        """Copy faces to the device, batch by batch as `run` does, and no more: it is there to be timed."""
        with self._one_caller:
            lane = self._lanes_of(batch_size)[0]
            for batch in _slices(len(images), batch_size):
                lane.load(images[batch])

    def _in_order(self, images: Images, size: int) -> Generator[tuple[Scores, Scores], None, None]:
        """Yield the scores of one batch after the other, at most LANES of them in flight."""
        lanes = self._lanes_of(size)
        flying: deque[Future[tuple[Scores, Scores]]] = deque()
        try:
            for number, batch in enumerate(_slices(len(images), size)):
                if len(flying) == LANES:
                    yield flying.popleft().result()
                lane = lanes[number % LANES]
                lane.load(images[batch])
                flying.append(self._worker.submit(lane.run))
            while flying:
                yield flying.popleft().result()
        finally:
            wait(flying)  # the lanes are not to be filled again while one of them still runs

    def _lanes_of(self, size: int) -> list[_Lane]:
        if not self._lanes or self._lanes[0].size != size:
            self._lanes = []  # freed before the new ones need their room
            lanes = [self._new_lane(size) for _ in range(LANES)]
            if self._options.cuda_graph:
                # Captured before any is filled: while CUDA captures, no other thread may copy.
                for lane in lanes:
                    self._worker.submit(lane.run).result()
            self._lanes = lanes
        return self._lanes

    def _new_lane(self, size: int) -> _Lane:
        graph = next(self._graphs) if self._options.cuda_graph else None
        return _Lane(self._session, self._device, size, graph, self._options.page_locked)


class _Lane:
    """The buffers of one batch on its way through the device, bound to the session once."""

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
        self._run_options = _silent_options()
        if graph is not None:
            self._run_options.add_run_config_entry("gpu_graph_id", str(graph))

    def terminate(self) -> None:
        """Make the run under way end at its next operator."""
        self._run_options.terminate = True

    def load(self, faces: Images) -> None:
        """Copy at most `size` faces to the device; what the lane held before fills the rest."""
        self._n = len(faces)
        self._host[: self._n] = faces
        self._faces.update_inplace(self._host)

    def run(self) -> tuple[Scores, Scores]:
        """Run what was loaded and return its scores, in memory of their own."""
        self._session.run_with_iobinding(self._binding, self._run_options)
        logits, probabilities = self._binding.copy_outputs_to_cpu()
        return logits[: self._n], probabilities[: self._n]


def _silent_options() -> Any:
    options = load_runtime().RunOptions()
    options.log_severity_level = LOG_NOTHING
    return options


def _classes(session: Any) -> int:
    return int(session.get_outputs()[0].shape[1])


def _empty_scores(session: Any, n: int) -> tuple[Scores, Scores]:
    shape = (n, _classes(session))
    return np.empty(shape, np.float32), np.empty(shape, np.float32)


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))

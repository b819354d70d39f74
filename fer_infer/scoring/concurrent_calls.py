"""Score batches by concurrent calls, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_core import ModelError
from fer_core.io.read_ahead import read_ahead
from fer_infer.config import InferenceConfig
from fer_infer.runtime.runners import NotFiniteError
from fer_infer.scorer import Scorer

IN_FLIGHT: Final = 2
"""Calls scored concurrently: a core that finishes its share of one call starts on the next."""


class HasImages(Protocol):
    """A batch of faces: `images` are uint8 (N, 48, 48)."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """Gray levels."""


B = TypeVar("B", bound=HasImages)
In = TypeVar("In")
Out = TypeVar("Out")


def scored(
    start: Callable[[], Iterator[B]], scorer: Scorer, config: InferenceConfig, name_of: Callable[[B, int], str]
) -> Iterator[tuple[B, NDArray[np.float32], NDArray[np.float32]]]:
    """Score batches that another thread reads.

    Parameters
    ----------
    start : callable
        Returns the batches; called in the reading thread.
    scorer : Scorer
        Model that scores them.
    config : InferenceConfig
        Settings, of which `batch_size` and `tta` are used.
    name_of : callable
        Returns the name of a face of a batch in errors.

    Yields
    ------
    batch, logits, probabilities
        Batches in order.

    Raises
    ------
    DataError, ModelError, ConfigError
        As raised by `start` and `Scorer.run`. If a logit is not finite, the error names the face.
    """

    def run(batch: B) -> tuple[B, NDArray[np.float32], NDArray[np.float32]]:
        with naming_faces(scorer.path, lambda face: name_of(batch, face)):
            return batch, *scorer.run(batch.images, batch_size=config.batch_size, tta=config.tta)

    yield from concurrently(start, run)


def concurrently(start: Callable[[], Iterator[In]], run: Callable[[In], Out]) -> Iterator[Out]:
    """Yield the results of a call for each item that another thread reads, in order; some calls run at once.

    Parameters
    ----------
    start : callable
        Returns the items; called in the reading thread.
    run : callable
        Called for each item in one of the threads.
    """
    with _pool() as pool:

        def submitted() -> Iterator[Future[Out]]:
            for item in start():
                yield pool.submit(run, item)

        with read_ahead(submitted) as calls:
            for call in calls:
                yield call.result()


@contextmanager
def naming_faces(model: Path, name_of: Callable[[int], str]) -> Iterator[None]:
    """Raise a `NotFiniteError` again as a ModelError that names the face."""
    try:
        yield
    except NotFiniteError as error:
        raise ModelError(f"{model}: the logits of {name_of(error.face)}, are not finite") from None


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Yield threads for the calls in flight; at the end, calls that have not started are cancelled."""
    pool, process = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="score"), os.getpid()
    try:
        yield pool
    finally:
        if os.getpid() == process:  # a forked child has neither the threads nor, perhaps, the lock
            pool.shutdown(cancel_futures=True)

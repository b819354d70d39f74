"""Read ahead: one thread or several produce items while another processes earlier ones."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")
Result = TypeVar("Result")

READ_AHEAD: Final = 2
"""Items that may wait between two threads: enough to hide a slow one, few enough to need little memory."""


@contextmanager
def read_ahead(start: Callable[[], Iterator[T]], depth: int = READ_AHEAD) -> Iterator[Iterator[T]]:
    """Run an iterator in its own thread, at most `depth` finished items ahead of the consumer.

    Parameters
    ----------
    start : callable
        Returns the iterator; called in the thread, which also closes the iterator.
    depth : int
        Number of items that may wait. At most ``depth + 3`` exist at a time.

    Yields
    ------
    iterator
        Items in order. An exception of the iterator is raised here, after the items before it. In a forked process,
        which lacks the thread, taking an item raises RuntimeError.
    """
    ready: Queue[T | _End] = Queue(maxsize=depth)
    stop = Event()

    def read() -> None:
        # Keeps standard input open for a thread that is still blocked on a silent pipe at exit.
        stdin = sys.stdin  # noqa: F841
        end = _End()
        try:
            with closing(cast(Any, start())) as items:  # close its files in this thread
                for item in items:
                    ready.put(item)
                    del item  # otherwise it stays alive while the next one is produced
                    if stop.is_set():
                        break
        except BaseException as error:  # raised again in the consumer
            end = _End(error)
        ready.put(end)

    thread = Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield _taken(ready)
    finally:
        stop.set()
        _drain(ready, thread)


def map_ahead(function: Callable[[T], Result], items: Iterable[T], threads: int) -> Iterator[Result]:
    """Apply a function to items in several threads, and yield the results in the order of the items.

    Parameters
    ----------
    function : callable
        Function that can run in several threads at once.
    items : iterable
        Items; at most ``READ_AHEAD * threads`` of them are processed ahead of the consumer.
    threads : int
        Number of threads. With 1, the calling thread applies the function, and nothing is read ahead.

    Yields
    ------
    object
        Results. An exception of the function is raised here, after the results before it.
    """
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with workers(threads, "map-ahead") as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > READ_AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def workers(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield threads for a generator; at the end, calls that have not started are cancelled, and none is waited for.

    A generator that an error has left may be closed by the garbage collector, in any thread and at any point, also
    while that thread holds the lock that it would wait with (`threading._shutdown_locks_lock` in Python 3.11).
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _End:
    """Last entry of a queue, with the error of the iterator, if any."""

    error: BaseException | None = None


def _taken(ready: Queue[T | _End]) -> Iterator[T]:
    process = os.getpid()
    while True:
        if os.getpid() != process:
            raise RuntimeError("items read ahead in one process cannot be taken in a process forked from it")
        item = ready.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
        del item


def _drain(ready: Queue[T | _End], thread: Thread, patience_s: float = 1.0) -> None:
    """Empty the queue until the thread stops; abandon the thread if it is blocked on its own input."""
    deadline = time.monotonic() + patience_s
    while thread.is_alive() and time.monotonic() < deadline:
        with suppress(Empty):
            while True:
                ready.get_nowait()
        thread.join(timeout=0.02)

"""Reading ahead: one thread makes items while another is busy with those before."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

READ_AHEAD: Final = 2
"""Items that may wait between two threads: enough to hide a slow one, few enough not to count."""


@contextmanager
def read_ahead(start: Callable[[], Iterator[T]], depth: int = READ_AHEAD) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread of its own, at most `depth` finished items ahead of who takes them.

    Parameters
    ----------
    start : callable
        Returns the iterator; called in the thread, where the iterator lives and dies.
    depth : int
        Items that may wait. At most ``depth + 3`` exist: one being made, one handed over, and the one before it.

    Yields
    ------
    iterator
        The items in order. What the iterator raises is raised here, after the items before it. A process forked
        meanwhile lacks the thread; taking an item there raises RuntimeError.
    """
    ready: Queue[T | _End] = Queue(maxsize=depth)
    stop = Event()

    def read() -> None:
        # A thread left behind, blocked on a pipe that stays silent, must not see its stdin torn down at exit.
        stdin = sys.stdin  # noqa: F841
        end = _End()
        try:
            with closing(cast(Any, start())) as items:  # what it holds open is let go in this thread
                for item in items:
                    ready.put(item)
                    del item  # or it would be kept while the next one is made
                    if stop.is_set():
                        break
        except BaseException as error:  # raised again by who takes the items
            end = _End(error)
        ready.put(end)

    thread = Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield _taken(ready)
    finally:
        stop.set()
        _drain(ready, thread)


@dataclass(frozen=True)
class _End:
    """The last entry of a queue: nothing follows, or an error does."""

    error: BaseException | None = None


def _taken(ready: Queue[T | _End]) -> Iterator[T]:
    process = os.getpid()
    while True:
        if os.getpid() != process:
            raise RuntimeError("items that one process reads ahead cannot be taken in a process forked from it")
        item = ready.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
        del item


def _drain(ready: Queue[T | _End], thread: Thread, patience_s: float = 1.0) -> None:
    """Make room until the thread has seen that it should stop; give it up where it waits for its own input."""
    deadline = time.monotonic() + patience_s
    while thread.is_alive() and time.monotonic() < deadline:
        with suppress(Empty):
            while True:
                ready.get_nowait()
        thread.join(timeout=0.02)

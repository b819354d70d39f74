"""Values that a process must make for itself: native sessions and threads survive neither a fork nor pickling."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process makes on first use, once for all of its threads.

    A forked child has a copy of its parent's memory but only one of its threads, so that a pool of threads waits
    forever there. The child makes its own value and leaves the parent's as it is: freeing it would run native code
    that expects the parent's threads. Locks are per process too, since the parent's may be held at the fork.
    """

    def __init__(self) -> None:
        self._values: dict[int, T] = {}
        self._locks: dict[int, Lock] = {}

    def get(self, make: Callable[[], T]) -> T:
        """Return this process's value, made by `make` on first use.

        What `make` raises is raised here, and the next call tries again.
        """
        process = os.getpid()
        if process not in self._values:
            with self._locks.setdefault(process, Lock()):  # atomic: all threads of a process get the same one
                if process not in self._values:
                    self._values[process] = make()
        return self._values[process]

    def set(self, value: T) -> None:
        """Use `value` in this process."""
        self._values[os.getpid()] = value

    def here(self) -> T | None:
        """Return this process's value, None if it has not been made."""
        return self._values.get(os.getpid())

    @property
    def is_inherited(self) -> bool:
        """Whether a process from which this one was forked has a value."""
        return any(process != os.getpid() for process in self._values)

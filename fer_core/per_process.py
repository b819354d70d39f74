"""Values that each process must create for itself: native sessions and threads survive neither fork nor pickling."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process creates on first use, once for all of its threads.

    A forked child has a copy of its parent's memory but only one of its threads, so a copied thread pool would wait
    forever. The child creates its own value and never frees the parent's, which would run native code that expects
    the parent's threads. Locks are per process too, since another thread may hold the parent's lock during the fork.
    """

    def __init__(self) -> None:
        self._values: dict[int, T] = {}
        self._locks: dict[int, Lock] = {}

    def get(self, make: Callable[[], T]) -> T:
        """Return the value of this process, created by `make` on first use.

        Exceptions of `make` are passed on, and the next call tries again.
        """
        process = os.getpid()
        if process not in self._values:
            with self._locks.setdefault(process, Lock()):  # atomic: all threads of a process get the same lock
                if process not in self._values:
                    self._values[process] = make()
        return self._values[process]

    def set(self, value: T) -> None:
        """Use `value` in this process."""
        self._values[os.getpid()] = value

    def here(self) -> T | None:
        """Return the value of this process, None before its first use."""
        return self._values.get(os.getpid())

    @property
    def is_inherited(self) -> bool:
        """Whether a process from which this one was forked had a value."""
        return any(process != os.getpid() for process in self._values)

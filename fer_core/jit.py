"""Compilation to machine code where the core's inner loops need it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.compiler_lock import global_compiler_lock

F = TypeVar("F", bound=Callable[..., Any])

if hasattr(os, "register_at_fork"):
    # A child forked while another thread compiles would wait forever for the lock that this thread holds.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def jit(*signature: Any) -> Callable[[F], F]:
    """Compile at once, without holding the GIL, and keep the machine code on disk where that is possible.

    Parameters
    ----------
    *signature : numba types
        What the function takes and returns.
    """

    def compile_(function: F) -> F:
        try:
            compiled: Any = njit(list(signature), cache=True, nogil=True)(function)
        except (OSError, RuntimeError):  # a read-only installation or a full disk: compiled anew in each process
            compiled = njit(list(signature), nogil=True)(function)
        return cast(F, compiled)

    return compile_

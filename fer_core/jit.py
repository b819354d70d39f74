"""Compilation to machine code where the core's inner loops need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


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

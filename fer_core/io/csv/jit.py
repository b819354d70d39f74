"""Compilation of inner loops to machine code, cached on disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from inspect import getsource
from types import ModuleType
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError

from fer_core.errors import CacheWarning

F = TypeVar("F", bound=Callable[..., Any])

if hasattr(os, "register_at_fork"):
    # Otherwise a child that is forked while another thread compiles would wait forever for the compiler lock.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def jit(signature: Any, *, constants: tuple[ModuleType, ...] = ()) -> Callable[[F], F]:
    """Compile at import, release the GIL in the compiled code, and cache it on disk if possible.

    Damaged files in the cache are replaced, with a `CacheWarning`.

    Parameters
    ----------
    signature : numba types
        Types of the return value and the arguments.
    constants : tuple of module
        Modules whose constants are compiled in: Numba detects only changes of the function's own file.
    """

    def compile_(function: F) -> F:
        if constants:
            function.__qualname__ += "-" + sha256("".join(map(getsource, constants)).encode()).hexdigest()[:8]
        try:
            dispatcher: Any = njit(cache=True, nogil=True)(function)
        except (OSError, RuntimeError):  # a read-only installation: compile in each process
            return _compiled(function, signature)
        try:
            return _compiled(function, signature, dispatcher)
        except NumbaError:  # a bug in the function
            raise
        except Exception as error:  # damaged files raise many types of errors
            text = (
                f"{dispatcher._cache.cache_path}: compiled code cannot be reused ({_named(error)}); compiling it again"
            )
            warnings.warn(text, CacheWarning, stacklevel=2)
        with suppress(Exception):
            dispatcher._cache.flush()  # Numba has no public function for it
            return _compiled(function, signature, njit(cache=True, nogil=True)(function))
        return _compiled(function, signature)

    return compile_


def _compiled(function: F, signature: Any, dispatcher: Any = None) -> F:
    """Compile for one signature; errors of the cache and the compiler are passed on."""
    dispatcher = dispatcher or njit(nogil=True)(function)
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    return cast(F, dispatcher)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

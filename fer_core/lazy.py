"""Public names that are imported on first use (PEP 562), so that `--help` starts fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, and make `dir` and tab completion list its names.

    Parameters
    ----------
    package : str
        `__name__` of the package.
    homes : mapping of str to str
        Public names, and the modules that define them.
    """
    module = vars(sys.modules[package])
    module["__dir__"] = lambda: sorted({*module, *homes})

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return getattr_

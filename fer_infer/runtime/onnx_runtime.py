"""Import ONNX Runtime in one place, silent and without telemetry, and shorten its errors to one line."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Any, Final

from fer_core import DeviceError

TELEMETRY_SWITCH: Final = "ORT_DISABLE_TELEMETRY"
"""Environment variable that ONNX Runtime (1.29 and later) reads at import; 1 or true disables telemetry."""

LOG_NOTHING: Final = 4
"""Log severity "fatal"; other errors are raised as exceptions."""

_switched_too_late = False
"""Whether ONNX Runtime was imported before this module could disable its telemetry."""

_CODE: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_CUDA_PLACE: Final = re.compile(r" *; (?:hostname|file|line)=[^;]*?(?= *;|$)")
_PARENTHESES: Final = r"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
_SIGNATURE: Final = (
    rf"[^()]*{_PARENTHESES}(?:{_PARENTHESES}|::<lambda{_PARENTHESES}>|[>:][\w:&*<>~{{}} ]*(?=\()"
    r"| const\b| mutable\b| noexcept\b| \[with [^][]*(?:\[[^][]*\][^][]*)*\])*"
)
_SOURCE: Final = re.compile(
    r"(?:\S*\\)?\b[\w.+-]+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ \S+ ?"  # model.cc:256 Load
    rf"|\S*/[\w.+-]+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ (?:{_SIGNATURE} ?)?"  # /path/model.cc:256 void ns::Load(int)
)
"""The two forms in which ONNX Runtime writes the source location of an error."""


def load_runtime() -> Any:
    """Import ONNX Runtime with telemetry off and its native log silenced.

    All imports of ONNX Runtime use this function or `load_runtime_module`. ONNX Runtime 1.29 and later sends usage
    events to its vendor and stores a device identifier in the user's cache unless `ORT_DISABLE_TELEMETRY` is set before
    the import. A value set by the user is kept.

    Returns
    -------
    module
        `onnxruntime`.

    Raises
    ------
    DeviceError
        If it is not installed, or its installation is broken.
    """
    global _switched_too_late
    if not os.environ.get(TELEMETRY_SWITCH):
        os.environ[TELEMETRY_SWITCH] = "1"
        _switched_too_late = "onnxruntime" in sys.modules
    try:
        import onnxruntime

        onnxruntime.set_default_logger_severity(LOG_NOTHING)
    except (ImportError, AttributeError) as error:  # AttributeError: one wheel overwrote another
        raise DeviceError(f"onnxruntime cannot be imported ({error}); see `fer-infer doctor`") from None
    if _switched_too_late:
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def load_runtime_module(name: str) -> Any:
    """Import a submodule of ONNX Runtime, e.g. ``"quantization"``, as `load_runtime` does.

    Raises
    ------
    DeviceError
        If ONNX Runtime cannot be imported.
    """
    load_runtime()
    return import_module(f"onnxruntime.{name}")


def telemetry() -> str:
    """Return in words whether ONNX Runtime, imported by `load_runtime`, sends telemetry to its vendor."""
    value = os.environ.get(TELEMETRY_SWITCH, "")
    if value.strip().lower() not in {"1", "true", "yes", "y", "on"}:  # as ONNX Runtime reads it
        return f"on by {TELEMETRY_SWITCH}={value}"
    if _switched_too_late:
        return f"essential events only: onnxruntime was imported before fer_infer; set {TELEMETRY_SWITCH}=1 first"
    return f"off ({TELEMETRY_SWITCH}={value})"


def first_line(error: Exception) -> str:
    """Return the first line of an error, without ONNX Runtime's error codes, source files and C++ signatures."""
    lines = (_without_sources(line).strip() for line in str(error).strip().splitlines())
    return next(filter(None, lines), type(error).__name__)


def _without_sources(line: str) -> str:
    return _SOURCE.sub("", _CUDA_PLACE.sub("", _CODE.sub("", line)))
